import {
  check,
  GossamerError,
  type NDArray,
  type Node,
  type Parameter,
  type Spec,
  type Traced,
} from '@gossamer/tensor';
import type { Module } from '../nn/module.ts';
import { type Constancy, constancy, Known, knownElements } from './constancy.ts';
import { foldConstants, readers, type Shift } from './fold.ts';
import { slicePositions } from './graph-slices.ts';
import { type ChannelGroups, type ChannelGroupsOptions, channelGroups, type GroupPlace } from './groups.ts';
import { Mask } from './mask.ts';
import { traceModel } from './model.ts';
import { analysisOf, followRemoval, followRemoved, type RemovalAnalysis } from './removal.ts';

/**
 * What is to go: channels by the ids of {@link channelGroups}; what a mask (by names of parameters) leaves without effect;
 * or what zeros in the model's own parameters leave without effect.
 */
export type ShrinkDecision = { readonly remove: Iterable<number> } | Mask | 'zeros';

export interface ShrinkOptions extends ChannelGroupsOptions {
  /**
   * What becomes of a constant that a removed channel still carries, such as the activation of a normalisation's shift.
   * `drop` (default): it goes, as if the shift were zero. `fold`: the biases of the layers that read it take it over where
   * that is exact; a convolution with padding drops it, see {@link ShrinkPlan.dropped}.
   */
  readonly constant?: 'drop' | 'fold';
}

/** The parameters of a model without some of its channels. */
export interface ShrinkPlan {
  readonly groups: ChannelGroups;
  /** The channels of `groups` that go, by id. */
  readonly removed: readonly number[];
  /** The model's graph; the names of removed channels are marked. */
  readonly analysis: RemovalAnalysis;
  readonly parameters: readonly Parameter[];
  /** Positions left along each axis of a parameter; undefined: all. In grouped weights, axis 1 is left out. */
  kept(parameter: Parameter): readonly (Int32Array | undefined)[];
  /** What is left of a parameter, under the mask and with what was folded into it. */
  slice(parameter: Parameter): NDArray & { data: Float32Array };
  /** Biases for layers that had none, by the layers' weights. */
  readonly biases: ReadonlyMap<Parameter, Float32Array>;
  /** Weights that read a constant which no bias could take over exactly. */
  readonly dropped: readonly string[];
}

/** Decides what is left of every parameter; see `shrink`. */
export async function planShrink(
  model: Module,
  inputs: readonly Spec[],
  decision: ShrinkDecision,
  { constant = 'drop', ...options }: ShrinkOptions,
): Promise<ShrinkPlan> {
  const parameters = [...model.namedParameters()].map(([, p]) => p);
  const values = await valuesOf(parameters, decision);
  const groups = await channelGroups(model, inputs, options);
  const traced = await traceModel(model, inputs, 'shrink');
  const known = constancy(traced, values);
  const { nameOf } = options;
  const analysis = isIds(decision)
    ? withoutPlaces(
        traced,
        [...decision.remove].flatMap(id => [...groups.placesOf(id)]),
        nameOf,
      )
    : followRemoval(traced, {
        groupRemoval: 'free',
        nameOf,
        removable: ({ inputs: [x] }, axes) =>
          knownElements(known.get(x)![0], x.shape, axes).map(k => (k === Known.varies ? 0 : 1)),
      });
  const { labels } = analysis.followed;
  const removed = isIds(decision) ? removedChannels(analysis) : deadChannels(analysis, known, values);
  for (const channel of removed) labels.remove(channel);
  const kept = keptOf(analysis, removed);
  const { shifts, dropped } =
    constant === 'fold'
      ? await foldConstants(analysis, known, values)
      : { shifts: new Map<Parameter, Shift>(), dropped: [] };
  const biases = addShifts(analysis, shifts, values);
  const grouped = groupedSlices(analysis, removed, kept);
  return {
    groups,
    removed: idsGone(groups, parameters, kept),
    analysis,
    parameters,
    kept: p => kept.get(p) ?? [],
    slice(p) {
      const data = values.get(p)!;
      return grouped.get(p)?.(data) ?? sliceOf(p.shape, data, kept.get(p) ?? []);
    },
    biases: new Map(
      [...biases].map(([weight, { shift, outAxis }]) => {
        const rows = kept.get(weight)?.[outAxis];
        return [weight, rows ? Float32Array.from(rows, o => shift[o]) : shift];
      }),
    ),
    dropped,
  };
}

