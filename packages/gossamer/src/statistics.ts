import { check, type Random } from '@gossamer/tensor';

// What conclusions from few values need: deviations, intervals, ranks, resampling.

export interface Statistics {
  readonly mean: number;
  /** Sample standard deviation (n − 1); 0 for a single value. */
  readonly std: number;
  readonly n: number;
}

export function statistics(values: readonly number[]): Statistics {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  const std = n > 1 ? Math.sqrt(values.reduce((a, v) => a + (v - mean) ** 2, 0) / (n - 1)) : 0;
  return { mean, std, n };
}

export interface Interval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
  /** Half the interval's width: the power of the comparison. Infinite for a single pair. */
  readonly halfWidth: number;
  readonly n: number;
}

/** Student's t interval of the mean of a − b over pairs (same seed, same position). */
export function pairedInterval(a: readonly number[], b: readonly number[], confidence = 0.95): Interval {
  check(
    a.length === b.length && a.length > 0,
    () => `pairedInterval: ${a.length} and ${b.length} values; expected pairs`,
  );
  check(confidence > 0 && confidence < 1, () => `pairedInterval: confidence ${confidence} is outside 0…1`);
  const { mean, std, n } = statistics(a.map((v, i) => v - b[i]));
  const halfWidth = n > 1 ? (tQuantile((1 + confidence) / 2, n - 1) * std) / Math.sqrt(n) : Number.POSITIVE_INFINITY;
  return { mean, low: mean - halfWidth, high: mean + halfWidth, halfWidth, n };
}

/** `+0.12 ± 0.34 (95 % interval −0.22 … 0.46, 5 pairs)` */
export function formatInterval({ mean, low, high, halfWidth, n }: Interval, digits = 2): string {
  const number = (v: number) => (v < 0 ? '−' : '') + Math.abs(v).toFixed(digits);
  const sign = mean < 0 ? '−' : '+';
  const head = `${sign}${Math.abs(mean).toFixed(digits)}`;
  return Number.isFinite(halfWidth)
    ? `${head} ± ${halfWidth.toFixed(digits)} (95 % interval ${number(low)} … ${number(high)}, ${n} pairs)`
    : `${head} (one pair, no interval)`;
}

/** The value below which Student's t with `df` degrees of freedom lies with probability `p`. */
export function tQuantile(p: number, df: number): number {
  check(p > 0 && p < 1 && df >= 1, () => `tQuantile: p ${p}, ${df} degrees of freedom; expected 0 < p < 1 and df ≥ 1`);
  if (p < 0.5) return -tQuantile(1 - p, df);
  let [low, high] = [0, 1];
  while (tDistribution(high, df) < p) high *= 2;
  for (let i = 0; i < 80; i++) {
    const middle = (low + high) / 2;
    if (tDistribution(middle, df) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** P(T ≤ t) for t ≥ 0, by the incomplete beta function: 1 − I_x(df/2, 1/2)/2 with x = df/(df + t²). */
const tDistribution = (t: number, df: number): number => 1 - incompleteBeta(df / (df + t * t), df / 2, 0.5) / 2;

/** The regularised incomplete beta function I_x(a, b), by its continued fraction (Numerical Recipes, §6.4). */
function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  let [c, d] = [1, 1 / (1 - ((a + b) * x) / (a + 1))];
  let fraction = d;
  for (let m = 1; m < 500; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / (1 + even * d);
    c = 1 + even / c;
    fraction *= c * d;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / (1 + odd * d);
    c = 1 + odd / c;
    fraction *= c * d;
    if (Math.abs(c * d - 1) < 1e-14) break;
  }
  return front * fraction;
}

/** ln Γ(x) for x > 0 (Lanczos, g = 7). */
function logGamma(x: number): number {
  const coefficients = [
    676.5203681218851, -1259.1392167224028, 771.3234287776531, -176.6150291621406, 12.507343278686905,
    -0.13857109526572012, 9.984369578019572e-6, 1.5056327351493116e-7,
  ];
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  const sum = coefficients.reduce((s, c, i) => s + c / (x + i), 0.9999999999998099);
  const t = x + 6.5;
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

/** Ranks from 1; equal values share the mean of theirs. */
export function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]);
  const out = new Array<number>(values.length);
  for (let i = 0; i < order.length; ) {
    let j = i;
    while (j < order.length && values[order[j]] === values[order[i]]) j++;
    for (let k = i; k < j; k++) out[order[k]] = (i + j + 1) / 2;
    i = j;
  }
  return out;
}

/** Spearman's rank correlation, −1…1; 0 if one side is constant. */
export function spearman(a: readonly number[], b: readonly number[]): number {
  check(
    a.length === b.length && a.length > 1,
    () => `spearman: ${a.length} and ${b.length} values; expected pairs, at least 2`,
  );
  const [x, y] = [ranks(a), ranks(b)];
  const mean = (a.length + 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  x.forEach((r, i) => {
    xy += (r - mean) * (y[i] - mean);
    xx += (r - mean) ** 2;
    yy += (y[i] - mean) ** 2;
  });
  return xx === 0 || yy === 0 ? 0 : xy / Math.sqrt(xx * yy);
}

/**
 * A statistic of `samples` resamples of 0 … n − 1 with replacement (Efron 1979), ascending where it is a number.
 *
 * @param statistic of the drawn indices
 */
export function bootstrap(
  n: number,
  statistic: (indices: Int32Array) => number,
  { random, samples = 1000 }: { random: Random; samples?: number },
): Float64Array {
  check(n > 0 && samples > 0, () => `bootstrap: ${samples} resamples of ${n} observations; expected some of both`);
  const values = Float64Array.from({ length: samples }, (_, s) => statistic(random.fork(s).integers(n, 0, n)));
  return values.sort();
}

/** The value at a share of ascending values, between neighbours by a straight line. */
export function quantile(ascending: ArrayLike<number>, share: number): number {
  check(
    ascending.length > 0 && share >= 0 && share <= 1,
    () => `quantile: share ${share} of ${ascending.length} values`,
  );
  const at = share * (ascending.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, ascending.length - 1);
  return ascending[below] + (at - below) * (ascending[above] - ascending[below]);
}
