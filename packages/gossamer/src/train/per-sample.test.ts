import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { tokenWindows } from '../data/sequences.ts';
import { GPT } from '../models/gpt.ts';
import { MLP } from '../nn/container.ts';
import { evaluate } from './evaluate.ts';
import { isRight, meanOf, perSample, windowLoss } from './per-sample.ts';
import { classification, languageModelling } from './task.ts';

const random = new Random(5);

describe('perSample', () => {
  it('gives what the means over the data are made of, whatever the batches', async () => {
    const model = new MLP([6, 8, 3], { random });
    const data = new ArrayDataset({
      inputs: { dtype: 'float32', shape: [25, 6], data: random.normal(150) },
      labels: { dtype: 'int32', shape: [25], data: random.integers(25, 0, 3) },
    });
    const right = await perSample(model, isRight, new DataLoader(data, { batchSize: 10 }));
    expect(right).toHaveLength(25);
    expect(right.every(v => v === 0 || v === 1)).toBe(true);
    const { accuracy } = await evaluate(model, classification(), new DataLoader(data));
    expect(meanOf(right)).toBeCloseTo(accuracy, 6);
    expect(await perSample(model, isRight, new DataLoader(data, { batchSize: 25 }))).toEqual(right);
  });

  it('gives the loss of each window', async () => {
    const model = new GPT({ vocab: 11, context: 6, layers: 1, heads: 2, dim: 8, random });
    const windows = tokenWindows(random.integers(100, 0, 11), 6);
    const losses = await perSample(model, windowLoss, new DataLoader(windows, { batchSize: 7 }));
    const { loss } = await evaluate(model, languageModelling(), new DataLoader(windows));
    expect(losses).toHaveLength(windows.length);
    expect(meanOf(losses)).toBeCloseTo(loss, 5);
  });

  it('refuses a measure that is no number for each sample', async () => {
    const model = new MLP([6, 3], { random });
    const data = new ArrayDataset({ inputs: { dtype: 'float32', shape: [4, 6], data: random.normal(24) } });
    const wrong = perSample(model, (m, { inputs }) => m.forward(inputs), new DataLoader(data));
    await expect(wrong).rejects.toThrow('12 values for 4 samples');
  });
});
