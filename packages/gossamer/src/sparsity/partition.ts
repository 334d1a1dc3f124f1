import { check, type Parameter } from '@gossamer/tensor';
import { type Granularity, unitsOf } from './granularity.ts';
import { type ChannelGroups, channelGroups } from './groups.ts';
import type { Layer } from './layer.ts';
import { Mask } from './mask.ts';
import type { ModelLayers } from './model.ts';
import { sampleOf } from './score-data.ts';
import type { Training } from './sparsifier.ts';

/** Groups start…end of a partition that lie in one layer, or in one set of coupled layers. */
export interface Scope {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** Parameters divided into disjoint groups, numbered 0 … count − 1: what group regularisers act on. */
export interface Partition {
  readonly count: number;
  /** The group of each element of each parameter; −1 for elements in none. */
  readonly of: ReadonlyMap<Parameter, Int32Array>;
  /** Elements of each group. */
  readonly sizes: Uint32Array;
  /** The groups layer by layer; together all groups. */
  readonly scopes: readonly Scope[];
  /** Where groups are whole channels: the id of each in the {@link ChannelGroups} that they were made from. */
  readonly channels?: Int32Array;
}

/** The units of a granularity in each layer: filters, filter shapes, blocks, single weights. */
export function partitionLayers({ layers, parameters }: ModelLayers, granularity: Granularity): Partition {
  check(
    granularity.kind !== 'nm',
    'partition: N:M is a constraint on elements and no division into groups; use element, filter, block:4x1, …',
  );
  const of = new Map<Parameter, Int32Array>();
  const scopes: Scope[] = [];
  let count = 0;
  for (const l of layers) {
    const units = unitsOf(l, granularity);
    const start = count;
    of.set(
      parameters.get(l.name)!,
      Int32Array.from(l.values, (_, e) => start + (units.of ? units.of[e] : e)),
    );
    count += units.count;
    scopes.push({ name: l.name, start, end: count });
  }
  return { count, of, sizes: sizesOf(of, count), scopes };
}

/**
 * Whole channels: of each channel (filter, neuron) that can be removed, all trainable numbers that make it — its rows in
 * the layers that write it, their biases, and scale and shift of its normalisations — but not the columns that read it.
 * A channel whose group is zero gives zero, so that removing it changes nothing.
 *
 * @param parameters all of the model's, by name
 * @param include of a layer by name, whether the channels that it writes are wanted; default all
 */
export function partitionChannels(
  found: ChannelGroups,
  { layers }: ModelLayers,
  parameters: ReadonlyMap<string, Parameter>,
  include: (layer: string) => boolean = () => true,
): Partition {
  const byName = new Map(layers.map(l => [l.name, l]));
  const of = new Map<Parameter, Int32Array>();
  const scopes: Scope[] = [];
  const ids: number[] = [];
  for (const group of found.groups) {
    const start = ids.length;
    const written = (id: number) => found.placesOf(id).filter(p => isWritten(byName.get(p.parameter), p.axis));
    const writers = written(group.channels[0]).filter(p => byName.has(p.parameter));
    if (!writers.every(p => include(p.parameter))) continue;
    for (const id of group.channels) {
      for (const { parameter: name, axis, positions } of written(id)) {
        const parameter = parameters.get(name);
        if (!parameter?.trainable) continue;
        let groups = of.get(parameter);
        if (!groups) of.set(parameter, (groups = new Int32Array(parameter.size).fill(-1)));
        for (const e of elementsAt(parameter.shape, axis, positions)) groups[e] = ids.length;
      }
      ids.push(id);
    }
    scopes.push({ name: group.name, start, end: ids.length });
  }
  check(ids.length > 0, 'partition: no channel of this model can be removed');
  return { count: ids.length, of, sizes: sizesOf(of, ids.length), scopes, channels: Int32Array.from(ids) };
}

/** The channels of a model in training that can be removed; see {@link partitionChannels}. */
export async function channelsInTraining(
  { model, layers, data }: Training,
  include?: (layer: string) => boolean,
): Promise<Partition> {
  const found = await channelGroups(model, [sampleOf(await data.batchAt(0, 0))]);
  return partitionChannels(found, layers, model.stateDict(), include);
}

/** A vector (bias, scale, shift) belongs to its channel; a weight to the channels it writes, not to those it reads. */
const isWritten = (l: Layer | undefined, axis: number): boolean => l === undefined || axis === l.outAxis;

/** Row-major places of the elements at some positions of an axis. */
function* elementsAt(shape: readonly number[], axis: number, positions: Iterable<number>): Generator<number> {
  const inner = shape.slice(axis + 1).reduce((n, d) => n * d, 1);
  const outer = shape.slice(0, axis).reduce((n, d) => n * d, 1);
  for (const p of positions) {
    for (let o = 0; o < outer; o++) {
      const first = (o * shape[axis] + p) * inner;
      for (let i = 0; i < inner; i++) yield first + i;
    }
  }
}

/** One set of elements (row-major places) of one parameter. */
export interface ElementSet {
  readonly parameter: Parameter;
  readonly elements: Iterable<number>;
}

/**
 * Groups of one's own choice: blocks, layers with their shortcut, whatever is switched off together. Each group is a list of
 * sets of elements. Overlapping and empty groups are refused.
 */
export function partitionSets(groups: readonly (readonly ElementSet[])[], name = 'groups'): Partition {
  check(groups.length > 0, 'partition: no groups given');
  const of = new Map<Parameter, Int32Array>();
  groups.forEach((sets, j) => {
    for (const { parameter, elements } of sets) {
      let own = of.get(parameter);
      if (!own) of.set(parameter, (own = new Int32Array(parameter.size).fill(-1)));
      for (const e of elements) {
        check(e >= 0 && e < own.length, () => `partition: group ${j} has element ${e} of ${parameter}`);
        check(
          own[e] === -1,
          () =>
            `partition: groups ${own[e]} and ${j} overlap in element ${e} of ${parameter}; groups have to be disjoint`,
        );
        own[e] = j;
      }
    }
  });
  const sizes = sizesOf(of, groups.length);
  const empty = sizes.indexOf(0);
  check(empty < 0, () => `partition: group ${empty} is empty`);
  return { count: groups.length, of, sizes, scopes: [{ name, start: 0, end: groups.length }] };
}

function sizesOf(of: ReadonlyMap<Parameter, Int32Array>, count: number): Uint32Array {
  const sizes = new Uint32Array(count);
  for (const groups of of.values()) for (let e = 0; e < groups.length; e++) if (groups[e] >= 0) sizes[groups[e]]++;
  return sizes;
}

/** ⟨v_j, x_j⟩ of each group, in 64-bit; ‖v_j‖² for x = v. */
export function groupProducts(
  { of, count }: Partition,
  v: ReadonlyMap<Parameter, Float32Array>,
  x: ReadonlyMap<Parameter, Float32Array> = v,
): Float64Array {
  const sums = new Float64Array(count);
  for (const [parameter, groups] of of) {
    const [a, b] = [v.get(parameter)!, x.get(parameter)!];
    for (let e = 0; e < groups.length; e++) if (groups[e] >= 0) sums[groups[e]] += a[e] * b[e];
  }
  return sums;
}

/** 1 for every group that has an element other than 0. */
export function liveGroups({ of, count }: Partition, values: ReadonlyMap<Parameter, Float32Array>): Uint8Array {
  const alive = new Uint8Array(count);
  for (const [parameter, groups] of of) {
    const own = values.get(parameter)!;
    for (let e = 0; e < groups.length; e++) if (groups[e] >= 0 && own[e] !== 0) alive[groups[e]] = 1;
  }
  return alive;
}

/**
 * The channels whose groups are dead, ready for `shrink`: removing them changes no output. Where all channels of a scope
 * are dead, one stays.
 */
export function deadChannels({ channels, scopes }: Partition, alive: Uint8Array): number[] {
  check(channels, 'deadChannels: the groups are no channels, and only those can be removed; use granularity filter');
  return scopes.flatMap(({ start, end }) => {
    const dead = Array.from({ length: end - start }, (_, i) => start + i).filter(j => alive[j] === 0);
    return (dead.length === end - start ? dead.slice(1) : dead).map(j => channels[j]);
  });
}

/** FLOPs (2 a multiply-add, one sample) that each group takes part in. */
export function groupFlops({ of, count }: Partition, { layers, parameters }: ModelLayers): Float64Array {
  const flops = new Float64Array(count);
  for (const l of layers) {
    const groups = of.get(parameters.get(l.name)!);
    groups?.forEach(j => {
      if (j >= 0) flops[j] += 2 * l.positions;
    });
  }
  return flops;
}

/** The mask of the elements whose group lives (1 in `alive`) or that are in no group. */
export const partitionMask = ({ of }: Partition, alive: Uint8Array): Mask =>
  new Mask(
    Array.from(of, ([{ name, shape }, groups]) => [
      name,
      { shape, keep: Uint8Array.from(groups, j => (j < 0 ? 1 : alive[j])) },
    ]),
  );
