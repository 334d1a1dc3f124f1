import { Random } from '@gossamer/tensor';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { MLP } from '../../nn/container.ts';
import { SGD } from '../../optim/index.ts';
import type { Mask } from '../../sparsity/index.ts';
import type { RuledSparsifier } from '../../sparsity/rules.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import { classification } from '../../train/task.ts';
import { Trainer, type TrainerOptions } from '../../train/trainer.ts';

// For the tests of dynamic sparse training.

const random = new Random(7);
const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [64, 20], data: random.normal(1280) },
  labels: { dtype: 'int32', shape: [64], data: random.integers(64, 0, 4) },
});

/** What a training looks like right before and after an update. */
export interface Seen {
  readonly step: number;
  readonly before: Mask;
  readonly mask: Mask;
  /** Values before and after the update, momentum, and the dense gradient that the update saw. */
  readonly values: ReadonlyMap<string, Float32Array>;
  readonly weights: ReadonlyMap<string, Float32Array>;
  readonly momentum: ReadonlyMap<string, Float32Array>;
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

/** 40 steps on random data of four classes, with momentum and weight decay. */
export const trainingOf = (model: MLP): TrainerOptions => ({
  model,
  task: classification(),
  train: new DataLoader(data, { batchSize: 16, shuffle: true }),
  optimizer: new SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9, weightDecay: 1e-3 }),
  steps: 40,
});

export interface Watched {
  readonly seen: Seen[];
  readonly model: MLP;
}

/** Trains a perceptron, for 40 steps by default, and looks at every update. */
export async function watch(
  sparsifier: RuledSparsifier,
  {
    model = new MLP([20, 24, 16, 4], { random: new Random(3) }),
    ...options
  }: Partial<TrainerOptions> & { readonly model?: MLP } = {},
): Promise<Watched> {
  const seen: Seen[] = [];
  const update = sparsifier.update.bind(sparsifier);
  sparsifier.update = async (training: Training) => {
    const { step, layers, optimizer } = training;
    const before = sparsifier.mask!;
    const each = async (read: (name: string) => Promise<Float32Array>) =>
      new Map(await Promise.all(before.names.map(async name => [name, (await read(name)).slice()] as const)));
    const weights = () => each(name => layers.parameters.get(name)!.data());
    const values = await weights();
    const gradients = await training.denseGradients();
    await update(training);
    const momentum = await each(name => optimizer.stateOf(layers.parameters.get(name)!)[0].data());
    seen.push({ step, before, mask: sparsifier.mask!, values, weights: await weights(), momentum, gradients });
  };
  await new Trainer({ ...trainingOf(model), sparsifiers: [sparsifier], ...options }).run();
  return { seen, model };
}

/** Positions whose state went from `from` to `to` in a layer. */
export const places = ({ before, mask }: Seen, name: string, from: 0 | 1, to: 0 | 1): number[] =>
  [...mask.get(name).keys()].filter(i => before.get(name)[i] === from && mask.get(name)[i] === to);

/** Steps at which the mask changed. */
export const changes = (seen: readonly Seen[]): number[] =>
  seen.flatMap(s => (s.mask.equals(s.before) ? [] : [s.step]));
