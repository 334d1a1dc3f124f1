import { check } from '@gossamer/tensor';

/** How a fraction of n becomes a count: to nearest (halves up), down or up. */
export type Rounding = 'round' | 'floor' | 'ceil';

/**
 * `fraction · n` as a whole number. Products within rounding error of a whole number are that number, so that
 * `countOf(1 - 0.9, 10, 'floor')` is 1 although (1 − 0.9) · 10 is 0.9999999999999998.
 */
export function countOf(fraction: number, n: number, rounding: Rounding = 'round'): number {
  const exact = fraction * n;
  const nearest = Math.round(exact);
  if (rounding === 'round' || Math.abs(exact - nearest) <= 1e-9 + n * 1e-13) return nearest;
  return rounding === 'floor' ? Math.floor(exact) : Math.ceil(exact);
}

/** What one receiver gets: a share in proportion to its weight, at least `lower`, at most `upper`. */
export interface Receiver {
  readonly weight: number;
  readonly lower: number;
  readonly upper: number;
}

/** The real shares clamp(ε·weight, lower, upper) with the one ε for which they add up to `total`. */
export function proportionalShares(receivers: readonly Receiver[], total: number): number[] {
  const share = (r: Receiver, epsilon: number) => Math.min(r.upper, Math.max(r.lower, epsilon * r.weight));
  const sum = (epsilon: number) => receivers.reduce((n, r) => n + share(r, epsilon), 0);
  check(
    receivers.every(r => r.weight > 0 && r.lower >= 0 && r.lower <= r.upper) &&
      sum(0) <= total &&
      total <= sum(Infinity),
    () => `proportionalShares: total ${total} lies outside ${sum(0)}…${sum(Infinity)}`,
  );
  if (receivers.length === 0) return [];
  // Between two neighbouring breakpoints (a receiver leaving its lower or reaching its upper bound) the sum is linear.
  const breakpoints = receivers.flatMap(r => [r.lower / r.weight, r.upper / r.weight]).sort((a, b) => a - b);
  let low = 0;
  let high = breakpoints.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sum(breakpoints[middle]) >= total) high = middle;
    else low = middle + 1;
  }
  const upTo = breakpoints[high];
  const isFree = (r: Receiver) => r.lower / r.weight < upTo && upTo <= r.upper / r.weight;
  const free = receivers.filter(isFree);
  if (free.length === 0) return receivers.map(r => share(r, upTo));
  const bound = receivers.reduce((n, r) => (isFree(r) ? n : n + share(r, upTo)), 0);
  const epsilon = (total - bound) / free.reduce((n, r) => n + r.weight, 0);
  return receivers.map(r => (isFree(r) ? share(r, epsilon) : share(r, upTo)));
}

/**
 * Whole shares that add up to `total` exactly: clamp(round(ε·weight), lower, upper) for one common ε, by Webster's
 * divisor method. A larger total never gives any receiver less, which is what keeps gradual masks nested; of equal
 * claims the earlier receiver is served first.
 */
export function apportion(receivers: readonly Receiver[], total: number): number[] {
  const shares = proportionalShares(receivers, total).map(Math.round);
  let sum = shares.reduce((n, s) => n + s, 0);
  // The next (previous) unit of a receiver is claimed at the quotient weight / (2·share ± 1).
  while (sum < total) {
    let best = -1;
    for (let r = 0; r < receivers.length; r++) {
      if (shares[r] >= receivers[r].upper) continue;
      if (best < 0 || claim(receivers[r], shares[r]) > claim(receivers[best], shares[best])) best = r;
    }
    shares[best]++;
    sum++;
  }
  while (sum > total) {
    let worst = -1;
    for (let r = 0; r < receivers.length; r++) {
      if (shares[r] <= receivers[r].lower) continue;
      if (worst < 0 || claim(receivers[r], shares[r] - 1) <= claim(receivers[worst], shares[worst] - 1)) worst = r;
    }
    shares[worst]--;
    sum--;
  }
  return shares;
}

const claim = (r: Receiver, share: number) => r.weight / (2 * share + 1);
