import { check, GossamerError, Random } from '@gossamer/tensor';

// The k-level group envelope: the tightest convex function below "½ Σ d_j‖w_j‖² if at most k groups live, else ∞".
// Refael, Iarchuk, Huleihel & Lindenbaum, "Learning k-Level Structured Sparse Neural Networks Using Group Envelope
// Regularization", arXiv:2212.12921. It is half the squared k-support norm (Argyriou, Foygel & Srebro 2012) of
// x_j = √d_j·‖w_j‖, so that all functions here take group norms and no groups. Numbers are 64-bit throughout: the
// multiplier η below spans orders of magnitude when t is small.

export interface EnvelopeOptions {
  /** Groups that may live, 1 ≤ k ≤ m. */
  readonly k: number;
  /** d_j > 0 of each group; default 1. */
  readonly weights?: ArrayLike<number>;
}

export interface EnvelopeProxOptions extends EnvelopeOptions {
  /**
   * How Σ u_j(η) = k is solved over its 2m breakpoints: `sort` (default) in O(m log m), `random` by random pivots in
   * expected O(m). Both give the same root up to rounding.
   */
  readonly rootFinder?: 'sort' | 'random';
  /** Where `random` draws its pivots from; default `new Random(0)`. */
  readonly random?: Random;
}

/** 𝒲_k in closed form. O(m log m). */
export function envelopeValue(norms: ArrayLike<number>, { k, weights }: EnvelopeOptions): number {
  checkGroups(norms, k, weights);
  const x = scaled(norms, weights).sort().reverse();
  // Σ_{i ≥ k−r} x_(i), places counted from 1.
  let tail = 0;
  for (let i = k - 1; i < x.length; i++) tail += x[i];
  let r = 0;
  while (r < k - 1 && x[k - r - 2] * (r + 1) <= tail) tail += x[k - ++r - 1];
  let head = 0;
  for (let i = 0; i < k - r - 1; i++) head += x[i] * x[i];
  return (head + (tail * tail) / (r + 1)) / 2;
}

/** The conjugate of 𝒲_k and of the set function below it: ½ Σ of the k largest ‖y_j‖²/d_j. */
export function envelopeConjugate(norms: ArrayLike<number>, { k, weights }: EnvelopeOptions): number {
  checkGroups(norms, k, weights);
  const squares = Float64Array.from(norms, (n, j) => (n * n) / (weights?.[j] ?? 1));
  return (
    squares
      .sort()
      .reverse()
      .subarray(0, k)
      .reduce((a, b) => a + b, 0) / 2
  );
}

/**
 * prox_{t𝒲_k}(v) = argmin_w ½‖w − v‖² + t·𝒲_k(w), as the factors f_j of w_j = f_j·v_j: u_j / (u_j + t·d_j) with
 * u_j = clip(η·√d_j·‖v_j‖ − t·d_j, 0, 1) and the η ≥ 0 at which Σ u_j = k. Where at most k groups live, all u_j are 1.
 *
 * This is no hard threshold: a small t leaves more than k groups alive; at least k of those alive in v always stay.
 *
 * @param norms ‖v_j‖ of each group
 */
export function envelopeProx(norms: ArrayLike<number>, t: number, options: EnvelopeProxOptions): Float64Array {
  const { k, weights, rootFinder = 'sort', random = new Random(0) } = options;
  checkGroups(norms, k, weights);
  check(t >= 0, () => `envelope: step ${t}; expected a number ≥ 0`);
  check(
    rootFinder === 'sort' || rootFinder === 'random',
    () => `envelope: root finder ${rootFinder}; expected sort or random`,
  );
  const m = norms.length;
  const factors = new Float64Array(m);
  // Groups without a norm would have breakpoints at infinity. For the others, slopes √d·n and offsets t·d.
  const live = new Uint32Array(m);
  const slopes = new Float64Array(m);
  const offsets = new Float64Array(m);
  let count = 0;
  for (let j = 0; j < m; j++) {
    if (norms[j] === 0) continue;
    const d = weights ? weights[j] : 1;
    live[count] = j;
    slopes[count] = Math.sqrt(d) * norms[j];
    offsets[count++] = t * d;
  }
  let root = Infinity;
  if (t > 0 && count > k) {
    const [s, o] = [slopes.subarray(0, count), offsets.subarray(0, count)];
    root = rootFinder === 'sort' ? sortedRoot(s, o, k) : randomRoot(s, o, k, random);
  }
  for (let i = 0; i < count; i++) {
    const u = clip(root * slopes[i] - offsets[i]);
    factors[live[i]] = u === 0 ? 0 : u / (u + offsets[i]);
  }
  return factors;
}

