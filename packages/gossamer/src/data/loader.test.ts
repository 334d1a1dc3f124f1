import type { NDArray } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset, Dataset } from './dataset.ts';
import { DataLoader, type LoaderOptions } from './loader.ts';
import { cutout, horizontalFlip, randomCrop } from './transforms.ts';

type Images = { inputs: NDArray<Float32Array>; labels: NDArray<Int32Array> };

function images(n: number): ArrayDataset<Images> {
  return new ArrayDataset({
    inputs: { dtype: 'float32', shape: [n, 1, 4, 4], data: Float32Array.from({ length: 16 * n }, (_, i) => i + 1) },
    labels: { dtype: 'int32', shape: [n], data: Int32Array.from({ length: n }, (_, i) => i) },
  });
}

const augmented: LoaderOptions = {
  batchSize: 3,
  shuffle: true,
  seed: 7,
  transforms: [randomCrop({ padding: 1 }), horizontalFlip(), cutout({ size: 2 })],
};

async function epoch(loader: DataLoader<Images>): Promise<Images[]> {
  const batches: Images[] = [];
  for await (const batch of loader) batches.push(batch);
  return batches;
}

const labels = (batches: Images[]): number[] => batches.flatMap(({ labels }) => [...labels.data]);
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

describe('DataLoader', () => {
  it('visits every sample once an epoch, in order or shuffled anew', async () => {
    const plain = new DataLoader(images(10), { batchSize: 4 });
    expect((await epoch(plain)).map(({ labels }) => labels.shape[0])).toEqual([4, 4, 2]);
    expect(labels(await epoch(plain))).toEqual(range(10));
    const shuffled = new DataLoader(images(10), { batchSize: 4, shuffle: true });
    const [first, second] = [labels(await epoch(shuffled)), labels(await epoch(shuffled))];
    for (const order of [first, second]) expect([...order].sort((a, b) => a - b)).toEqual(range(10));
    expect(first).not.toEqual(second);
    expect(first).not.toEqual(range(10));
    expect(shuffled.epoch).toBe(2);
  });

  it('drops a last small batch if asked', async () => {
    const loader = new DataLoader(images(10), { batchSize: 4, dropLast: true });
    expect(loader.length).toBe(2);
    expect(labels(await epoch(loader))).toEqual(range(8));
  });

  it('gives the same batches for the same seed, whatever is fetched ahead', async () => {
    const reference = await epoch(new DataLoader(images(10), { ...augmented, prefetch: 0 }));
    for (const prefetch of [1, 2, 100]) {
      expect(await epoch(new DataLoader(images(10), { ...augmented, prefetch }))).toEqual(reference);
    }
    expect(await epoch(new DataLoader(images(10), { ...augmented, seed: 8 }))).not.toEqual(reference);
  });

  it('continues exactly from a saved state, wherever it was saved', async () => {
    const whole = new DataLoader(images(10), augmented);
    const reference = [...(await epoch(whole)), ...(await epoch(whole))];
    for (let stop = 0; stop < reference.length; stop++) {
      const loader = new DataLoader(images(10), augmented);
      const seen: Images[] = [];
      while (seen.length < stop) {
        for await (const batch of loader) if (seen.push(batch) === stop) break;
      }
      const state = JSON.parse(JSON.stringify(loader.state));
      const resumed = new DataLoader(images(10), augmented);
      resumed.restore(state);
      while (resumed.epoch < 2) seen.push(...(await epoch(resumed)));
      expect(seen, `stopped after ${stop}`).toEqual(reference);
    }
  });

  it('augments a sample alike in batches of any size', async () => {
    const bySize = async (batchSize: number) => {
      const batches = await epoch(new DataLoader(images(6), { ...augmented, shuffle: false, batchSize }));
      return batches.flatMap(({ inputs }) => [...inputs.data]);
    };
    expect(await bySize(2)).toEqual(await bySize(5));
  });

  it('gives any batch on its own', async () => {
    const loader = new DataLoader(images(10), augmented);
    await epoch(loader);
    const second = await epoch(loader);
    expect(await loader.batchAt(1, 2)).toEqual(second[2]);
    expect(loader.epoch).toBe(2);
  });

  it('refuses a state of other data or settings', () => {
    const loader = new DataLoader(images(10), augmented);
    const { state } = loader;
    expect(() => new DataLoader(images(11), augmented).restore(state)).toThrow('state has samples 10, this loader 11');
    expect(() => new DataLoader(images(10), { ...augmented, batchSize: 2 }).restore(state)).toThrow('batchSize');
    expect(() => loader.restore({ ...state, position: 5 })).toThrow('batch 5 of epoch 0, expected 0…4');
    expect(() => new DataLoader(images(2), { batchSize: 3, dropLast: true })).toThrow('make no batch');
    expect(() => new DataLoader(images(2), { batchSize: 0 })).toThrow('batchSize 0');
  });

  it('makes batches while the caller is busy, and no more than it should', async () => {
    const made: number[] = [];
    class Counting extends Dataset<Images> {
      readonly length = 20;
      async batch(indices: ArrayLike<number>): Promise<Images> {
        made.push(indices[0]);
        return images(20).batch(indices);
      }
    }
    const iterator = new DataLoader(new Counting(), { batchSize: 2, prefetch: 3 })[Symbol.asyncIterator]();
    await iterator.next();
    expect(made).toEqual([0]);
    await new Promise(done => setTimeout(done, 20));
    expect(made).toEqual([0, 2, 4, 6]);
    await iterator.return();
  });

  it('reports a failed batch when its turn comes', async () => {
    const broken = images(6).map(batch => {
      if (batch.labels.data[0] === 4) throw new Error('bad sample');
      return batch;
    });
    const seen: number[] = [];
    const run = async () => {
      for await (const batch of new DataLoader(broken, { batchSize: 2, prefetch: 5 })) {
        seen.push(batch.labels.data[0]);
        await new Promise(done => setTimeout(done, 5));
      }
    };
    await expect(run()).rejects.toThrow('bad sample');
    expect(seen).toEqual([0, 2]);
  });
});