const isIds = (decision: ShrinkDecision): decision is { remove: Iterable<number> } =>
  decision !== 'zeros' && !(decision instanceof Mask);

/** The parameters' values under the decision's mask. */
async function valuesOf(
  parameters: readonly Parameter[],
  decision: ShrinkDecision,
): Promise<Map<Parameter, Float32Array>> {
  const mask = decision instanceof Mask ? decision : undefined;
  const unknown = mask?.names.filter(name => !parameters.some(p => p.name === name)) ?? [];
  check(unknown.length === 0, () => `shrink: the mask has ${unknown.join(', ')}, which the model has not`);
  const values = new Map<Parameter, Float32Array>();
  for (const p of parameters) {
    const own = (await p.data()).slice();
    if (mask?.has(p.name)) mask.apply(p.name, own);
    values.set(p, own);
  }
  return values;
}

/** The graph with the channels at some places marked as removed. */
function withoutPlaces(
  traced: Traced,
  places: readonly GroupPlace[],
  nameOf: ((node: Node) => string | undefined) | undefined,
): RemovalAnalysis {
  const gone = new Map<string, Uint8Array>();
  for (const parameter of traced.parameters.values()) {
    for (const { axis, positions } of places.filter(p => p.parameter === parameter.name)) {
      const key = `${parameter.name} ${axis}`;
      const marks = gone.get(key) ?? new Uint8Array(parameter.shape[axis]);
      for (const p of positions) marks[p] = 1;
      gone.set(key, marks);
    }
  }
  const removed = (node: Node, axis: number) => {
    const parameter = traced.parameters.get(node);
    return parameter && gone.get(`${parameter.name} ${axis}`);
  };
  return analysisOf(traced, followRemoved(traced, removed, nameOf));
}

function removedChannels({ places, followed: { labels } }: RemovalAnalysis): Set<number> {
  return new Set(places.flatMap(p => [...p.channels.channel].filter(c => labels.isRemoved(c))));
}

/** Channels that can go since nothing that depends on the input leaves them. */
function deadChannels(
  analysis: RemovalAnalysis,
  known: ReadonlyMap<Node, readonly Constancy[]>,
  values: ReadonlyMap<Parameter, Float32Array>,
): Set<number> {
  const { traced, followed, places } = analysis;
  const { labels } = followed;
  const alive = new Set<number>();
  for (const { node, weight, inputAxis, weightAxis, channels } of readers(analysis)) {
    const read = known.get(node.inputs[0])![0][inputAxis];
    const weights = weightAxis === undefined ? undefined : known.get(weight)![0][weightAxis];
    labels.resolve(channels).channel.forEach((c, p) => {
      if (read[p] === Known.varies && weights?.[p] !== Known.zero) alive.add(c);
    });
  }
  for (const node of traced.nodes) {
    if (node.op.name !== 'sum') continue;
    for (const axis of (node.attributes as { axes: readonly number[] }).axes) {
      const channels = followed.axes.get(node.inputs[0])![0][axis];
      const summed = known.get(node.inputs[0])![0][axis];
      if (!channels) continue;
      labels.resolve(channels).channel.forEach((c, p) => {
        if (summed[p] !== Known.zero) alive.add(c);
      });
    }
  }
  const dead = new Set<number>();
  for (const { parameter, channels } of places) {
    if (!values.has(parameter)) continue;
    for (const c of channels.channel) if (!alive.has(c) && !labels.isFixed(c)) dead.add(c);
  }
  return dead;
}

/** Positions left along the axes of each parameter. Refuses a decision that leaves none. */
function keptOf({ places }: RemovalAnalysis, removed: ReadonlySet<number>): Map<Parameter, (Int32Array | undefined)[]> {
  const kept = new Map<Parameter, (Int32Array | undefined)[]>();
  for (const { parameter, axis, rows, channels } of places) {
    if (rows) continue;
    const left = [...channels.channel.keys()].filter(p => !removed.has(channels.channel[p]));
    check(
      left.length > 0,
      () =>
        `shrink: nothing of ${parameter.name} (axis ${axis}) would be left; keep at least one channel of each layer`,
    );
    if (left.length === channels.channel.length) continue;
    const axes = kept.get(parameter) ?? parameter.shape.map(() => undefined);
    axes[axis] = Int32Array.from(left);
    kept.set(parameter, axes);
  }
  return kept;
}

