import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { MLP } from '../../nn/container.ts';
import { type Layer, layer, type Mask, maskable } from '../../sparsity/index.ts';
import {
  layerDensities,
  RandomPruning,
  type RandomPruningOptions,
  type Ratio,
  randomPruning,
} from './random-pruning.ts';
import { changes, watch } from './testing.ts';

const random = new Random(4);
const make = (name: string, shape: number[]) =>
  layer(name, shape, random.fork(name).normal(shape.reduce((a, b) => a * b)));
const net = [
  make('conv1', [16, 3, 3, 3]),
  make('dw', [16, 1, 3, 3]),
  make('conv2', [64, 16, 3, 3]),
  make('fc', [10, 128]),
];
const size = (ls: readonly Layer[]) => ls.reduce((n, l) => n + l.values.length, 0);
const ratios = ['uniform', 'uniform+', 'er', 'erk'] as const;

/** Layer densities by the rule in words: fix what exceeds 1, solve for ε, repeat. */
function solved(ls: readonly Layer[], density: number, raw: (l: Layer) => number): Record<string, number> {
  const dense = new Set<Layer>();
  for (;;) {
    const open = ls.filter(l => !dense.has(l));
    const above =
      open.reduce((s, l) => s + density * l.values.length, 0) -
      [...dense].reduce((s, l) => s + (1 - density) * l.values.length, 0);
    const epsilon = above / open.reduce((s, l) => s + raw(l) * l.values.length, 0);
    const most = Math.max(...open.map(raw));
    if (epsilon * most <= 1) {
      return Object.fromEntries(ls.map(l => [l.name, dense.has(l) ? 1 : epsilon * raw(l)]));
    }
    for (const l of open) if (raw(l) === most) dense.add(l);
  }
}
const sum = (a: readonly number[]) => a.reduce((x, y) => x + y, 0);
const product = (a: readonly number[]) => a.reduce((x, y) => x * y, 1);
const er = ({ shape: [out, inputs] }: Layer) => (out + inputs) / (out * inputs);
const erk = ({ shape }: Layer) => sum(shape) / product(shape);

describe('layer densities', () => {
  it('Σ ρ_l·n_l = ρ·N to 1e-9 and every ρ_l ≤ 1, with layers that are capped too', () => {
    let capped = 0;
    for (const ratio of ratios) {
      for (const sparsity of [0, 0.05, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99]) {
        if (ratio === 'uniform+' && sparsity > 0.9) continue;
        const density = layerDensities(net, sparsity, ratio);
        const kept = net.reduce((n, l) => n + density[l.name] * l.values.length, 0);
        expect(Math.abs(kept - (1 - sparsity) * size(net))).toBeLessThan(1e-9 * size(net));
        for (const l of net) {
          expect(density[l.name]).toBeLessThanOrEqual(1);
          capped += Number(density[l.name] === 1 && sparsity > 0);
        }
      }
    }
    expect(capped).toBeGreaterThan(5);
  });

  it('solve ε as the paper says, ER with two dimensions and ERK with all', () => {
    for (const sparsity of [0.3, 0.6, 0.8, 0.95]) {
      for (const [ratio, raw] of [
        ['er', er],
        ['erk', erk],
      ] as const) {
        const expected = solved(net, 1 - sparsity, raw);
        const found = layerDensities(net, sparsity, ratio);
        for (const l of net) expect(found[l.name]).toBeCloseTo(expected[l.name], 12);
      }
    }
  });

  it('make depth-wise convolutions dense under ER and ERK, whose inputs are counted by group', () => {
    for (const ratio of ['er', 'erk'] as const) expect(layerDensities(net, 0.8, ratio).dw).toBe(1);
    const mask = randomPruning(net, { sparsity: 0.8 });
    expect(mask.density('dw')).toBe(1);
  });

  it('uniform+ has a dense first layer and a last one of 20 % at high sparsity', () => {
    const density = layerDensities(net, 0.85, 'uniform+');
    expect([density.conv1, density.fc]).toEqual([1, 0.2]);
    expect(density.dw).toBeCloseTo(density.conv2, 12);
    expect(new Set(Object.values(layerDensities(net, 0.85, 'uniform')).map(d => d.toFixed(12)))).toEqual(
      new Set(['0.150000000000']),
    );
  });

  it('refuse densities outside 0 < ρ ≤ 1, those that dense layers exceed, and tensors that two layers share', () => {
    expect(() => layerDensities(net, 1)).toThrow('sparsity 1, density 0; expected a density 0 < ρ ≤ 1');
    expect(() => layerDensities(net, -0.1)).toThrow('density 1.1');
    expect(() => layerDensities(net, 0.9, 'erk', { conv2: 0 })).toThrow('dense and fixed layers leave');
    expect(() => layerDensities(net, 0.97, 'uniform+')).toThrow('dense and fixed layers leave');
    expect(() => randomPruning(net, { sparsity: 0.9, fixed: { conv2: 0 } })).toThrow('is feasible');
    const twin = layer('twin', [16, 3, 3, 3], net[0].values);
    expect(() => randomPruning([...net, twin], { sparsity: 0.5 })).toThrow('share one tensor');
  });
});

