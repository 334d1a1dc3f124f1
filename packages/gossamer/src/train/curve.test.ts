import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { MLP } from '../nn/container.ts';
import { SGD } from '../optim/index.ts';
import { areaUnder, Curve, stepsTo } from './curve.ts';
import { evaluate } from './evaluate.ts';
import { classification } from './task.ts';
import { Trainer } from './trainer.ts';

const random = new Random(4);
const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [40, 6], data: random.normal(240) },
  labels: { dtype: 'int32', shape: [40], data: random.integers(40, 0, 3) },
});
const task = classification();

async function train(curve?: Curve) {
  const model = new MLP([6, 8, 3], { random: new Random(1) });
  const before = await evaluate(model, task, new DataLoader(data));
  await new Trainer({
    model,
    task,
    train: new DataLoader(data, { batchSize: 10, shuffle: true }),
    optimizer: new SGD(model.parameters(), { learningRate: 0.2 }),
    steps: 10,
    sparsifiers: curve ? [curve] : [],
  }).run();
  return { before, after: await evaluate(model, task, new DataLoader(data)) };
}

describe('Curve', () => {
  it('sees the network before, every few steps, and after, and leaves the training alone', async () => {
    const curve = new Curve({ task, data: new DataLoader(data), every: 4 });
    const { before, after } = await train(curve);
    expect(curve.points.map(p => p.step)).toEqual([0, 4, 8, 10]);
    expect(curve.points[0]).toMatchObject(before);
    expect(curve.points[3]).toMatchObject(after);
    expect((await train()).after).toEqual(after);
    expect(() => new Curve({ task, data: new DataLoader(data), every: 0 })).toThrow('every 0 steps');
  });

  it('is measured between its points', () => {
    const points = [
      { step: 0, accuracy: 0.1 },
      { step: 10, accuracy: 0.5 },
      { step: 30, accuracy: 0.9 },
    ];
    expect(stepsTo(points, 'accuracy', 0.3)).toBeCloseTo(5, 9);
    expect(stepsTo(points, 'accuracy', 0.7)).toBeCloseTo(20, 9);
    expect(stepsTo(points, 'accuracy', 0.95)).toBe(30);
    expect(stepsTo(points, 'accuracy', 0)).toBe(0);
    expect(areaUnder(points, 'accuracy')).toBeCloseTo((10 * 0.3 + 20 * 0.7) / 30, 9);
  });
});
