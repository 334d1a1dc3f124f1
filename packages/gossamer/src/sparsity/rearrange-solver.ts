/** How the rows (output channels) of one weight are grouped and scored. */
export interface GroupedRows {
  readonly rows: number;
  readonly inputs: number;
  /**
   * What a row's kernel for an input adds to the score of its group, rows × inputs: the sum of |w| (ℓ1) or of w² (ℓ2).
   */
  readonly norms: Float32Array;
  readonly norm: 'l1' | 'l2';
  /** Group of each position, and how many positions each has. */
  readonly groupOf: Int32Array;
  readonly groupSizes: Int32Array;
  /** Units (group × input) that stay: of the whole weight, or with `balanced` of each group. */
  readonly keep: number;
  readonly balanced: boolean;
}

/** Rows that may change places: position of each member in each of the weights that they are rows of. */
export interface Interchange {
  readonly members: number;
  readonly in: readonly { readonly weight: number; readonly positions: Int32Array }[];
}

/** Rows are divided into runs of `size`, in each of `blocks` equal blocks anew; the last run of a block may be shorter. */
export function runsOf(rows: number, size: number, blocks = 1): Pick<GroupedRows, 'groupOf' | 'groupSizes'> {
  const length = rows / blocks;
  const each = Math.ceil(length / size);
  const groupOf = Int32Array.from({ length: rows }, (_, r) => {
    return Math.floor(r / length) * each + Math.floor((r % length) / size);
  });
  const groupSizes = new Int32Array(each * blocks);
  for (const g of groupOf) groupSizes[g]++;
  return { groupOf, groupSizes };
}

/** Sum of the scores of the units that stay, if position p holds row `order[p]`. The objective of rearrangement. */
export function retained(w: GroupedRows, order: ArrayLike<number>): number {
  const scores = unitScores(w, order);
  if (!w.balanced) return sumOfHighest(scores, w.keep);
  let total = 0;
  for (let g = 0; g < w.groupSizes.length; g++) {
    total += sumOfHighest(scores.subarray(g * w.inputs, (g + 1) * w.inputs), w.keep);
  }
  return total;
}

/** Scores of all units, groups × inputs, if position p holds row `order[p]`. */
export function unitScores(w: GroupedRows, order: ArrayLike<number>): Float64Array {
  const sums = groupSums(w, order);
  return w.norm === 'l2' ? sums.map(Math.sqrt) : sums;
}

export const identityOrder = (rows: number): Int32Array => Int32Array.from({ length: rows }, (_, i) => i);

const MOST_SWEEPS = 12;
/** A sweep that raises the gain by less than this share is the last. */
const WORTHWHILE = 0.002;

/**
 * Orders of the rows of each weight that raise the {@link retained} score, by exchanges within the given sets. First each
 * set is filled greedily: the heaviest row that is left begins a group, then come the rows that raise its kept score most;
 * then pairs change places as long as that helps. While rows move, a unit counts by how far it lies above the threshold
 * that it must pass to stay, which makes the effect of an exchange local to two groups.
 *
 * Sets that several weights have in common (residual sums) get one order, for the highest sum of their retained shares.
 * No weight ever ends below the order it came with. Deterministic. Time O(n² · inputs) for a set of n rows and each sweep
 * of exchanges: 0.7 s for a weight of 256 × 256 on one core.
 */
export function solveOrders(weights: readonly GroupedRows[], exchanges: readonly Interchange[]): Int32Array[] {
  const orders = weights.map(w => identityOrder(w.rows));
  for (const exchange of exchanges) {
    const start = exchange.in.map(({ weight }) => orders[weight]);
    const greedy = improve(weights, exchange, start, { fill: true });
    const best = greedy ?? improve(weights, exchange, start, { fill: false }) ?? start;
    exchange.in.forEach(({ weight }, i) => {
      orders[weight] = best[i];
    });
  }
  return orders;
}

/** Orders that are better for one set than those at the start and worse for none of its weights, if any are found. */
function improve(
  weights: readonly GroupedRows[],
  { members, in: involved }: Interchange,
  start: readonly Int32Array[],
  { fill }: { fill: boolean },
): Int32Array[] | undefined {
  const work = involved.map(({ weight, positions }, i) => new Placement(weights[weight], positions, start[i].slice()));
  const floor = work.map(p => p.retained);
  if (fill) fillGreedily(work, members);
  let best: Int32Array[] | undefined;
  let bestGain = 0;
  let last = -Infinity;
  for (let sweep = 0; sweep <= MOST_SWEEPS; sweep++) {
    for (const p of work) p.settle();
    const gain = work.reduce((n, p, i) => n + p.share * (p.retained - floor[i]), 0);
    if (gain > bestGain && work.every((p, i) => p.retained >= floor[i])) {
      bestGain = gain;
      best = work.map(p => p.order.slice());
    }
    if (gain <= last + WORTHWHILE * Math.abs(last)) break;
    if (!exchangePairs(work, members, fill ? undefined : floor)) break;
    last = gain;
  }
  return best;
}

