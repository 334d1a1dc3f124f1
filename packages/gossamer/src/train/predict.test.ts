import { Random } from '@gossamer/tensor';
import { expect, it } from 'vitest';
import { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { BatchNorm1d, Linear, Sequential } from '../nn/index.ts';
import { predict } from './predict.ts';

it('gives the logits of all samples in order, in eval mode', async () => {
  const random = new Random(3);
  const data = new ArrayDataset({
    inputs: { dtype: 'float32', shape: [7, 4], data: random.normal(28) },
    labels: { dtype: 'int32', shape: [7], data: random.integers(7, 0, 3) },
  });
  const model = new Sequential(new Linear(4, 3, { random }), new BatchNorm1d(3));
  const whole = await predict(model, new DataLoader(data, { batchSize: 7 }));
  const parts = await predict(model, new DataLoader(data, { batchSize: 3 }));
  expect(whole.logits.shape).toEqual([7, 3]);
  // Batch statistics would differ between the two.
  for (const [i, v] of parts.logits.data.entries()) expect(v).toBeCloseTo(whole.logits.data[i], 5);
  expect(parts.labels).toEqual(data.fields.labels.data);
  expect(model.training).toBe(true);
});
