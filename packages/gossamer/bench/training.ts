// Speed of training steps beside onnxruntime-node's forward pass on the same network, interleaved in one process.
//   npm run bench:training [-- --rounds 20 --json --out file.json]

import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import {
  compile,
  encodeOnnx,
  gradients,
  loadExecutable,
  type NDArray,
  Random,
  type Spec,
  type Tensor,
  tensor,
  traceGraph,
  writeFile,
} from '@gossamer/tensor';
import { LeNet5 } from '../src/models/lenet.ts';
import { Llama } from '../src/models/llama.ts';
import { CifarResNet } from '../src/models/resnet-cifar.ts';
import { exportModel, inEvalMode } from '../src/nn/export.ts';
import { crossEntropy } from '../src/nn/loss.ts';
import type { Module } from '../src/nn/module.ts';
import { AdamW, type Optimizer, SGD } from '../src/optim/index.ts';
import { type BenchRow, formatBench, type TrainingBench } from './format.ts';

interface Case {
  readonly name: string;
  readonly model: Module;
  readonly optimizer: Optimizer;
  readonly input: NDArray;
  readonly targets: NDArray;
  /** Samples (images, tokens) in a step, and what they are called. */
  readonly samples: number;
  readonly unit: string;
}

const random = new Random(0);
const images = (shape: number[]): NDArray => ({
  dtype: 'float32',
  shape,
  data: random.normal(shape.reduce((a, b) => a * b)),
});
const ids = (shape: number[], below: number): NDArray => ({
  dtype: 'int32',
  shape,
  data: random.integers(
    shape.reduce((a, b) => a * b),
    0,
    below,
  ),
});

function cases(): Case[] {
  const lenet = new LeNet5();
  const resnet = new CifarResNet({ depth: 20 });
  const llama = new Llama({ dim: 288, layers: 6, heads: 6, context: 256, vocab: 512 });
  const sgd = (m: Module) => new SGD(m.parameters(), { learningRate: 0.01, momentum: 0.9, weightDecay: 1e-4 });
  return [
    {
      name: 'LeNet-5, batch 64',
      model: lenet,
      optimizer: sgd(lenet),
      input: images([64, 1, 28, 28]),
      targets: ids([64], 10),
      samples: 64,
      unit: 'images/s',
    },
    {
      name: 'ResNet-20, batch 64',
      model: resnet,
      optimizer: sgd(resnet),
      input: images([64, 3, 32, 32]),
      targets: ids([64], 10),
      samples: 64,
      unit: 'images/s',
    },
    {
      name: 'LLaMA 6 × 288, 256 tokens',
      model: llama,
      optimizer: new AdamW(llama.parameters(), { learningRate: 1e-4 }),
      input: ids([1, 256], 512),
      targets: ids([1, 256], 512),
      samples: 256,
      unit: 'tokens/s',
    },
  ];
}

/** Floating-point operations of products and convolutions in the forward graph (2 a multiply-add). */
async function forwardFlops(model: Module, spec: Spec): Promise<{ all: number; first: number }> {
  const { nodes } = await inEvalMode(model, () => traceGraph(x => model.forward(x) as Tensor, [spec]));
  const costs = nodes.flatMap(({ op, shape, inputs, attributes }) => {
    const size = shape.reduce((a, b) => a * b, 1);
    if (op.name === 'conv') return [2 * size * inputs[1].shape.slice(1).reduce((a, b) => a * b, 1)];
    if (op.name === 'linear') return [2 * size * inputs[1].shape[1]];
    if (op.name === 'matmul') return [2 * size * inputs[0].shape.at((attributes as { a: boolean }).a ? -2 : -1)!];
    return [];
  });
  return { all: costs.reduce((a, b) => a + b, 0), first: costs[0] };
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];

async function measure(
  { name, model, optimizer, input, targets, samples, unit }: Case,
  rounds: number,
): Promise<BenchRow> {
  const flops = await forwardFlops(model, input);
  // Embeddings have no input gradient either; the first product of an image model has none.
  const training = 3 * flops.all - (input.dtype === 'float32' ? flops.first : 0);
  const forward = await loadExecutable(encodeOnnx(await exportModel(model, { input }, { batch: null })));
  model.train();
  const step = compile((x, y) => {
    const logits: Tensor = model.forward(x);
    const loss = crossEntropy(logits.reshape([-1, logits.shape.at(-1)!]), y.reshape([-1]));
    optimizer.step(gradients(loss, optimizer.parameters));
    return loss;
  });
  const [x, y] = [tensor(input), tensor(targets)];
  const times = { step: [] as number[], forward: [] as number[], script: [] as number[] };
  for (let round = -3; round < rounds; round++) {
    const before = { ...step.spent };
    let start = performance.now();
    await step(x, y);
    const stepTime = performance.now() - start;
    start = performance.now();
    await forward.run([input]);
    const forwardTime = performance.now() - start;
    if (round < 0) continue;
    times.step.push(stepTime);
    times.forward.push(forwardTime);
    times.script.push(stepTime - (step.spent.runtime - before.runtime));
  }
  await Promise.all([step.dispose(), forward.release()]);
  const [stepMs, forwardMs] = [median(times.step), median(times.forward)];
  const [stepRate, forwardRate] = [training / stepMs / 1e6, flops.all / forwardMs / 1e6];
  return {
    name,
    unit,
    samplesPerSecond: (samples * 1000) / stepMs,
    stepMs,
    stepGflops: stepRate,
    forwardMs,
    forwardGflops: forwardRate,
    ratio: stepRate / forwardRate,
    scriptShare: median(times.script) / stepMs,
  };
}

const { values } = parseArgs({
  options: { json: { type: 'boolean' }, rounds: { type: 'string', default: '20' }, out: { type: 'string' } },
});
const rounds = Number(values.rounds);
const rows: BenchRow[] = [];
for (const c of cases()) rows.push(await measure(c, rounds));
const result: TrainingBench = {
  command: `npm run bench:training -- --rounds ${rounds}`,
  machine: `${cpus().length} × ${cpus()[0].model}, Node ${process.versions.node}`,
  date: new Date().toISOString().slice(0, 10),
  rounds,
  peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
  rows,
};
if (values.out) await writeFile(values.out, [new TextEncoder().encode(`${JSON.stringify(result, null, 1)}\n`)]);
console.log(values.json ? JSON.stringify(result, null, 1) : formatBench(result));