describe('the random mask', () => {
  it('has exact counts, within one weight of ρ_l·n_l in every layer', () => {
    for (const ratio of ratios) {
      for (const sparsity of [0.2, 0.5, 0.8, 0.9]) {
        const mask = randomPruning(net, { sparsity, ratio });
        const density = layerDensities(net, sparsity, ratio);
        for (const l of net) {
          expect(Math.abs(mask.kept(l.name) - density[l.name] * l.values.length)).toBeLessThan(1);
        }
        const n = size(net);
        if (ratio !== 'uniform') expect(mask.kept()).toBe(n - Math.round(sparsity * n));
      }
    }
  });

  it('is the same for the same seed, in any order of the layers, and another for another', () => {
    for (const sampling of ['exact', 'bernoulli'] as const) {
      const options = { sparsity: 0.7, sampling };
      const mask = randomPruning(net, { ...options, random: new Random(1) });
      expect(randomPruning(net.toReversed(), { ...options, random: new Random(1) }).equals(mask)).toBe(true);
      expect(randomPruning(net, { ...options, random: new Random(2) }).equals(mask)).toBe(false);
    }
  });

  it('Bernoulli counts stay within 4σ and are not the exact ones', () => {
    const counts = new Set<number>();
    for (let seed = 0; seed < 10; seed++) {
      const mask = randomPruning(net, { sparsity: 0.8, sampling: 'bernoulli', random: new Random(seed) });
      const density = layerDensities(net, 0.8);
      for (const l of net) {
        const [n, p] = [l.values.length, density[l.name]];
        expect(Math.abs(mask.kept(l.name) - n * p)).toBeLessThanOrEqual(4 * Math.sqrt(n * p * (1 - p)));
      }
      counts.add(mask.kept());
    }
    expect(counts.size).toBeGreaterThan(3);
    expect(() => randomPruning(net, { sparsity: 0.8, sampling: 'bernoulli', granularity: 'filter' })).toThrow(
      'Bernoulli',
    );
  });

  it('takes over the densities of another mask, not its positions, with a weight for every output', () => {
    const like = randomPruning(net, { sparsity: 0.9, random: new Random(9) });
    const mask = randomPruning(net, { sparsity: 0.9, like });
    for (const l of net) expect(mask.kept(l.name)).toBe(like.kept(l.name));
    expect(mask.overlap(like)).toBeLessThan(0.7);
    // Nothing of conv1: it gets its 16, the others give them up in proportion.
    const collapsed = randomPruning(net, { sparsity: 0.9, ratio: 'uniform', fixed: { conv1: 1 } });
    expect(collapsed.kept('conv1')).toBe(0);
    const repaired = randomPruning(net, { sparsity: 0.9, like: collapsed });
    expect(repaired.kept('conv1')).toBe(16);
    expect(repaired.kept()).toBe(collapsed.kept());
    const few = randomPruning(net, { sparsity: 0.995, ratio: 'uniform' });
    expect(() => randomPruning(net, { sparsity: 0.995, like: few })).toThrow(
      /too few for one at each of the 106 outputs/,
    );
  });

  it('leaves layers out, and gives single layers what is asked for', () => {
    const mask = randomPruning(net, { sparsity: 0.8, exclude: ['first'], fixed: { fc: 0.5 } });
    expect(mask.names).toEqual(['dw', 'conv2', 'fc']);
    expect(mask.density('fc')).toBe(0.5);
    const inside = size(maskable(net, ['first']).layers);
    expect(mask.kept()).toBe(inside - Math.round(0.8 * inside));
  });
});

