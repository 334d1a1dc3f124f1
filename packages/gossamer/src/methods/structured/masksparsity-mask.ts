import { check, type Spec } from '@gossamer/tensor';
import type { Module } from '../../nn/module.ts';
import {
  type Ballot,
  type ChannelTarget,
  countVotes,
  decideForTarget,
  type Electorate,
  electorate,
  energyThreshold,
} from '../../sparsity/channel-votes.ts';
import { type FilterScore, filterScores } from '../../sparsity/filter-scores.ts';
import { channelGroups } from '../../sparsity/groups.ts';
import { maskable } from '../../sparsity/layer.ts';
import { type ModelLayers, modelLayers, refreshLayers } from '../../sparsity/model.ts';
import type { ScaleMask } from '../../sparsity/scale-penalty.ts';

// Stage 1 of MaskSparsity: which channels go.

/**
 * Where the pruning mask comes from:
 *
 * - `global-l1` (default): a training with an L1 penalty on all scales; the smallest |γ| of the whole network go
 * - `uniform`: the smallest |γ| of the trained network, the same share in each layer
 * - `l1-norm`, `fpgm`: the filters of lowest {@link filterScores}, the same share in each layer
 */
export type MaskSource = 'global-l1' | 'uniform' | 'l1-norm' | 'fpgm';

/** How much of each layer goes: a target, a threshold on |γ|, or the share δ of each layer's energy Σγ² that may go. */
export type MaskRule = ChannelTarget | { readonly threshold: number } | { readonly energy: number };

/** Channels of a network that can be pruned, with its weights of the moment. */
export interface Scene {
  readonly model: Module;
  readonly inputs: readonly Spec[];
  readonly layers: ModelLayers;
  readonly electorate: Electorate;
}

export interface SceneOptions {
  /**
   * Channels of a residual stream: `vote` (default), as many go as the layer that would give up fewest, those with the most
   * votes; `inner`: only channels between the convolutions of a block go.
   */
  readonly residual?: 'vote' | 'inner';
  /** Layers whose channels stay: names, kinds, `first`, `last`, wildcards; default none. */
  readonly exclude?: readonly string[];
}

/** Finds out what can be pruned. */
export async function sceneOf(model: Module, inputs: readonly Spec[], options: SceneOptions = {}): Promise<Scene> {
  const { residual = 'vote', exclude = [] } = options;
  const layers = await modelLayers(model, inputs);
  const found = await channelGroups(model, inputs);
  const excluded = new Set(exclude.length > 0 ? maskable(layers.layers, exclude).excluded.map(l => l.name) : []);
  const keep = (layer: string) => excluded.has(layer);
  return { model, inputs, layers, electorate: await electorate(model, inputs, found, layers, { residual, keep }) };
}

/** Stage 1: the channels to prune by the model's present weights, by id. `global-l1` looks at |γ| like `uniform`, but over all layers. */
export async function chooseMask(scene: Scene, source: MaskSource, rule: MaskRule): Promise<number[]> {
  const scores = await scoresOf(scene, source);
  const ballots = (threshold: (scores: Float32Array) => number): Map<string, Ballot> =>
    new Map(Array.from(scores, ([name, s]) => [name, { scores: s, threshold: threshold(s) }]));
  if ('threshold' in rule || 'energy' in rule) {
    check(
      source === 'global-l1' || source === 'uniform',
      () => `masksparsity: a threshold on |γ| says nothing about the scores of ${source}; give a target`,
    );
    const by = 'threshold' in rule ? () => rule.threshold : (s: Float32Array) => energyThreshold(s, rule.energy);
    return countVotes(scene.electorate, ballots(by));
  }
  if (source === 'global-l1') {
    // Between any two neighbouring |γ| of the network lies a threshold.
    const sorted = Float64Array.from([...scores.values()].flatMap(s => [...s])).sort();
    const at = (place: number) => (place < sorted.length ? sorted[place] : Infinity);
    return decideForTarget(scene.electorate, rule, sorted.length, place =>
      countVotes(
        scene.electorate,
        ballots(() => at(place)),
      ),
    );
  }
  const largest = Math.max(...Array.from(scores.values(), s => s.length));
  return decideForTarget(scene.electorate, rule, largest, place =>
    countVotes(
      scene.electorate,
      ballots(s => smallest(s, Math.round((place / largest) * s.length))),
    ),
  );
}

/** The threshold below which the `count` smallest scores lie. */
function smallest(scores: Float32Array, count: number): number {
  return count === scores.length ? Infinity : scores.slice().sort()[count];
}

async function scoresOf(
  { layers, electorate: { groups } }: Scene,
  source: MaskSource,
): Promise<Map<string, Float32Array>> {
  const now = new Map((await refreshLayers(layers)).map(l => [l.name, l]));
  const scores = new Map<string, Float32Array>();
  for (const { voters } of groups) {
    for (const { layer, gamma } of voters) {
      if (scores.has(layer)) continue;
      const filter = source === 'l1-norm' ? 'l1' : source === 'fpgm' ? 'fpgm' : undefined;
      const own = filter
        ? filterScores(now.get(layer)!, filter satisfies FilterScore)
        : (await gamma.data()).map(Math.abs);
      scores.set(layer, own);
    }
  }
  return scores;
}

/**
 * Channels to prune from a mask of one's own: of each scale by name, 1 for every channel that goes. Layers not named keep all,
 * unless they add into a stream with one that is. Refuses names and sizes that do not fit, and a layer without any channel.
 */
export function channelsOfMask({ electorate: { groups, found } }: Scene, mask: ScaleMask): number[] {
  const scaled = new Map(groups.flatMap(g => [...g.voters, ...g.followers].map(l => [l.gamma.name, l])));
  const chosen = new Set<number>();
  for (const [name, goes] of mask) {
    const layer = scaled.get(name);
    check(
      layer,
      () => `mask: ${name} is no scale whose channels can be pruned; there are ${[...scaled.keys()].join(', ')}`,
    );
    check(
      goes.length === layer.channels.length,
      () => `mask of ${name} has ${goes.length} channels, the layer ${layer.channels.length}`,
    );
    check(!goes.every(g => g === 1), () => `mask of ${name}: all ${goes.length} channels would go; keep at least one`);
    goes.forEach((g, i) => {
      if (g !== 1) return;
      const id = layer.channels[i];
      check(
        id >= 0 && groups.some(x => x.group === found.groupOf(id)),
        () => `mask of ${name}: channel ${i} cannot be pruned`,
      );
      chosen.add(id);
    });
  }
  for (const { group } of groups) {
    check(
      !group.channels.every(id => chosen.has(id)),
      () => `mask: all ${group.channels.length} channels of ${group.name} would go; keep at least one`,
    );
  }
  return [...chosen];
}

/**
 * The parameters of stage 2 that are driven to zero: of the channels `removed`, the scale γ in every layer that writes them
 * and, with `shifts`, the shift β, since a channel with γ = 0 still gives act(β).
 */
export function penaltyMask({ electorate: { groups } }: Scene, removed: readonly number[], shifts = true): ScaleMask {
  const gone = new Set(removed);
  const mask = new Map<string, Uint8Array>();
  for (const { voters, followers } of groups) {
    for (const { gamma, beta, channels } of [...voters, ...followers]) {
      const chosen = Uint8Array.from(channels, id => (gone.has(id) ? 1 : 0));
      mask.set(gamma.name, chosen);
      if (shifts && beta) mask.set(beta.name, chosen);
    }
  }
  return mask;
}
