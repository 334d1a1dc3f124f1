import { check, type Parameter, type Spec } from '@gossamer/tensor';
import { channelsByVote } from './channel-scores.ts';
import type { ChannelGroup, ChannelGroups, ModelCost } from './groups.ts';
import type { Model, ModelLayers } from './model.ts';
import { followingNorms } from './norm-scales.ts';

// From a layer's own wish which of its channels go to channels of the whole network: layers that add into one stream
// have to agree.

/** A layer whose outputs go through a batch normalisation. */
export interface ScaledLayer {
  /** Name of the weight. */
  readonly layer: string;
  readonly gamma: Parameter;
  readonly beta: Parameter | undefined;
  /** Ids of the channels, −1 where one cannot be removed. */
  readonly channels: Int32Array;
}

/** Channels that go together, and the layers that write them. */
export interface VotingGroup {
  readonly group: ChannelGroup;
  /** Layers that make the channels and have a say. */
  readonly voters: readonly ScaledLayer[];
  /** Depthwise convolutions, which inherit what is decided. */
  readonly followers: readonly ScaledLayer[];
}

/** The channels of a model that scale factors can decide about. */
export interface Electorate {
  readonly found: ChannelGroups;
  readonly groups: readonly VotingGroup[];
  /** Layers without a say, and why. */
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
}

export interface ElectorateOptions {
  /** `vote` (default): layers that write one stream decide together. `inner`: only channels that one layer writes can go. */
  readonly residual?: 'vote' | 'inner';
  /** Layers whose channels stay, by name; default none. */
  readonly keep?: (layer: string) => boolean;
}

/** Finds the batch normalisations behind a model's layers and the channels that they scale. */
export async function electorate(
  model: Model,
  inputs: readonly Spec[],
  found: ChannelGroups,
  { layers }: ModelLayers,
  { residual = 'vote', keep = () => false }: ElectorateOptions = {},
): Promise<Electorate> {
  check(residual === 'vote' || residual === 'inner', () => `vote: residual ${residual}; expected vote or inner`);
  const norms = await followingNorms(model, inputs);
  const skipped = new Map<string, string>();
  const scaled = new Map<string, ScaledLayer>();
  for (const { name } of layers) {
    const norm = norms.get(name);
    if (!norm) {
      skipped.set(name, 'no batch normalisation behind it');
      continue;
    }
    const { gamma, beta } = norm;
    const channels = Int32Array.from({ length: gamma.size }, (_, i) => found.channelOf(gamma.name, i) ?? -1);
    scaled.set(name, { layer: name, gamma, beta, channels });
  }
  for (const { name, reason } of found.fixed) skipped.set(name, reason);
  const byName = new Map(layers.map(l => [l.name, l]));
  const groups: VotingGroup[] = [];
  for (const group of found.groups) {
    const writers = found.placesOf(group.channels[0]).flatMap(({ parameter, axis }) => {
      const l = byName.get(parameter);
      return l?.outAxis === axis ? [l] : [];
    });
    const voters = writers.filter(l => l.kind !== 'depthwise');
    const unable = writers.filter(l => !scaled.has(l.name) || keep(l.name));
    if (unable.length > 0) {
      for (const l of voters)
        if (!skipped.has(l.name)) skipped.set(l.name, `shares channels with ${unable[0].name}, which keeps them`);
      for (const l of unable) if (keep(l.name)) skipped.set(l.name, 'excluded');
      continue;
    }
    if (residual === 'inner' && voters.length > 1) {
      for (const l of voters) skipped.set(l.name, 'adds into a residual stream');
      continue;
    }
    const of = (list: typeof writers) => [...new Set(list)].map(l => scaled.get(l.name)!);
    groups.push({ group, voters: of(voters), followers: of(writers.filter(l => l.kind === 'depthwise')) });
  }
  check(groups.length > 0, () => {
    const reasons = Array.from(skipped, ([name, reason]) => `${name}: ${reason}`);
    return `no channel of this model can be pruned by scale factors (${reasons.join('; ')})`;
  });
  return { found, groups, skipped: Array.from(skipped, ([name, reason]) => ({ name, reason })) };
}

