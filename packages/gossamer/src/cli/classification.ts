import { type Executable, Tensor } from '@gossamer/tensor';
import type { OnnxModel } from '@gossamer/tensor/onnx';
import { DataLoader } from '../data/loader.ts';
import { crossEntropy } from '../nn/loss.ts';
import type { Progress } from '../train/progress.ts';
import type { Task } from '../train/task.ts';
import type { LabelledData } from './data.ts';
import type { Input } from './model-file.ts';

/** Operators behind a softmax that do not change its numbers. */
const reshaping = new Set(['Identity', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Cast']);

/** Whether the model's first output is probabilities rather than logits. */
export function endsInSoftmax({ graph }: OnnxModel): boolean {
  const producer = new Map(graph.nodes.flatMap(n => n.outputs.map(o => [o, n] as const)));
  let node = producer.get(graph.outputs[0].name);
  while (node && reshaping.has(node.opType)) node = producer.get(node.inputs[0]);
  return node?.opType === 'Softmax';
}

/** Cross entropy and accuracy of an imported classifier's first output, [n, classes] with any axes of length 1 behind. */
export function classifierTask(onnx: OnnxModel): Task {
  const probabilities = endsInSoftmax(onnx);
  return (model, { inputs, labels }) => {
    const results: Tensor | Record<string, Tensor> = model.forward(inputs);
    const first = results instanceof Tensor ? results : Object.values(results)[0];
    const scores = first.reshape([first.shape[0], -1]);
    const logits = probabilities ? scores.clamp(1e-30).log() : scores;
    const accuracy = scores.argmax(-1).eq(labels).cast('float32').mean();
    return { loss: crossEntropy(logits, labels), accuracy };
  };
}

/** How a runtime wants the samples: as many as the file fixes, and then only full batches, else `wanted`. */
export function batching(
  { graph }: OnnxModel,
  { name }: Input,
  wanted: number,
): { batchSize: number; dropLast: boolean } {
  const fixed = graph.inputs.find(i => i.name === name)?.shape?.[0];
  return typeof fixed === 'number' ? { batchSize: fixed, dropLast: true } : { batchSize: wanted, dropLast: false };
}

/** Batches of labelled data as the model takes them. */
export function batches(
  { train, test, transforms }: LabelledData,
  part: 'train' | 'test',
  options: { batchSize: number; shuffle?: boolean; seed?: number; limit?: number; dropLast?: boolean },
): DataLoader {
  const { limit, ...rest } = options;
  const samples = part === 'train' ? train : test;
  const chosen =
    limit === undefined || limit >= samples.length ? samples : samples.subset(spread(samples.length, limit));
  return new DataLoader(
    chosen.map(({ inputs, labels }) => ({ inputs, labels })),
    { ...rest, transforms },
  );
}

/** `count` places evenly over `length`, since files are often sorted by class. */
const spread = (length: number, count: number): Int32Array =>
  Int32Array.from({ length: count }, (_, i) => Math.floor((i * length) / count));

/** The share of samples whose largest score is at their label, by ONNX Runtime on the file itself. */
export async function accuracy(
  executable: Executable,
  loader: DataLoader,
  progress: Progress,
): Promise<{ share: number; samples: number }> {
  using bar = progress.start('testing', loader.dataset.length, { unit: 'samples', transient: true });
  let [seen, correct] = [0, 0];
  for await (const { inputs, labels } of loader) {
    const [scores] = (await executable.run([inputs])) as Float32Array[];
    const n = labels.data.length;
    const classes = scores.length / n;
    for (let row = 0; row < n; row++) {
      let best = row * classes;
      for (let i = best + 1; i < (row + 1) * classes; i++) if (scores[i] > scores[best]) best = i;
      if (best - row * classes === Number(labels.data[row])) correct++;
    }
    bar.update((seen += n));
  }
  return { share: correct / seen, samples: seen };
}
