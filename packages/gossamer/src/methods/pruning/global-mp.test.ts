import { Parameter, Random, type tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { MLP } from '../../nn/container.ts';
import { SGD } from '../../optim/index.ts';
import { type Layer, layer, type Mask } from '../../sparsity/index.ts';
import { modelLayers } from '../../sparsity/model.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { GradualGlobalMagnitudePruning, globalMagnitudePruning, inspectMask } from './global-mp.ts';

/** Layers of different sizes and scales, with ties and exact zeros. */
function net(seed: number): Layer[] {
  const random = new Random(seed);
  const sizes: Record<string, number[]> = { conv: [8, 3, 3, 3], depthwise: [8, 1, 3, 3], fc: [30, 40], head: [5, 7] };
  return Object.entries(sizes).map(([name, shape]) => {
    const r = random.fork(name);
    const scale = r.uniform(1, 0.1, 3)[0];
    const values = r.normal(shape.reduce((a, b) => a * b)).map(v => Math.round(v * 40) * scale);
    return layer(name, shape, values);
  });
}
const total = (layers: readonly Layer[]) => layers.reduce((n, l) => n + l.values.length, 0);
const sparsities = [0, 0.1, 0.5, 0.9, 0.951, 0.99, 0.995];
const magnitudes = (layers: readonly Layer[], mask: Mask, alive: 0 | 1) =>
  layers.flatMap(l => Array.from(l.values, Math.abs).filter((_, i) => mask.get(l.name)[i] === alive));

describe('global magnitude pruning', () => {
  it('keeps exactly n − ⌊S·n⌋ weights, with and without a minimum', () => {
    for (let seed = 0; seed < 5; seed++) {
      const layers = net(seed);
      const n = total(layers);
      for (const sparsity of sparsities) {
        for (const minimum of [undefined, 1, 2, '0.05%', '0.1%'] as const) {
          const mask = globalMagnitudePruning(layers, { sparsity, minimum });
          expect(mask.kept()).toBe(n - Math.floor(sparsity * n + 1e-9));
        }
      }
    }
  });

  it('leaves every layer its minimum, and the rest by size', () => {
    const layers = net(1);
    const n = total(layers);
    for (const [minimum, t] of [
      [10, 10],
      ['0.5%', Math.floor(0.005 * n)],
      [50, 50],
    ] as const) {
      // biome-ignore format: pairs
      const mask = globalMagnitudePruning(layers, { sparsity: 0.85, minimum });
      let free = Infinity;
      for (const l of layers) {
        const floor = Math.min(t, l.values.length);
        expect(mask.kept(l.name)).toBeGreaterThanOrEqual(floor);
        // Within a layer, too, the largest stay.
        expect(Math.min(...magnitudes([l], mask, 1))).toBeGreaterThanOrEqual(Math.max(...magnitudes([l], mask, 0), 0));
        if (mask.kept(l.name) > floor) free = Math.min(free, ...magnitudes([l], mask, 1));
      }
      expect(free).toBeGreaterThanOrEqual(Math.max(...magnitudes(layers, mask, 0)));
    }
  });

  it('without a minimum removes nothing larger than what it keeps', () => {
    for (let seed = 0; seed < 5; seed++) {
      const layers = net(seed);
      for (const sparsity of sparsities.slice(1)) {
        const mask = globalMagnitudePruning(layers, { sparsity });
        expect(Math.max(...magnitudes(layers, mask, 0))).toBeLessThanOrEqual(Math.min(...magnitudes(layers, mask, 1)));
      }
    }
  });

  it('equals the plain form with a minimum of 0, and does not depend on the order of layers', () => {
    const layers = net(2);
    for (const sparsity of sparsities) {
      const mask = globalMagnitudePruning(layers, { sparsity });
      for (const minimum of [0, '0%'] as const) {
        expect(globalMagnitudePruning(layers, { sparsity, minimum }).equals(mask)).toBe(true);
      }
      const turned = globalMagnitudePruning([...layers].reverse(), { sparsity });
      expect(layers.every(l => turned.get(l.name).every((k, i) => k === mask.get(l.name)[i]))).toBe(true);
    }
  });

  it('prunes each layer alike as a switch, and leaves excluded layers out of the count', () => {
    const layers = net(3);
    const even = globalMagnitudePruning(layers, { sparsity: 0.7, layerwise: true });
    for (const { name, values } of layers) {
      expect(even.kept(name)).toBe(values.length - Math.floor(0.7 * values.length + 1e-9));
    }
    const some = globalMagnitudePruning(layers, { sparsity: 0.7, exclude: ['head', 'depthwise'] });
    expect(some.names).toEqual(['conv', 'fc']);
    expect(some.kept()).toBe(1416 - Math.floor(0.7 * 1416));
  });

  it('refuses what makes no sense, and says what would', () => {
    const layers = net(4);
    const n = total(layers);
    expect(() => globalMagnitudePruning(layers, { sparsity: 1 })).toThrow('sparsity 1 is outside 0 ≤ s < 1');
    const most = 1 - (100 + 72 + 100 + 35) / n;
    expect(() => globalMagnitudePruning(layers, { sparsity: 0.9, minimum: 100 })).toThrow(
      `at most ${most} is feasible`,
    );
    expect(globalMagnitudePruning(layers, { sparsity: most, minimum: 100 }).kept()).toBe(307);
    const bad = layer('bad', [2, 2], Float32Array.of(1, Number.NaN, 2, 3));
    expect(() => globalMagnitudePruning([...layers, bad], { sparsity: 0.5 })).toThrow('layer bad: score 1 is NaN');
    expect(() => globalMagnitudePruning([], { sparsity: 0.5 })).toThrow('no maskable tensor');
    expect(() => new GradualGlobalMagnitudePruning({ sparsity: 1 })).toThrow('sparsity 1; expected 0 ≤ S < 1');
  });
});

describe('gradual global magnitude pruning', () => {
  const random = new Random(7);
  const data = new ArrayDataset({
    inputs: { dtype: 'float32', shape: [64, 10], data: random.normal(640) },
    labels: { dtype: 'int32', shape: [64], data: random.integers(64, 0, 4) },
  });

  /** Masks after each step of a training. */
  async function masks(nested: boolean): Promise<Mask[]> {
    const model = new MLP([10, 20, 12, 4], { random: new Random(3) });
    const seen: Mask[] = [];
    class Watched extends GradualGlobalMagnitudePruning {
      override async update(training: Training): Promise<void> {
        await super.update(training);
        seen.push(this.mask!);
      }
    }
    const sparsifier = new Watched({ sparsity: 0.9, nested, start: 4, end: 24, interval: 5 });
    const train = new DataLoader(data, { batchSize: 16, shuffle: true });
    const optimizer = new SGD(model.parameters(), { learningRate: 0.3, momentum: 0.9, weightDecay: 0.1 });
    await new Trainer({ model, task: classification(), train, optimizer, steps: 30, sparsifiers: [sparsifier] }).run();
    return seen;
  }

  it('ranks all weights together along the cubic law', async () => {
    const seen = await masks(false);
    const at = (step: number) => {
      const p = Math.min(1, Math.max(0, (step - 4) / 20));
      return 488 - Math.floor(0.9 * (1 - (1 - p) ** 3) * 488 + 1e-9);
    };
    expect(seen.length).toBe(31);
    seen.forEach((mask, step) => {
      const last = step < 4 ? 0 : step >= 24 ? 24 : 4 + 5 * Math.floor((step - 4) / 5);
      expect(mask.kept()).toBe(at(last));
    });
    expect(seen.at(-1)!.kept()).toBe(488 - 439);
  });

  it('gives nested masks if nothing may return', async () => {
    const isNested = (seen: Mask[]) => seen.slice(1).every((mask, i) => mask.isWithin(seen[i]));
    expect(isNested(await masks(true))).toBe(true);
    // Masked weights keep their value while weight decay shrinks the others below it.
    expect(isNested(await masks(false))).toBe(false);
  });
});

describe('inspectMask', () => {
  it('weighs a weight by its uses and finds cut layers', async () => {
    const w = new Parameter({ dtype: 'float32', shape: [2, 2], data: Float32Array.of(4, 3, 2, 1) }, { name: 'w' });
    const v = new Parameter({ dtype: 'float32', shape: [2, 2], data: Float32Array.of(9, 8, 7, 6) }, { name: 'v' });
    // w is used at 3 positions, v at one.
    const model = (x: ReturnType<typeof tensor>) => x.matmul(w).sum(1).matmul(v);
    const spec = [{ dtype: 'float32' as const, shape: [1, 3, 2] }];
    const found = await modelLayers(model, spec);
    const half = globalMagnitudePruning(found.layers, { sparsity: 0.5, minimum: 2 });
    const seen = await inspectMask(model, spec, found, half);
    expect(seen.flops).toBe(0.5);
    expect(seen.connected).toBe(true);
    const cut = await inspectMask(model, spec, found, globalMagnitudePruning(found.layers, { sparsity: 0.5 }));
    expect(cut).toMatchObject({ connected: false, empty: ['w'], severed: ['v'], collapsed: ['w'], flops: 0.25 });
    expect(cut.total.density).toBe(0.5);
  });
});