/** What a layer thinks of its channels: an importance of each, and below which of them one should go. */
export interface Ballot {
  readonly scores: ArrayLike<number>;
  readonly threshold: number;
}

/**
 * The channels that go, given each layer's ballot by the name of its weight; see {@link channelsByVote}. Of equal votes those
 * of lowest scores go, relative to each voter's highest. Every group keeps at least one channel.
 */
export function countVotes({ found, groups }: Electorate, ballots: ReadonlyMap<string, Ballot>): number[] {
  const votes = new Map<string, Uint8Array>();
  const worth = new Map<number, number>();
  for (const { layer, gamma, channels } of new Set(groups.flatMap(g => g.voters))) {
    const ballot = ballots.get(layer);
    check(ballot, () => `vote: no ballot of ${layer}`);
    const { scores, threshold } = ballot;
    check(
      scores.length === channels.length,
      () => `vote: ${layer} has ${channels.length} channels, its ballot ${scores.length}`,
    );
    votes.set(
      gamma.name,
      Uint8Array.from(scores, s => (s < threshold ? 1 : 0)),
    );
    const highest = Array.from(scores).reduce((a, b) => Math.max(a, b), 0);
    channels.forEach((id, i) => {
      worth.set(id, (worth.get(id) ?? 0) + (highest > 0 ? scores[i] / highest : 0));
    });
  }
  const electors = new Set(groups.map(g => g.group));
  return channelsByVote(found, votes, worth).filter(id => electors.has(found.groupOf(id)));
}

/**
 * The threshold of a layer by energy: the smallest γ² go as long as together they are at most the share δ of the layer's
 * Σγ². The threshold lies half-way between the last that goes and the first that stays. A layer whose largest |γ| is below
 * 1e-3 is completely sparse: Infinity.
 */
export function energyThreshold(gammas: ArrayLike<number>, delta = 1e-4): number {
  check(delta > 0 && delta < 1, () => `energyThreshold: δ ${delta}; expected 0 < δ < 1`);
  const sizes = Float64Array.from(gammas, Math.abs).sort();
  if (sizes[sizes.length - 1] < 1e-3) return Infinity;
  const budget = delta * sizes.reduce((sum, g) => sum + g * g, 0);
  let dropped = 0;
  for (let sum = 0; dropped < sizes.length; dropped++) {
    sum += sizes[dropped] ** 2;
    if (sum > budget) break;
  }
  return dropped === 0 ? 0 : (sizes[dropped - 1] + sizes[dropped]) / 2;
}

/** What is to be left of a model, 0…1: a share of its parameters, FLOPs, or of the channels that can be removed. One of them. */
export type ChannelTarget =
  | { readonly flops: number }
  | { readonly parameters: number }
  | { readonly channels: number };

/**
 * The first of a sequence of ever larger decisions that leaves at most what the target allows, by bisection.
 *
 * @param decide the channels that go at place 0 … `last`; a later place removes at least as much
 * @throws if even the last decision leaves more, with the share that it leaves
 */
export function decideForTarget(
  { found, groups }: Electorate,
  target: ChannelTarget,
  last: number,
  decide: (place: number) => number[],
): number[] {
  const [[what, share]] = Object.entries(target) as [[keyof ModelCost | 'channels', number]];
  check(
    share > 0 && share <= 1,
    () => `target: ${what} ${share}; expected a share of what is to be left, 0 < share ≤ 1`,
  );
  const channels = groups.reduce((n, g) => n + g.group.channels.length, 0);
  const all = found.cost();
  const left = (removed: readonly number[]): number =>
    what === 'channels' ? 1 - removed.length / channels : found.cost(removed)[what] / all[what];
  const most = left(decide(last));
  check(
    most <= share,
    () =>
      `target: ${what} ${share}: with one channel left in each group ${most.toFixed(3)} of them remain; ask for more`,
  );
  let low = 0;
  let high = last;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (left(decide(middle)) <= share) high = middle;
    else low = middle + 1;
  }
  return decide(low);
}
