import { FormatError, type NDArray } from '@gossamer/tensor';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { DetectionDataset, type Picture } from './detection.ts';
import { DataLoader } from './loader.ts';

const png = async (width: number, height: number, value: number): Promise<Uint8Array> =>
  new Uint8Array(
    await sharp(Buffer.alloc(width * height * 3, value), { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer(),
  );

const boxes = (...rows: number[][]): NDArray<Float32Array> => ({
  dtype: 'float32',
  shape: [rows.length, 4],
  data: Float32Array.from(rows.flat()),
});

const [first, second] = [await png(8, 4, 10), await png(8, 4, 20)];
const size = { width: 8, height: 4 };
const pictures: Picture[] = [
  { name: 'a', bytes: () => first, ...size, boxes: boxes([0, 1, 8, 4]), labels: Int32Array.of(1) },
  { name: 'b', bytes: () => second, ...size, boxes: boxes([1, 1, 2, 2], [4, 0, 6, 3]), labels: Int32Array.of(0, 1) },
];
const classes = ['x', 'y'];

describe('DetectionDataset', () => {
  it('pads boxes with label −1 to the most objects of the set', async () => {
    const data = new DetectionDataset(pictures, classes);
    const batch = await data.batch([1, 0]);
    expect([batch.inputs.shape, batch.boxes.shape, batch.labels.shape]).toEqual([
      [2, 3, 4, 8],
      [2, 2, 4],
      [2, 2],
    ]);
    expect([batch.inputs.data[0], batch.inputs.data.at(-1)]).toEqual([20, 10]);
    expect([...batch.boxes.data]).toEqual([1, 1, 2, 2, 4, 0, 6, 3, 0, 1, 8, 4, 0, 0, 0, 0]);
    expect([...batch.labels.data]).toEqual([0, 1, 1, -1]);
    // A batch's shape does not depend on which images are in it.
    for await (const { labels } of new DataLoader(data, { batchSize: 1 })) expect(labels.shape).toEqual([1, 2]);
  });

  it('stretches images and boxes alike, and so takes images of any size', async () => {
    const wide = await png(16, 4, 30);
    const mixed = [...pictures, { ...pictures[0], bytes: () => wide, width: 16 }];
    expect(() => new DetectionDataset(mixed, classes)).toThrow('a is 8×4, a is 16×4; give a size');
    const { inputs, boxes } = await new DetectionDataset(mixed, classes, [8, 8]).batch([0, 2]);
    expect(inputs.shape).toEqual([2, 3, 8, 8]);
    expect([...boxes.data.subarray(0, 4), ...boxes.data.subarray(8, 12)]).toEqual([0, 2, 8, 8, 0, 2, 4, 8]);
    expect((await new DetectionDataset(pictures, classes).resized([2, 4]).get(1)).boxes.data).toEqual(
      Float32Array.from([0.5, 0.5, 1, 1, 2, 0, 3, 1.5]),
    );
  });

  it('refuses an image that is not of the size its annotation says, and indices out of range', async () => {
    const lie = new DetectionDataset([{ ...pictures[0], width: 9 }], classes);
    await expect(lie.batch([0])).rejects.toThrow('a: 8×4 pixels, its annotation says 9×4');
    await expect(lie.batch([0])).rejects.toThrow(FormatError);
    await expect(lie.batch([1])).rejects.toThrow('index 1 of 1 samples');
    expect(() => new DetectionDataset([], classes)).toThrow('no pictures');
  });
});
