import { check } from '@gossamer/tensor';

/** Sparsity as a function of the share of a training that is spent. */
export interface PruningCurve {
  /** S_f, 0 ≤ S_f < 1. */
  readonly sparsity: number;
  /** Shares a and b where pruning begins and ends; default 0.25 and 0.75. */
  readonly start?: number;
  readonly end?: number;
  /** Default 3, the cubic curve; 1 is a straight line. */
  readonly exponent?: number;
  /** What a and b are shares of: training `compute` (default) or `tokens`. They differ, because sparse steps cost less. */
  readonly of?: 'compute' | 'tokens';
}

/** Weights that are counted as active. */
export interface Weights {
  readonly prunable: number;
  /** Dense ones that are counted, too; default 0. */
  readonly dense?: number;
}

/** {@link PruningCurve} with its defaults, checked. */
export function checkedCurve(curve: PruningCurve): Required<PruningCurve> {
  const { sparsity, start = 0.25, end = 0.75, exponent = 3, of = 'compute' } = curve;
  const say = (text: string) => `sparse pre-training: ${text}`;
  check(sparsity >= 0 && sparsity < 1, () => say(`final sparsity ${sparsity}; expected 0 ≤ s < 1`));
  check(0 <= start && start < end && end <= 1, () =>
    say(`pruning from ${start} to ${end} of the training; expected shares 0 ≤ start < end ≤ 1`),
  );
  check(exponent > 0, () => say(`exponent ${exponent}; expected more than 0`));
  check(of === 'compute' || of === 'tokens', () => say(`shares of ${of}; expected compute or tokens`));
  return { sparsity, start, end, exponent, of };
}

/** S(x): 0 up to a, S_f from b on, S_f·(1 − (1 − (x − a)/(b − a))³) between. */
export function sparsityAt(x: number, curve: PruningCurve): number {
  const { sparsity, start, end, exponent } = checkedCurve(curve);
  if (x <= start) return 0;
  if (x >= end) return sparsity;
  return sparsity * (1 - (1 - (x - start) / (end - start)) ** exponent);
}

/** The same curve by tokens: what share of the tokens is gone where a share x of the curve's measure is. */
export interface TokenCurve {
  /** Share of the tokens, 0…1, at share x. */
  tokensAt(x: number): number;
  /** Share x at a share of the tokens. */
  at(tokens: number): number;
  /** N̄ / N_0: mean of the active weights over the tokens, relative to those at first. */
  readonly average: number;
}

/** Parts of the curve that are integrated; even. */
const PARTS = 2000;

/**
 * Turns shares of compute into shares of tokens. Compute dC = 6·n·dD, so tokens go by as ∫ dx / n(x); where nothing is
 * pruned the two are the same.
 */
export function tokenCurve(curve: PruningCurve, { prunable, dense = 0 }: Weights): TokenCurve {
  const { of, start, end, exponent, sparsity } = checkedCurve(curve);
  check(prunable > 0 && dense >= 0, () => `sparse pre-training: ${prunable} prunable and ${dense} other weights`);
  const share = prunable / (prunable + dense);
  if (of === 'tokens' || sparsity === 0) {
    const gone = (end - start) * (exponent / (exponent + 1)) + (1 - end);
    return { tokensAt: x => x, at: tokens => tokens, average: 1 - share * sparsity * gone };
  }
  // Simpson's rule between a and b, where 1/n is smooth; constant outside.
  const cost = (x: number) => 1 / (1 - share * sparsityAt(x, curve));
  const width = (end - start) / PARTS;
  const sums = new Float64Array(PARTS / 2 + 1);
  for (let i = 1; i < sums.length; i++) {
    const x = start + 2 * (i - 1) * width;
    sums[i] = sums[i - 1] + (width / 3) * (cost(x) + 4 * cost(x + width) + cost(x + 2 * width));
  }
  const last = 1 / (1 - share * sparsity);
  const during = sums[sums.length - 1];
  const total = start + during + (1 - end) * last;
  const spent = (x: number): number => {
    if (x <= start) return x;
    if (x >= end) return start + during + (x - end) * last;
    const place = (x - start) / (2 * width);
    const i = Math.min(sums.length - 2, Math.floor(place));
    return start + sums[i] + (place - i) * (sums[i + 1] - sums[i]);
  };
  const at = (tokens: number): number => {
    const wanted = tokens * total;
    if (wanted <= start) return wanted;
    if (wanted >= start + during) return end + (wanted - start - during) / last;
    let [low, high] = [start, end];
    for (let i = 0; i < 60; i++) {
      const middle = (low + high) / 2;
      if (spent(middle) < wanted) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  };
  return { tokensAt: x => spent(x) / total, at, average: 1 / total };
}
