import type { Node, Traced } from '@gossamer/tensor';
import type { Axes, ChannelAxis, ChannelLabels } from './channel-labels.ts';
import type { GroupRemoval } from './channel-rules.ts';
import { type ChannelPlace, type Followed, follow, placesOf } from './channels.ts';

/** A model's graph with the channels that can be removed from it. */
export interface RemovalAnalysis {
  readonly traced: Traced;
  readonly followed: Followed;
  /** Every axis of every parameter that counts channels. */
  readonly places: readonly ChannelPlace[];
}

export interface RemovalOptions {
  readonly groupRemoval: GroupRemoval;
  /** What nodes of the graph are called outside of it. */
  readonly nameOf?: (node: Node) => string | undefined;
  /** Parts of a reshaped run that may go as a whole, 1 for each of its elements: they tell which axis has the channels. */
  readonly removable?: (node: Node, axes: readonly number[]) => Uint8Array;
}

/**
 * Follows the channels of a graph for removal. A reshape that divides an axis into several (heads and their width, say)
 * leaves open which of them has the channels: the first that leaves a choice of what to remove is taken.
 */
export function followRemoval(traced: Traced, { removable, ...options }: RemovalOptions): RemovalAnalysis {
  const chosen = new Map<Node, number>();
  const settled = new Set<Node>();
  for (;;) {
    const divided = new Map<Node, { flat: ChannelAxis; axes: number }>();
    const followed = follow(traced, {
      ...options,
      use: 'removal',
      chooseAxis: (node, { flat, lengths, olds }) => {
        const whole = removable ? wholeAxis(lengths, removable(node, olds)) : -1;
        if (whole >= 0) return whole;
        divided.set(node, { flat, axes: lengths.length });
        return chosen.get(node) ?? 0;
      },
    });
    let changed = false;
    for (const [node, { flat, axes }] of divided) {
      if (settled.has(node) || leavesChoice(flat, followed.labels)) continue;
      const next = (chosen.get(node) ?? 0) + 1;
      // Where no axis leaves a choice, the first is as good as any.
      if (next === axes) settled.add(node);
      chosen.set(node, next % axes);
      changed = true;
    }
    if (!changed) return analysisOf(traced, followed);
  }
}

export const analysisOf = (traced: Traced, followed: Followed): RemovalAnalysis => ({
  traced,
  followed,
  places: placesOf(traced.parameters, followed.axes, followed.grouped, followed.labels),
});

/** Whether an axis has at least two channels that can be told apart and removed. */
function leavesChoice(axis: ChannelAxis, labels: ChannelLabels): boolean {
  let first: number | undefined;
  for (const c of labels.resolve(axis).channel) {
    if (labels.isFixed(c) || c === first) continue;
    if (first !== undefined) return true;
    first = c;
  }
  return false;
}

/**
 * Follows the channels of a graph some of which are removed: what is removed is known from the parameters, so a reshape
 * gives the channels to the axis whose positions go as a whole.
 *
 * @param removed whether a position along an axis of a leaf is removed
 */
export function followRemoved(
  traced: Traced,
  removed: (node: Node, axis: number) => Uint8Array | undefined,
  nameOf?: (node: Node) => string | undefined,
): Followed {
  const mark = (node: Node, axes: Axes, labels: ChannelLabels): void => {
    axes.forEach((a, i) => {
      const gone = a && removed(node, i);
      gone?.forEach((is, position) => {
        if (is) labels.remove(a!.channel[position]);
      });
    });
  };
  let labels: ChannelLabels | undefined;
  return follow(traced, {
    use: 'removal',
    nameOf,
    leaf: (node, axes, own) => {
      labels = own;
      mark(node, axes, own);
    },
    chooseAxis: (_, { flat, lengths }) =>
      Math.max(
        0,
        wholeAxis(
          lengths,
          Uint8Array.from(flat.channel, c => Number(labels!.isRemoved(c))),
        ),
      ),
  });
}

/** The axis of a row-major block along which marked elements are whole slices; −1 if there is none, or no mark. */
function wholeAxis(lengths: readonly number[], marked: Uint8Array): number {
  if (!marked.includes(1)) return -1;
  let inner = marked.length;
  return lengths.findIndex(length => {
    const period = inner;
    inner /= length;
    const first = Uint8Array.from({ length }, (_, i) => marked[i * inner]);
    return marked.every((m, i) => m === first[Math.floor((i % period) / inner)]);
  });
}

/** Positions of an axis whose channels stay; undefined if all do. */
export function keptPositions(axis: ChannelAxis | undefined, labels: ChannelLabels): Int32Array | undefined {
  if (!axis) return undefined;
  const kept: number[] = [];
  axis.channel.forEach((c, position) => {
    if (!labels.isRemoved(c)) kept.push(position);
  });
  return kept.length === axis.channel.length ? undefined : Int32Array.from(kept);
}
