import { sizeOf } from '@gossamer/tensor';
import type { Axes, ChannelAxis, ChannelLabels } from './channel-labels.ts';

/** Some positions of an axis, in another order. */
export const pick = ({ channel, part }: ChannelAxis, length: number, at: (i: number) => number): ChannelAxis => ({
  channel: Int32Array.from({ length }, (_, i) => channel[at(i)]),
  part: Int32Array.from({ length }, (_, i) => part[at(i)]),
});

/** Axes one behind the other. */
export const join = (axes: readonly ChannelAxis[]): ChannelAxis => ({
  channel: Int32Array.from(axes.flatMap(a => [...a.channel])),
  part: Int32Array.from(axes.flatMap(a => [...a.part])),
});

/** An axis of channels that stay where they are. */
export function standing(labels: ChannelLabels, length: number): ChannelAxis {
  const axis = labels.fresh(length);
  labels.fix(axis);
  return axis;
}

/** A run of axes that is divided into several. */
export interface Division {
  /** Channels of the run's positions, row-major. */
  readonly flat: ChannelAxis;
  /** Lengths of the axes that it is divided into. */
  readonly lengths: readonly number[];
  /** The run's axes in the tensor that is reshaped. */
  readonly olds: readonly number[];
}

/**
 * The axes of a reshaped tensor: runs of old axes and runs of new ones that hold the same number of elements belong
 * together. Where one run is divided into several axes, `choose` says which of them has the channels; under each of its
 * positions everything moves together.
 */
export function reshaped(
  from: readonly number[],
  x: Axes,
  to: readonly number[],
  labels: ChannelLabels,
  choose: (division: Division) => number = () => 0,
): Axes {
  const out: (ChannelAxis | undefined)[] = to.map(() => undefined);
  for (const { olds, news } of matchingRuns(from, to)) {
    if (olds.length === 0) continue;
    const flat = flattened(
      olds.map(k => from[k]),
      olds.map(k => x[k]),
      labels,
    );
    if (!flat) continue;
    const lengths = news.map(k => to[k]);
    const chosen = news.length > 1 ? choose({ flat, lengths, olds }) : 0;
    out[news[chosen]] = news.length > 1 ? blocks(flat, lengths, chosen, labels) : flat;
  }
  return out;
}

/** Runs of axes of two shapes that hold the same elements; axes of length 1 are left out. */
export function matchingRuns(from: readonly number[], to: readonly number[]): { olds: number[]; news: number[] }[] {
  const runs: { olds: number[]; news: number[] }[] = [];
  let [i, j] = [0, 0];
  while (i < from.length && j < to.length) {
    const [firstOld, firstNew] = [i, j];
    let [a, b] = [from[i++], to[j++]];
    while (a !== b) {
      if (a < b) a *= from[i++];
      else b *= to[j++];
    }
    const long = (shape: readonly number[], start: number, end: number) =>
      shape.flatMap((d, k) => (k >= start && k < end && d !== 1 ? [k] : []));
    runs.push({ olds: long(from, firstOld, i), news: long(to, firstNew, j) });
  }
  return runs;
}

/** Several axes as one. If one of them has channels, each becomes a block, with a part for each place in the others. */
function flattened(shape: readonly number[], axes: Axes, labels: ChannelLabels): ChannelAxis | undefined {
  if (axes.length === 1) return axes[0];
  const carrying = axes.flatMap((a, i) => (a ? [i] : []));
  if (carrying.length !== 1) {
    for (const a of axes) labels.fix(a);
    return undefined;
  }
  const [at] = carrying;
  const { channel, part } = axes[at]!;
  const inner = sizeOf(shape.slice(at + 1));
  const size = sizeOf(shape);
  const flat = { channel: new Int32Array(size), part: new Int32Array(size) };
  for (let i = 0; i < size; i++) {
    const row = Math.floor(i / inner);
    const c = row % shape[at];
    flat.channel[i] = channel[c];
    flat.part[i] = part[c] + Math.floor(row / shape[at]) * inner + (i % inner);
  }
  return flat;
}

/** One of the axes that a flat one is divided into: everything under one of its positions moves together. */
function blocks(flat: ChannelAxis, lengths: readonly number[], chosen: number, labels: ChannelLabels): ChannelAxis {
  const axis = labels.fresh(lengths[chosen]);
  const inner = sizeOf(lengths.slice(chosen + 1));
  const period = inner * lengths[chosen];
  labels.unite(flat, {
    channel: flat.channel.map((_, i) => axis.channel[Math.floor((i % period) / inner)]),
    part: flat.part.map((_, i) => Math.floor(i / period) * inner + (i % inner)),
  });
  return axis;
}
