import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { MLP } from '../nn/index.ts';
import { SGD } from '../optim/index.ts';
import { Capture } from './capture.ts';
import { snapshot } from './snapshot.ts';
import { classification } from './task.ts';
import { Trainer } from './trainer.ts';

const random = new Random(4);
const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [32, 5], data: random.normal(160) },
  labels: { dtype: 'int32', shape: [32], data: random.integers(32, 0, 3) },
});

async function train(steps: number, captures: readonly Capture[] = []) {
  const model = new MLP([5, 6, 3], { random: new Random(1) });
  const train = new DataLoader(data, { batchSize: 8, shuffle: true });
  const optimizer = new SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9 });
  await new Trainer({ model, task: classification(), train, optimizer, steps, sparsifiers: captures }).run();
  return snapshot(model);
}

describe('Capture', () => {
  it('keeps the weights of its step and changes nothing', async () => {
    const captures = [0, 3, 7].map(step => new Capture(step));
    const end = await train(7, captures);
    expect(end).toEqual(await train(7));
    expect(captures[0].taken).toEqual(await train(0));
    expect(captures[1].taken).toEqual(await train(3));
    expect(captures[2].taken).toEqual(end);
  });

  it('comes back from a checkpoint', async () => {
    const capture = new Capture(2);
    await train(4, [capture]);
    const other = new Capture(2);
    other.restore(capture.state());
    expect(other.taken).toEqual(capture.taken);
    other.restore(new Capture(2).state());
    expect(other.taken).toBeUndefined();
  });

  it('refuses a step that is none', () => {
    expect(() => new Capture(-1)).toThrow('step -1');
    expect(() => new Capture(1.5)).toThrow('step 1.5');
  });
});
