import { check, type Parameter, type Random, sizeOf } from '@gossamer/tensor';
import type { Module } from '../nn/module.ts';
import { type FilterScore, scoresOfSlices } from './filter-scores.ts';
import type { ChannelGroups } from './groups.ts';

/**
 * What a channel is worth: by its filters or neurons ({@link FilterScore}); by the scale of its batch normalisation
 * (`gamma`, Liu et al. 2017); by chance (`random`).
 */
export type ChannelScore = FilterScore | 'gamma' | 'random';

export interface ChannelScoreOptions {
  /** How the scores of a channel in several layers (of a residual stream, say) become one; default `mean`. */
  readonly aggregate?: 'mean' | 'sum' | 'max' | 'min';
  /**
   * Divides the scores of a layer by their mean, so that layers with large weights do not win over others. Default true,
   * but false for `gamma`, whose values are comparable.
   */
  readonly normalize?: boolean;
  /** For `random`. */
  readonly random?: Random;
}

/**
 * Scores of all channels by id, as `chooseChannels` takes them. Under `gamma`, channels that no batch normalisation scales
 * have none, and stay.
 */
export async function channelScores(
  model: Module,
  groups: ChannelGroups,
  score: ChannelScore,
  { aggregate = 'mean', normalize = score !== 'gamma', random }: ChannelScoreOptions = {},
): Promise<Map<number, number>> {
  if (score === 'random') {
    check(random, 'channelScores: random scores need a random generator');
    return new Map(Array.from(random.uniform(groups.count), (s, id) => [id, s]));
  }
  const sources = score === 'gamma' ? groups.scales : groups.producers;
  const parameters = model.stateDict();
  const members = new Map<number, number[]>();
  for (const { parameter: name, axis } of sources) {
    const own = await layerScores(parameters.get(name)!, axis, groups.channelsAlong(name, axis), score);
    const mean = [...own.values()].reduce((a, b) => a + b, 0) / own.size;
    for (const [id, value] of own) {
      const list = members.get(id) ?? [];
      list.push(normalize && mean > 0 ? value / mean : value);
      members.set(id, list);
    }
  }
  const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
  const combine = {
    sum,
    mean: (list: readonly number[]) => sum(list) / list.length,
    max: (list: readonly number[]) => Math.max(...list),
    min: (list: readonly number[]) => Math.min(...list),
  }[aggregate];
  return new Map([...members].map(([id, list]) => [id, combine(list)]));
}

/** Scores of the channels along one axis of a weight. */
async function layerScores(
  parameter: Parameter,
  axis: number,
  channels: Int32Array,
  score: Exclude<ChannelScore, 'random'>,
): Promise<Map<number, number>> {
  const inner = sizeOf(parameter.shape.slice(axis + 1));
  const slices = new Map<number, number[]>();
  for (let e = 0; e < parameter.size; e++) {
    const id = channels[Math.floor(e / inner) % channels.length];
    if (id < 0) continue;
    const places = slices.get(id);
    if (places) places.push(e);
    else slices.set(id, [e]);
  }
  // A scale is a slice of one element.
  const scores = scoresOfSlices(await parameter.data(), [...slices.values()], score === 'gamma' ? 'l1' : score);
  return new Map(Array.from(slices.keys(), (id, i) => [id, scores[i]]));
}

/**
 * Channels to remove by vote, where layers that share them were judged one by one: of each group goes the smallest number
 * that any member gave up, those first that most members gave up (Jiang et al. 2023, MaskSparsity). At least one stays.
 *
 * @param votes for scales or weights by name, 1 at the positions along `axis` 0 that are given up
 * @param worth of each channel by id: of equal votes the lowest goes first; default the lowest id
 */
export function channelsByVote(
  groups: ChannelGroups,
  votes: ReadonlyMap<string, Uint8Array>,
  worth: ReadonlyMap<number, number> = new Map(),
): number[] {
  return groups.groups.flatMap(({ channels }) => {
    const ballots = [...votes].flatMap(([name, given]) => {
      const ids = groups.channelsAlong(name, 0);
      check(
        ids.length === given.length,
        () => `channelsByVote: ${given.length} votes for the ${ids.length} channels of ${name}`,
      );
      const up = new Set(channels.filter(id => ids.some((own, p) => own === id && given[p] === 1)));
      return channels.some(id => ids.includes(id)) ? [up] : [];
    });
    if (ballots.length === 0) return [];
    const count = Math.min(channels.length - 1, ...ballots.map(b => b.size));
    const support = (id: number) => ballots.filter(b => b.has(id)).length;
    const value = (id: number) => worth.get(id) ?? 0;
    return channels.toSorted((a, b) => support(b) - support(a) || value(a) - value(b) || a - b).slice(0, count);
  });
}
