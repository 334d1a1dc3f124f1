import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NDArray, Spec } from '@gossamer/tensor';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { DataLoader } from '../data/loader.ts';
import { writeNpz } from '../data/npy.ts';
import { type LabelledData, openData } from './data.ts';
import { testFolder } from './testing.ts';

const folder = testFolder();
const input = (...sample: number[]): Spec => ({ dtype: 'float32', shape: [1, ...sample] });

/** Everything in one part, as the model gets it. */
async function fed({ train, transforms }: LabelledData): Promise<{ inputs: NDArray; labels: NDArray }> {
  for await (const batch of new DataLoader(train, { batchSize: train.length, transforms })) return batch as never;
  throw new Error('no batch');
}

function npz(name: string, arrays: Record<string, NDArray>): string {
  const path = join(folder, `${name}.npz`);
  writeFileSync(path, writeNpz(arrays));
  return path;
}

const bytes = (shape: number[], values: number[]): NDArray => ({
  dtype: 'uint8',
  shape,
  data: Uint8Array.from(values),
});
const labels = (...values: number[]): NDArray => ({
  dtype: 'int64',
  shape: [values.length],
  data: BigInt64Array.from(values, BigInt),
});

describe('openData', () => {
  it('reads npz with a test part, and pixels by every kind of scaling', async () => {
    const path = npz('pixels', {
      inputs: bytes([2, 1, 1, 2], [0, 255, 51, 102]),
      labels: labels(2, 0),
      test_inputs: bytes([1, 1, 1, 2], [5, 6]),
      test_labels: labels(1),
    });
    const values = async (normalize?: string) =>
      Array.from((await fed(await openData(path, normalize, input(1, 1, 2)))).inputs.data as Float32Array);
    const near = (expected: number[]) => expected.map(v => expect.closeTo(v, 6));
    expect(await values()).toEqual(near([0, 1, 0.2, 0.4]));
    expect(await values('unit')).toEqual(near([0, 1, 0.2, 0.4]));
    expect(await values('bytes')).toEqual([0, 255, 51, 102]);
    expect(await values('0.5/0.25')).toEqual(near([-2, 2, -1.2, -0.4]));
    await expect(values('set')).rejects.toThrow('has no mean and deviation of its own');
    await expect(values('half')).rejects.toThrow('--normalize half: expected set, unit');
    await expect(values('0.5/0')).rejects.toThrow('--normalize 0.5/0');
    const data = await openData(path, undefined);
    expect([data.train.length, data.test.length, data.classes, data.sample]).toEqual([2, 1, 3, [1, 1, 2]]);
    expect((await fed(data)).labels).toEqual({ dtype: 'int32', shape: [2], data: Int32Array.of(2, 0) });
  });

  it('keeps a fifth for the test where there is no test part', async () => {
    const path = npz('whole', {
      X: bytes(
        [10, 2],
        Array.from({ length: 20 }, (_, i) => i),
      ),
      y: labels(...Array(10).fill(0)),
    });
    const { train, test } = await openData(path, 'bytes', input(2));
    expect([train.length, test.length]).toEqual([8, 2]);
    const rows = [...(await train.all()).inputs.data, ...(await test.all()).inputs.data].map(Number);
    expect(rows.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  it('puts channels last where the model wants them there, and flattens', async () => {
    // One image of 2 channels, 2 × 3 pixels: channel·100 + row·10 + column.
    const values = [0, 1].flatMap(c => [0, 1].flatMap(y => [0, 1, 2].map(x => 100 * c + 10 * y + x)));
    const path = npz('layout', {
      inputs: bytes([5, 2, 2, 3], Array(5).fill(values).flat()),
      labels: labels(0, 0, 0, 0, 0),
    });
    const first = async (...sample: number[]) => {
      const { inputs } = await fed(await openData(path, 'bytes', input(...sample)));
      return { shape: inputs.shape.slice(1), data: Array.from((inputs.data as Float32Array).subarray(0, 12)) };
    };
    expect(await first(2, 2, 3)).toEqual({ shape: [2, 2, 3], data: values });
    expect(await first(12)).toEqual({ shape: [12], data: values });
    expect(await first(2, 3, 2)).toEqual({
      shape: [2, 3, 2],
      data: [0, 100, 1, 101, 2, 102, 10, 110, 11, 111, 12, 112],
    });
    await expect(openData(path, undefined, input(13))).rejects.toThrow('a sample is [2, 2, 3], the model takes [13]');
  });

  it('reads csv with labels in words', async () => {
    const path = join(folder, 'flowers.csv');
    writeFileSync(path, `width,label,height\n${Array(5).fill('1.5,rose,2\n3,aster,4').join('\n')}\n`);
    const data = await openData(path, undefined, input(2));
    expect([data.classes, data.train.length, data.test.length]).toEqual([2, 8, 2]);
    const { inputs, labels } = await fed(data);
    labels.data.forEach((label, row) => {
      const pair = Array.from((inputs.data as Float32Array).subarray(2 * row, 2 * row + 2));
      // Classes are in alphabetical order.
      expect(pair).toEqual(Number(label) === 0 ? [3, 4] : [1.5, 2]);
    });
    writeFileSync(path, 'a,b\n1,2\n');
    await expect(openData(path, undefined)).rejects.toThrow('no column label; columns are a, b');
  });

  it('reads a folder of images, scaled to the model', async () => {
    const place = join(folder, 'images');
    for (const [name, grey] of [
      ['black', 0],
      ['white', 255],
    ] as const) {
      mkdirSync(join(place, name), { recursive: true });
      const background = { r: grey, g: grey, b: grey };
      const image = sharp({ create: { width: 6, height: 4, channels: 3, background } });
      for (let i = 0; i < 5; i++) writeFileSync(join(place, name, `${i}.png`), await image.png().toBuffer());
    }
    for (const sample of [
      [3, 8, 9],
      [8, 9, 3],
    ]) {
      const data = await openData(place, undefined, input(...sample));
      expect(data.classes).toBe(2);
      const { inputs, labels } = await fed(data);
      expect(inputs.shape).toEqual([8, ...sample]);
      const [pixels, classes] = [inputs.data as Float32Array, labels.data as Int32Array];
      expect(Array.from(classes, (_, row) => pixels[row * 216 + 100])).toEqual(Array.from(classes));
    }
  });

  it('names what it cannot open', async () => {
    writeFileSync(join(folder, 'notes.txt'), '');
    await expect(openData(join(folder, 'notes.txt'), undefined)).rejects.toThrow(
      'expected a folder of images, an .npz or a .csv',
    );
    await expect(openData('mnits', undefined)).rejects.toThrow(
      /neither a file or folder nor a set; the sets are .*mnist/,
    );
    await expect(openData(npz('odd', { a: labels(1) }), undefined)).rejects.toThrow('it holds a');
  });
});
