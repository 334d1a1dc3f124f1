import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { MLP } from '../nn/container.ts';
import { Adam, type Optimizer, SGD } from '../optim/index.ts';
import { snapshot } from '../train/snapshot.ts';
import { classification } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';
import { partitionLayers } from './partition.ts';
import {
  envelope,
  type GroupOperator,
  GroupProximal,
  groupLasso,
  groupSubgradient,
  halfSpace,
  hardTopK,
  perScope,
} from './proximal.ts';
import type { Sparsifier, Training } from './sparsifier.ts';

const random = new Random(6);
const v = [4, 0, 0.5, 2];
const norms = Float64Array.from(v);
const step = (t: number, products = norms.map(n => n * n)) => ({ norms, t, before: () => ({ norms, products }) });

describe('operators on groups', () => {
  it('are those of their papers', () => {
    expect([...groupLasso()(step(1)).scale]).toEqual([0.75, 0, 0, 0.5]);
    expect([...groupLasso([2, 1, 1, 1])(step(1)).scale]).toEqual([0.5, 0, 0, 0.5]);
    expect([...groupSubgradient()(step(1)).pull!]).toEqual([-0.25, 0, -2, -0.5]);
    expect([...hardTopK(2)(step(1)).scale]).toEqual([1, 0, 0, 1]);
    expect([...hardTopK(2, [1, 1, 64, 1])(step(1)).scale]).toEqual([1, 0, 1, 0]);
    expect([...envelope({ k: 4 })(step(1)).scale]).toEqual([0.5, 0, 0.5, 0.5]);
  });

  it('group lasso is the minimum of ½‖w − v‖² + t·Σ‖w_j‖', () => {
    const { scale } = groupLasso()(step(0.7));
    const objective = (w: number[]) => w.reduce((s, x, j) => s + (x - v[j]) ** 2 / 2 + 0.7 * Math.abs(x), 0);
    const best = v.map((n, j) => n * scale[j]);
    for (let i = 0; i < 200; i++) {
      const other = best.map(w => w + random.normal(1)[0] * 10 ** -(i % 5));
      expect(objective(other)).toBeGreaterThanOrEqual(objective(best) - 1e-12);
    }
  });

  it('half-space steps leave the half-space of the old value for zero, and pull along it otherwise', () => {
    const { scale, pull } = halfSpace()(step(1, Float64Array.of(9, 0, 0.1, -1)));
    expect([...scale]).toEqual([1, 0, 0, 0]);
    expect([...pull!]).toEqual([-0.25, 0, 0, 0]);
    expect([...halfSpace({ epsilon: 0.9 })(step(1)).scale]).toEqual([0, 0, 0, 0]);
    expect(() => halfSpace({ epsilon: 1 })).toThrow('ε 1');
  });

  it('act scope by scope', () => {
    const scopes = [
      { name: 'a', start: 0, end: 2 },
      { name: 'b', start: 2, end: 4 },
    ];
    expect([...perScope(scopes, [hardTopK(1), hardTopK(1)])(step(1)).scale]).toEqual([1, 0, 0, 1]);
    const mixed = perScope(scopes, [groupLasso(), halfSpace()])(step(1));
    expect([...mixed.scale]).toEqual([0.75, 0, 0, 1]);
    expect([...mixed.pull!]).toEqual([0, 0, 0, -0.5]);
  });
});

const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [48, 6], data: random.normal(288) },
  labels: { dtype: 'int32', shape: [48], data: random.integers(48, 0, 3) },
});

/** Trains a perceptron; `look` sees every step's values before and after the operator. */
async function train(
  sparsifiers: readonly Sparsifier[],
  { steps = 20, optimizer = (m: MLP): Optimizer => new SGD(m.parameters(), { learningRate: 0.1 }), out = '' } = {},
) {
  const model = new MLP([6, 8, 5, 3], { random: new Random(3) });
  await new Trainer({
    model,
    task: classification(),
    train: new DataLoader(data, { batchSize: 16, shuffle: true }),
    optimizer: optimizer(model),
    steps,
    sparsifiers,
    ...(out && { out, checkpointEvery: 5 }),
  }).run();
  return snapshot(model);
}

const filters = async ({ layers }: Training) => partitionLayers(layers, { kind: 'filter' });

describe('training with an operator', () => {
  it('is the plain training for an operator that changes nothing', async () => {
    const nothing: GroupOperator = ({ norms }) => ({ scale: new Float64Array(norms.length).fill(1) });
    expect(await train([new GroupProximal({ lambda: 0, groups: filters, operator: () => nothing })])).toEqual(
      await train([]),
    );
  });

  it('takes one proximal step with t = learning rate · λ after each step of the optimiser', async () => {
    for (const optimizer of [
      (m: MLP) => new SGD(m.parameters(), { learningRate: 0.1 }),
      (m: MLP) => new Adam(m.parameters(), { learningRate: 0.05 }),
    ]) {
      const rate = (await train([], { steps: 0, optimizer })) && optimizer(new MLP([6, 8, 5, 3])).initialLearningRate;
      const plain = await train([], { steps: 1, optimizer });
      const lasso = new GroupProximal({ lambda: 3, groups: filters, operator: () => groupLasso() });
      const found = await train([lasso], { steps: 1, optimizer });
      for (const [name, values] of plain) {
        if (name.endsWith('bias')) expect(found.get(name)).toEqual(values);
        else {
          const width = values.length / plain.get(name.replace('weight', 'bias'))!.length;
          for (let row = 0; row < values.length; row += width) {
            const norm = Math.hypot(...values.subarray(row, row + width));
            for (let i = row; i < row + width; i++) {
              const expected = values[i] * Math.max(0, 1 - (3 * rate) / norm);
              expect(found.get(name)![i]).toBeCloseTo(expected, 5);
            }
          }
        }
      }
    }
  });

  it('ends with at most k live groups, exact zeros, and says how many were forced', async () => {
    const sparsifier = new GroupProximal({
      lambda: 0.01,
      groups: filters,
      operator: () => groupLasso(),
      k: 5,
      until: 0.5,
    });
    const values = await train([sparsifier]);
    const { outcome, partition, alive, mask } = sparsifier;
    expect(outcome).toEqual({ groups: 16, k: 5, live: 16, projected: 11 });
    expect(alive.reduce((a, b) => a + b, 0)).toBe(5);
    for (const name of mask!.names) {
      mask!.get(name).forEach((keep, i) => {
        if (keep === 0) expect(Object.is(values.get(name)![i], 0)).toBe(true);
        else expect(values.get(name)![i]).not.toBe(0);
      });
    }
    expect(partition.count).toBe(16);
  });

  it('refuses shares and strengths that make no sense', () => {
    const operator = () => groupLasso();
    expect(() => new GroupProximal({ lambda: -1, operator })).toThrow('λ -1');
    expect(() => new GroupProximal({ lambda: 1, operator, until: 2 })).toThrow('until 2');
    expect(() => new GroupProximal({ lambda: 1, operator }).partition).toThrow('no groups before training');
  });
});