const clip = (u: number): number => Math.min(1, Math.max(0, u));

/** √d_j·‖w_j‖. */
const scaled = (norms: ArrayLike<number>, weights?: ArrayLike<number>): Float64Array =>
  Float64Array.from(norms, (n, j) => Math.sqrt(weights?.[j] ?? 1) * n);

function checkGroups(norms: ArrayLike<number>, k: number, weights?: ArrayLike<number>): void {
  const m = norms.length;
  check(
    Number.isInteger(k) && k >= 1 && k <= m,
    () => `envelope: k = ${k} of ${m} groups; expected a whole number from 1 to ${m}`,
  );
  check(!weights || weights.length === m, () => `envelope: ${weights!.length} weights for ${m} groups`);
  for (let j = 0; j < m; j++) {
    if (!(norms[j] >= 0 && norms[j] < Infinity)) throw new GossamerError(`envelope: group ${j} has norm ${norms[j]}`);
    if (weights && !(weights[j] > 0)) {
      throw new GossamerError(`envelope: group ${j} has weight ${weights[j]}; expected a number above 0`);
    }
  }
}

// h(η) = Σ u_j(η), u_j = clip(η·s_j − o_j, 0, 1), is piecewise linear and does not fall. u_j leaves 0 at a_j = o_j/s_j
// and reaches 1 at b_j = (1 + o_j)/s_j. Both finders narrow a bracket lo < η ≤ hi down to one linear piece and solve
// there; h is always summed from positive terms, never updated by differences, which would cancel.

/** The root on a piece: `full` groups at 1, linear ones with sums S of slopes and O of offsets. */
const solve = (k: number, full: number, S: number, O: number, lo: number, hi: number): number =>
  S > 0 ? Math.min(hi, Math.max(lo, (k - full + O) / S)) : hi;

/** Sorts all breakpoints and searches them by halves. */
function sortedRoot(s: Float64Array, o: Float64Array, k: number): number {
  const m = s.length;
  const breaks = new Float64Array(2 * m);
  for (let j = 0; j < m; j++) {
    breaks[j] = o[j] / s[j];
    breaks[m + j] = (1 + o[j]) / s[j];
  }
  breaks.sort();
  const h = (eta: number): number => {
    let sum = 0;
    for (let j = 0; j < m; j++) sum += clip(eta * s[j] - o[j]);
    return sum;
  };
  // The first breakpoint with h ≥ k; at the last one all groups are full, and there are more than k of them.
  let low = 0;
  let high = 2 * m - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (h(breaks[middle]) >= k) high = middle;
    else low = middle + 1;
  }
  const hi = breaks[low];
  const lo = low > 0 ? breaks[low - 1] : 0;
  let [full, S, O] = [0, 0, 0];
  for (let j = 0; j < m; j++) {
    if ((1 + o[j]) / s[j] <= lo) full++;
    else if (o[j] / s[j] < hi) {
      S += s[j];
      O += o[j];
    }
  }
  return solve(k, full, S, O, lo, hi);
}

/**
 * Narrows the bracket at random breakpoints. Groups without a breakpoint inside it are summed once and left out of all
 * further rounds, so that the expected work is a geometric series: O(m).
 */
function randomRoot(slopes: Float64Array, offsets: Float64Array, k: number, random: Random): number {
  const [s, o] = [slopes.slice(), offsets.slice()];
  let [lo, hi] = [0, Infinity];
  let [full, S, O] = [0, 0, 0];
  let open = s.length;
  while (open > 0) {
    const [i] = random.integers(1, 0, open);
    const [a, b] = [o[i] / s[i], (1 + o[i]) / s[i]];
    const pivot = a > lo && (b >= hi || random.bits(1)[0] & 1) ? a : b;
    let h = full + pivot * S - O;
    for (let j = 0; j < open; j++) h += clip(pivot * s[j] - o[j]);
    if (h >= k) hi = pivot;
    else lo = pivot;
    let left = 0;
    for (let j = 0; j < open; j++) {
      const [a, b] = [o[j] / s[j], (1 + o[j]) / s[j]];
      if (b <= lo) full++;
      else if (a >= hi) continue;
      else if (a <= lo && b >= hi) {
        S += s[j];
        O += o[j];
      } else {
        s[left] = s[j];
        o[left++] = o[j];
      }
    }
    open = left;
  }
  return solve(k, full, S, O, lo, hi);
}
