import { check, compile, gradients, Parameter, type Tensor } from '@gossamer/tensor';
import type { Dataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { crossEntropy } from '../../nn/loss.ts';
import { Module } from '../../nn/module.ts';
import { Adam, multiStepSchedule } from '../../optim/index.ts';
import { headOf } from '../../train/penultimate.ts';
import { toTensors } from '../../train/task.ts';
import { countPredictions, type Frequencies, firstClasses, frequencyMapping, type Mapping } from './label-mapping.ts';
import type { VisualPrompt } from './visual-prompt.ts';

/**
 * A frozen source network between a prompt and a label mapping: target images in, target logits out,
 * logits_t = logits_s[π]. The source is no part of it as a module: nothing that trains this one, or sets its mode,
 * reaches the source's weights and running statistics.
 */
export class Reprogrammed extends Module {
  readonly prompt: VisualPrompt;
  /** π, int32 [target classes]; it belongs to this prompt. */
  readonly mapping: Parameter;
  readonly #source: Module;

  /** @param source in eval mode */
  constructor(source: Module, prompt: VisualPrompt, mapping: Int32Array) {
    super();
    check(
      [...source.namedModules()].every(([, m]) => !m.training),
      'Reprogrammed: the source network is in training mode: its batch statistics would adapt; call eval()',
    );
    check(
      new Set(mapping).size === mapping.length,
      () => `Reprogrammed: mapping [${mapping}] uses a source class twice`,
    );
    this.#source = source;
    this.prompt = prompt;
    this.mapping = new Parameter({ dtype: 'int32', shape: [mapping.length], data: mapping }, { trainable: false });
  }

  override forward(x: Tensor): Tensor {
    return this.sourceLogits(x).gather(this.mapping, 1);
  }

  /** All of the source's logits [n, source classes] for target images. */
  sourceLogits(x: Tensor, { prompted = true } = {}): Tensor {
    const seen = prompted ? this.prompt.forward(x) : this.prompt.unprompted(x);
    return headOf(this.#source.forward(seen), seen).logits;
  }
}

export interface ReprogramOptions {
  /** Target classes K_t. */
  readonly classes: number;
  /** Source classes K_s. */
  readonly sourceClasses: number;
  /** Default `ilm`. */
  readonly mapping?: Mapping;
  /** Default 200. */
  readonly epochs?: number;
  /** Of Adam, a tenth from 50 % and a hundredth from 72 % of the epochs on; default 0.01. */
  readonly learningRate?: number;
  /** Default 128. */
  readonly batchSize?: number;
  /** Order of the batches; default 0. */
  readonly seed?: number;
}

/**
 * Trains a prompt for target images (`inputs` float32 0…1 of the prompt's inner size, `labels`) through a frozen network,
 * with the mapping that goes with it.
 */
export async function reprogram(
  source: Module,
  prompt: VisualPrompt,
  train: Dataset,
  options: ReprogramOptions,
): Promise<Reprogrammed> {
  const { classes, sourceClasses, mapping = 'ilm', epochs = 200, learningRate = 0.01, seed = 0 } = options;
  const batchSize = Math.min(options.batchSize ?? 128, train.length);
  check(
    mapping === 'rlm' || mapping === 'flm' || mapping === 'ilm',
    () => `reprogram: mapping '${mapping}'; expected rlm, flm or ilm`,
  );
  const model = new Reprogrammed(source, prompt, firstClasses(sourceClasses, classes));
  const optimizer = new Adam([prompt.delta], { learningRate });
  const step = compile((inputs: Tensor, labels: Tensor) => {
    const loss = crossEntropy(model.forward(inputs), labels.cast('int32'));
    optimizer.step(gradients(loss, [prompt.delta]));
    return loss;
  });
  const opinions = compile((inputs: Tensor) => model.sourceLogits(inputs).softmax());
  const unprompted = compile((inputs: Tensor) => model.sourceLogits(inputs, { prompted: false }).softmax());
  const remap = async (opinion: typeof opinions) => {
    let found: Frequencies | undefined;
    for await (const batch of new DataLoader(train, { batchSize })) {
      const probabilities = await (await opinion(toTensors(batch).inputs)).array();
      found = countPredictions(probabilities, batch.labels.data as Int32Array, classes, found);
    }
    model.mapping.set(frequencyMapping(found!, classes));
  };
  const schedule = multiStepSchedule({ milestones: [0.5 * epochs, 0.72 * epochs] });
  const loader = new DataLoader(train, { batchSize, shuffle: true, seed, dropLast: true });
  try {
    if (mapping === 'flm') await remap(unprompted);
    for (let epoch = 0; epoch < epochs; epoch++) {
      if (mapping === 'ilm') await remap(opinions);
      optimizer.setLearningRate(learningRate * schedule(epoch));
      for await (const batch of loader) {
        const { inputs, labels } = toTensors(batch);
        await step(inputs, labels);
      }
    }
  } finally {
    await Promise.all([step.dispose(), opinions.dispose(), unprompted.dispose()]);
  }
  return model;
}