/** The channels of which no place is left. */
function idsGone(
  groups: ChannelGroups,
  parameters: readonly Parameter[],
  kept: ReadonlyMap<Parameter, readonly (Int32Array | undefined)[]>,
): number[] {
  const left = new Map<string, Set<number>>();
  for (const p of parameters) {
    kept.get(p)?.forEach((stay, axis) => {
      if (stay) left.set(`${p.name} ${axis}`, new Set(stay));
    });
  }
  const isGone = ({ parameter, axis, positions }: GroupPlace): boolean => {
    const stay = left.get(`${parameter} ${axis}`);
    return stay !== undefined && positions.every(p => !stay.has(p));
  };
  return Array.from({ length: groups.count }, (_, id) => id).filter(id => groups.placesOf(id).every(isGone));
}

type Slicer = (data: Float32Array) => NDArray & { data: Float32Array };

const sliceOf = (
  shape: readonly number[],
  data: Float32Array,
  kept: readonly (Int32Array | undefined)[],
): NDArray & { data: Float32Array } => ({
  dtype: 'float32',
  shape: shape.map((d, i) => kept[i]?.length ?? d),
  data: slicePositions(data, shape, kept),
});

/**
 * Weights of convolutions with groups: each group keeps inputs of its own. What is left must again be groups of one size:
 * whole groups go, or equally many channels of each.
 */
function groupedSlices(
  { places }: RemovalAnalysis,
  removed: ReadonlySet<number>,
  kept: ReadonlyMap<Parameter, readonly (Int32Array | undefined)[]>,
): Map<Parameter, Slicer> {
  const slicers = new Map<Parameter, Slicer>();
  for (const parameter of new Set(places.filter(p => p.rows).map(p => p.parameter))) {
    const { shape, name } = parameter;
    const rows = kept.get(parameter)?.[0] ?? Int32Array.from({ length: shape[0] }, (_, i) => i);
    const groups = places.flatMap(p => {
      if (p.parameter !== parameter || !p.rows) return [];
      const { start, end } = p.rows;
      const { channel } = p.channels;
      const inputs = Int32Array.from(channel.keys()).filter(i => !removed.has(channel[i]));
      return [{ inputs, outputs: rows.filter(r => r >= start && r < end) }];
    });
    const live = groups.filter(g => g.inputs.length > 0 || g.outputs.length > 0);
    const [first] = live;
    check(
      live.every(g => g.inputs.length === first.inputs.length && g.outputs.length === first.outputs.length) &&
        first.inputs.length > 0 &&
        first.outputs.length > 0,
      () =>
        `shrink: the groups of ${name} would keep ${groups.map(g => `${g.inputs.length}→${g.outputs.length}`).join(', ')} channels; remove whole groups, or equally many of each`,
    );
    slicers.set(parameter, data => {
      const parts = live.map(g => slicePositions(data, shape, [g.outputs, g.inputs]));
      const joined = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
      let next = 0;
      for (const part of parts) {
        joined.set(part, next);
        next += part.length;
      }
      return { dtype: 'float32', shape: [rows.length, first.inputs.length, ...shape.slice(2)], data: joined };
    });
  }
  return slicers;
}

/** Adds shifts to the biases that there are, in `values`; returns those of layers without one. */
function addShifts(
  { traced }: RemovalAnalysis,
  shifts: ReadonlyMap<Parameter, Shift>,
  values: ReadonlyMap<Parameter, Float32Array>,
): Map<Parameter, Shift> {
  const missing = new Map(shifts);
  for (const { inputs, op } of traced.nodes) {
    const weight = inputs[1] && traced.parameters.get(inputs[1]);
    const found = weight && shifts.get(weight);
    if (!found || (op.name !== 'conv' && op.name !== 'linear') || !inputs[2]) continue;
    const bias = traced.parameters.get(inputs[2]);
    if (!bias) throw new GossamerError(`shrink: the bias of ${weight.name} is computed; use constant: 'drop'`);
    const own = values.get(bias)!;
    found.shift.forEach((s, o) => {
      own[o] += s;
    });
    missing.delete(weight);
  }
  return missing;
}