/** One weight while the rows of a set move: which row stands where, and what its groups are worth. */
class Placement {
  /** The row at each position. */
  readonly order: Int32Array;
  /** Makes the scores of weights comparable: 1 / the sum of all norms. */
  readonly share: number;
  readonly #w: GroupedRows;
  readonly #positions: Int32Array;
  #sums: Float64Array;
  /** Score that a unit of each group must pass: one for all, or with `balanced` the group's own. */
  readonly #limits: Float64Array;
  readonly #values: Float64Array;
  /** Rows that each group has while a set is filled. */
  readonly #counts: Int32Array;
  /** Sweep in which each group last changed. */
  readonly #changed: Int32Array;
  #sweep = 0;
  retained = 0;

  constructor(w: GroupedRows, positions: Int32Array, order: Int32Array) {
    const groups = w.groupSizes.length;
    this.#w = w;
    this.#positions = positions;
    this.order = order;
    this.share = 1 / (normSum(w) || 1);
    this.#sums = new Float64Array(0);
    this.#limits = new Float64Array(groups);
    this.#values = new Float64Array(groups);
    this.#counts = w.groupSizes.slice();
    this.#changed = new Int32Array(groups);
    this.settle();
  }

  /** Brings sums, limits, values and retained score up to date, and begins a sweep. */
  settle(): void {
    const w = this.#w;
    this.#sums = groupSums(w, this.order);
    this.measure();
    if (!w.balanced) this.#limits.fill(limitOf(unitScores(w, this.order), w.keep));
    for (let g = 0; g < this.#values.length; g++) this.#revalue(g);
    this.#sweep++;
  }

  /** The retained score of the present order. */
  measure(): number {
    this.retained = retained(this.#w, this.order);
    return this.retained;
  }

  /** Takes all rows of the set out; returns them by slot. */
  clear(): Int32Array {
    const taken = this.#positions.map(p => this.order[p]);
    if (this.#w.balanced) this.#limits.fill(this.#limits.reduce((a, b) => a + b, 0) / this.#limits.length);
    for (const p of this.#positions) {
      const g = this.#w.groupOf[p];
      this.#add(g, this.order[p], -1);
      this.#counts[g]--;
    }
    return taken;
  }

  /** Whether the group of a slot has no row yet. */
  begins(slot: number): boolean {
    return this.#counts[this.#w.groupOf[this.#positions[slot]]] === 0;
  }

  /** Sum of a row's norms. */
  heft(row: number): number {
    const { inputs, norms } = this.#w;
    let sum = 0;
    for (let i = 0; i < inputs; i++) sum += norms[row * inputs + i];
    return this.share * sum;
  }

  /** What the group of a slot is worth with this row. The limit grows with the rows that the group has. */
  worth(slot: number, row: number): number {
    const { groupOf, groupSizes, inputs, norms, norm } = this.#w;
    const g = groupOf[this.#positions[slot]];
    const scale = (this.#counts[g] + 1) / groupSizes[g];
    const limit = this.#limits[g] * (norm === 'l2' ? Math.sqrt(scale) : scale);
    let value = 0;
    for (let i = 0; i < inputs; i++) {
      const sum = this.#sums[g * inputs + i] + norms[row * inputs + i];
      const above = (norm === 'l2' ? Math.sqrt(Math.max(0, sum)) : sum) - limit;
      if (above > 0) value += above;
    }
    return this.share * value;
  }

  put(slot: number, row: number): void {
    const position = this.#positions[slot];
    const g = this.#w.groupOf[position];
    this.order[position] = row;
    this.#add(g, row, 1);
    this.#counts[g]++;
  }

  /** Whether the groups of two slots differ and one of them has changed since the last sweep looked at them. */
  isOpen(a: number, b: number): boolean {
    const { groupOf } = this.#w;
    const [g, h] = [groupOf[this.#positions[a]], groupOf[this.#positions[b]]];
    return g !== h && Math.max(this.#changed[g], this.#changed[h]) >= this.#sweep - 2;
  }

  /** What the exchange of two slots brings. */
  exchangeGain(a: number, b: number): number {
    const { groupOf, inputs, norms, norm } = this.#w;
    const [p, q] = [this.#positions[a], this.#positions[b]];
    const [g, h] = [groupOf[p], groupOf[q]];
    if (g === h) return 0;
    const sums = this.#sums;
    const [first, second] = [g * inputs, h * inputs];
    const [goes, comes] = [this.order[p] * inputs, this.order[q] * inputs];
    const [limitG, limitH] = [this.#limits[g], this.#limits[h]];
    let value = 0;
    if (norm === 'l1') {
      for (let i = 0; i < inputs; i++) {
        const change = norms[comes + i] - norms[goes + i];
        const u = sums[first + i] + change - limitG;
        const v = sums[second + i] - change - limitH;
        if (u > 0) value += u;
        if (v > 0) value += v;
      }
    } else {
      for (let i = 0; i < inputs; i++) {
        const change = norms[comes + i] - norms[goes + i];
        const u = Math.sqrt(Math.max(0, sums[first + i] + change)) - limitG;
        const v = Math.sqrt(Math.max(0, sums[second + i] - change)) - limitH;
        if (u > 0) value += u;
        if (v > 0) value += v;
      }
    }
    return this.share * (value - this.#values[g] - this.#values[h]);
  }

  exchange(a: number, b: number): void {
    const { groupOf } = this.#w;
    const [p, q] = [this.#positions[a], this.#positions[b]];
    const [g, h] = [groupOf[p], groupOf[q]];
    const [r, s] = [this.order[p], this.order[q]];
    this.order[p] = s;
    this.order[q] = r;
    if (g === h) return;
    this.#add(g, s, 1);
    this.#add(g, r, -1);
    this.#add(h, r, 1);
    this.#add(h, s, -1);
    for (const group of [g, h]) {
      this.#revalue(group);
      this.#changed[group] = this.#sweep;
    }
  }

  #revalue(group: number): void {
    const { inputs, norm, balanced, keep } = this.#w;
    const own = this.#sums.subarray(group * inputs, (group + 1) * inputs);
    const scores = norm === 'l2' ? own.map(s => Math.sqrt(Math.max(0, s))) : own;
    if (balanced) this.#limits[group] = limitOf(scores.slice(), keep);
    const limit = this.#limits[group];
    let value = 0;
    for (const s of scores) if (s > limit) value += s - limit;
    this.#values[group] = value;
  }

  #add(group: number, row: number, sign: 1 | -1): void {
    const { inputs, norms } = this.#w;
    for (let i = 0; i < inputs; i++) this.#sums[group * inputs + i] += sign * norms[row * inputs + i];
  }
}

function fillGreedily(work: readonly Placement[], members: number): void {
  const rows = work.map(p => p.clear());
  const left = new Set(identityOrder(members));
  for (let slot = 0; slot < members; slot++) {
    const isFirst = work.every(p => p.begins(slot));
    let best = -1;
    let highest = -Infinity;
    for (const m of left) {
      let value = 0;
      for (const [i, p] of work.entries()) value += isFirst ? p.heft(rows[i][m]) : p.worth(slot, rows[i][m]);
      if (value > highest) {
        highest = value;
        best = m;
      }
    }
    left.delete(best);
    for (const [i, p] of work.entries()) p.put(slot, rows[i][best]);
  }
}

/**
 * Tries pairs once, but those of which nothing has changed; whether any changed places. With a floor, exchanges that take
 * the retained score of a weight below it are taken back.
 */
function exchangePairs(work: readonly Placement[], members: number, floor?: readonly number[]): boolean {
  let changed = false;
  const gains = new Float64Array(work.length);
  for (let a = 0; a < members; a++) {
    for (let b = a + 1; b < members; b++) {
      if (!work.some(p => p.isOpen(a, b))) continue;
      let gain = 0;
      for (let i = 0; i < work.length; i++) gain += gains[i] = work[i].exchangeGain(a, b);
      // Gains by the thresholds of the sweep are upper limits: what fails by them fails.
      if (gain <= 1e-9 || (floor && work.some((p, i) => p.retained + gains[i] / p.share < floor[i]))) continue;
      for (const p of work) p.exchange(a, b);
      if (floor && work.some((p, i) => p.measure() < floor[i])) {
        for (const p of work) p.exchange(a, b);
        for (const p of work) p.measure();
      } else changed = true;
    }
  }
  return changed;
}

/** Sum of the norms of all kernels, which no order changes. */
export const normSum = ({ norms, norm }: GroupedRows): number =>
  norms.reduce((n, x) => n + (norm === 'l2' ? Math.sqrt(x) : x), 0);

function groupSums({ rows, inputs, norms, groupOf, groupSizes }: GroupedRows, order: ArrayLike<number>): Float64Array {
  const sums = new Float64Array(groupSizes.length * inputs);
  for (let p = 0; p < rows; p++) {
    const [to, from] = [groupOf[p] * inputs, order[p] * inputs];
    for (let i = 0; i < inputs; i++) sums[to + i] += norms[from + i];
  }
  return sums;
}

/** The `keep`-th highest score; sorts the array. */
function limitOf(scores: Float64Array, keep: number): number {
  return keep > 0 ? scores.sort()[Math.max(0, scores.length - keep)] : Infinity;
}

function sumOfHighest(scores: Float64Array, count: number): number {
  const sorted = scores.slice().sort();
  let sum = 0;
  for (let i = Math.max(0, sorted.length - count); i < sorted.length; i++) sum += sorted[i];
  return sum;
}