describe('RandomPruning', () => {
  const dense = new MLP([20, 24, 16, 4], { random: new Random(3) });

  it.each(['erk', 'snip-ratio', 'grasp-ratio', 'uniform'] satisfies Ratio[])(
    '%s: the mask stays as it is, dead weights and their momentum are zero',
    async allocation => {
      const { seen, model } = await watch(new RandomPruning({ sparsity: 0.8, allocation }));
      const [{ mask }] = seen;
      expect(mask.kept()).toBe(928 - Math.round(0.8 * 928));
      for (const s of seen) expect(s.mask.equals(mask)).toBe(true);
      for (const s of seen.slice(1)) {
        for (const [name, { keep }] of mask.entries()) {
          const moved = keep.filter(
            (k, i) => k === 0 && (s.weights.get(name)![i] !== 0 || s.momentum.get(name)![i] !== 0),
          );
          expect(moved).toHaveLength(0);
        }
      }
      for (const [name, { keep }] of mask.entries()) {
        const w = await model.stateDict().get(name)!.data();
        expect(w.every((v, i) => keep[i] === 1 || Object.is(v, 0))).toBe(true);
      }
    },
  );

  it('trains the live weights from their initial values, rescaled by 1/√ρ_l only if asked to', async () => {
    for (const rescale of [false, true]) {
      const { seen } = await watch(new RandomPruning({ sparsity: 0.75, rescale }));
      for (const [name, { keep }] of seen[0].mask.entries()) {
        const initial = await dense.stateDict().get(name)!.data();
        const scale = rescale ? Math.sqrt(seen[0].mask.density(name)) : 1;
        const live = [...keep.keys()].filter(i => keep[i] === 1);
        for (const i of live) expect(seen[0].weights.get(name)![i]).toBe(Math.fround(initial[i] / scale));
      }
    }
  });

  it('with a mask that moves is SET or RigL with half of the weights along a cosine', async () => {
    for (const grow of ['random', 'gradient'] as const) {
      const options: RandomPruningOptions = { sparsity: 0.8, fixedMask: false, interval: 10, grow };
      const { seen } = await watch(new RandomPruning(options));
      expect(changes(seen)).toEqual([10, 20, 30]);
      const counts = (mask: Mask) => mask.names.map(n => mask.kept(n));
      for (const s of seen) expect(counts(s.mask)).toEqual(counts(seen[0].mask));
    }
  });

  it('masks whole filters and N:M runs', async () => {
    const { seen } = await watch(new RandomPruning({ sparsity: 0.5, granularity: '2:4', allocation: 'uniform' }));
    for (const [, { keep }] of seen[0].mask.entries()) {
      for (let i = 0; i < keep.length; i += 4) expect(keep[i] + keep[i + 1] + keep[i + 2] + keep[i + 3]).toBe(2);
    }
    const filters = await watch(new RandomPruning({ sparsity: 0.5, granularity: 'filter', allocation: 'uniform' }));
    const keep = filters.seen[0].mask.get('layers.0.weight');
    for (let row = 0; row < 24; row++)
      expect([0, 20]).toContain(keep.subarray(20 * row, 20 * row + 20).reduce((a, b) => a + b));
  });

  it('refuses', () => {
    expect(() => new RandomPruning({ sparsity: 1 })).toThrow('expected a density 0 < ρ ≤ 1');
    expect(() => new RandomPruning({ sparsity: -0.5 })).toThrow('density 1.5');
    expect(() => new RandomPruning({ sparsity: 0.2, granularity: '2:4' })).toThrow('needs at least 0.5');
  });
});
