import { GossamerError, type NDArray, Random } from '@gossamer/tensor';
import { encodeOnnx, type OnnxModel } from '@gossamer/tensor/onnx';
import { InvalidArgumentError } from 'commander';
import { type ChannelScore, channelScores } from '../sparsity/channel-scores.ts';
import { type CostTarget, chooseChannels, chooseChannelsByTime, type TimeTarget } from '../sparsity/choose-channels.ts';
import type { ChannelGroups } from '../sparsity/groups.ts';
import type { OnnxNetwork } from '../sparsity/shrink-onnx.ts';
import type { Progress } from '../train/progress.ts';
import { UsageError } from './command.ts';
import type { ModelFile } from './model-file.ts';
import { type Loaded, own, randomFeeds } from './runtimes.ts';

/** A share of what the model costs (`0.5`, `50%`) or a number (`1.5e6`), as costs are given on the command line. */
export function costTarget(text: string): number {
  const [, number, percent] = /^(\d*\.?\d+(?:e\d+)?)(%?)$/.exec(text) ?? [];
  const value = Number(number) / (percent ? 100 : 1);
  if (!(value > 0) || (percent && value >= 1)) {
    throw new InvalidArgumentError('Expected a share such as 0.5 or 50%, or a number of 1 or more.');
  }
  return value;
}

export interface TargetOptions {
  readonly zeros?: boolean;
  readonly flops?: number;
  readonly parameters?: number;
  readonly bytes?: number;
  readonly milliseconds?: number;
  readonly speedup?: number;
}

/** The one target that was given; `zeros`: what zeros in the weights leave without effect goes, and nothing else. */
export function targetOf({ zeros, ...options }: TargetOptions): CostTarget | TimeTarget | 'zeros' {
  const { flops, parameters, bytes, milliseconds, speedup } = options;
  const given = Object.entries({ flops, parameters, bytes, milliseconds, speedup }).filter(([, v]) => v !== undefined);
  if (given.length + Number(zeros ?? false) !== 1) {
    throw new UsageError(
      'give one target: --flops, --parameters, --bytes, --milliseconds or --speedup; or --zeros for a model with dead channels',
    );
  }
  return zeros ? 'zeros' : (Object.fromEntries(given) as unknown as CostTarget | TimeTarget);
}

export interface ChoiceOptions {
  readonly target: CostTarget | TimeTarget;
  readonly score: ChannelScore;
  readonly aggregate: 'mean' | 'sum' | 'max' | 'min';
  readonly minimum: number;
  readonly multipleOf: number;
  readonly seed: number;
  /** Makes the file without some channels, for times. */
  readonly shrink: (removed: readonly number[]) => Promise<OnnxModel>;
  /** Milliseconds of the models, measured in turns. */
  readonly time: (models: readonly OnnxModel[]) => Promise<number[]>;
  readonly progress: Progress;
}

/** Scores the channels and decides which go. */
export async function choose(network: OnnxNetwork, groups: ChannelGroups, options: ChoiceOptions): Promise<number[]> {
  const { target, score, aggregate, seed, progress } = options;
  const scores = await channelScores(network.module, groups, score, { aggregate, random: new Random(seed) });
  if (scores.size === 0) {
    const [first] = groups.fixed;
    throw new GossamerError(
      groups.groups.length === 0
        ? `no channel of the model can be removed${first ? `; for instance ${first.name}: ${first.reason}` : ''}`
        : `--score ${score} says nothing about this model's channels: no batch normalisation scales them; try l1`,
    );
  }
  if (!('milliseconds' in target || 'speedup' in target)) return chooseChannels(groups, scores, { ...options, target });
  using bar = progress.start('timing', 12, { unit: 'candidates', transient: true });
  let done = 0;
  let reference: number | undefined;
  const measure = async (removed: readonly number[]) => {
    const small = removed.length === 0 ? network.onnx : await options.shrink(removed);
    const [before, after] = await options.time([network.onnx, small]);
    bar.update(Math.min(12, ++done));
    reference ??= before;
    // A speed-up is against the model as it runs at the same moment.
    return 'speedup' in target ? (after / before) * reference : after;
  };
  return (await chooseChannelsByTime(groups, scores, measure, { ...options, target })).removed;
}

/**
 * Milliseconds of one run of each model on this machine, measured in turns so that whatever else the machine does meets
 * all alike: medians, after a warm-up.
 */
export async function milliseconds(
  models: readonly OnnxModel[],
  feeds: Readonly<Record<string, NDArray>>,
  { threads, runs = 15 }: { threads: number; runs?: number },
): Promise<number[]> {
  const loaded: Loaded[] = [];
  try {
    for (const onnx of models) loaded.push(await own(threads, 'auto').load(encodeOnnx(onnx), feeds));
    let times: number[][] = [];
    // Short runs are repeated for longer, or one hiccup of the machine decides; the first round is the warm-up.
    for (const limit of [100, 300]) {
      times = models.map(() => []);
      const start = performance.now();
      const spent = () => performance.now() - start;
      while ((times[0].length < runs && spent() < 30_000) || spent() < limit) {
        for (const [i, model] of loaded.entries()) {
          const before = performance.now();
          await model.run();
          times[i].push(performance.now() - before);
        }
      }
    }
    return times.map(list => list.sort((a, b) => a - b)[list.length >> 1]);
  } finally {
    for (const model of loaded) await model.release();
  }
}

export const feedsFor = ({ inputs }: ModelFile, seed: number): Record<string, NDArray> =>
  randomFeeds(inputs, new Random(seed));
