import { check } from '@gossamer/tensor';
import { apportion, countOf } from './apportion.ts';
import type { Layer } from './layer.ts';

/** Share that linear layers keep. */
const LINEAR = 0.3;

/**
 * Sparsity of each layer by the rule "smart-ratio": the share that the l-th of L convolutions keeps is proportional to
 * (L − l + 1)² + (L − l + 1), linear layers keep 30 % (Su et al. 2020, "Sanity-Checking Pruning Methods: Random Tickets
 * can Win the Jackpot", §4.1). A share of more than 1 is cut there and the others absorb the difference, so that
 * floor(s·N) of all N weights go. In a network without convolutions the rule holds for all layers but the last, which
 * keeps 30 %.
 *
 * @throws if the linear layers alone keep more than the sparsity allows, or the others cannot make up for them
 */
export function smartRatio(layers: readonly Layer[], sparsity: number): Record<string, number> {
  check(sparsity >= 0 && sparsity < 1, () => `smart-ratio: sparsity ${sparsity} is outside 0 ≤ s < 1`);
  const isConv = (l: Layer) => l.kind === 'conv' || l.kind === 'depthwise';
  const ranked = layers.some(isConv) ? layers.filter(isConv) : layers.slice(0, -1);
  const weights = layers.reduce((n, l) => n + l.values.length, 0);
  const others = layers.filter(l => !ranked.includes(l));
  const kept = new Map(others.map(l => [l.name, l.values.length - countOf(1 - LINEAR, l.values.length, 'floor')]));
  const rest = weights - countOf(sparsity, weights, 'floor') - [...kept.values()].reduce((n, k) => n + k, 0);
  const most = ranked.reduce((n, l) => n + l.values.length, 0);
  const names = others.map(l => l.name).join(', ');
  check(
    rest >= ranked.length,
    () =>
      `smart-ratio: at sparsity ${sparsity}, ${names} alone keep what all layers may; use a lower sparsity, or exclude them`,
  );
  check(
    rest <= most,
    () =>
      `smart-ratio: ${names} keep 30 %, so at sparsity ${sparsity} the others would keep ${rest} of ${most} weights; use a higher sparsity`,
  );
  const receivers = ranked.map((l, i) => {
    const place = ranked.length - i;
    return { weight: (place ** 2 + place) * l.values.length, lower: 1, upper: l.values.length };
  });
  apportion(receivers, rest).forEach((k, i) => {
    kept.set(ranked[i].name, k);
  });
  return Object.fromEntries(layers.map(l => [l.name, 1 - kept.get(l.name)! / l.values.length]));
}
