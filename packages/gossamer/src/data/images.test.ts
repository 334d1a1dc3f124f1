import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FormatError } from '@gossamer/tensor';
import { zipSync } from 'fflate';
import sharp from 'sharp';
import { afterAll, describe, expect, it } from 'vitest';
import { readArchive } from './archive.ts';
import { decodeImage, ImageDataset, readFolder } from './images.ts';
import { DataLoader } from './loader.ts';

/** A PNG whose red is x, green y and blue `blue`. */
const png = async (width: number, height: number, blue: number): Promise<Uint8Array> => {
  const raw = Buffer.alloc(width * height * 3);
  for (let i = 0; i < width * height; i++) raw.set([i % width, Math.floor(i / width), blue], 3 * i);
  return new Uint8Array(
    await sharp(raw, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer(),
  );
};

const folder = mkdtempSync(join(tmpdir(), 'gossamer-images-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('decodeImage', () => {
  it('gives planes of exact values', async () => {
    const image = await decodeImage(await png(3, 2, 200));
    expect(image).toEqual({
      dtype: 'uint8',
      shape: [3, 2, 3],
      data: Uint8Array.from([0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 1, 200, 200, 200, 200, 200, 200]),
    });
  });

  it('converts channels and scales', async () => {
    const grey = await sharp(Buffer.from([0, 128, 255, 7]), { raw: { width: 2, height: 2, channels: 1 } })
      .png()
      .toBuffer();
    expect((await decodeImage(grey, { channels: 1 })).data).toEqual(Uint8Array.from([0, 128, 255, 7]));
    expect([...(await decodeImage(grey)).data]).toEqual([0, 128, 255, 7, 0, 128, 255, 7, 0, 128, 255, 7]);
    expect([...(await decodeImage(grey, { channels: 4 })).data].slice(12)).toEqual([255, 255, 255, 255]);
    expect((await decodeImage(await png(8, 4, 0), { size: [5, 6] })).shape).toEqual([3, 5, 6]);
    // The red of a picture 200 wide, squeezed to 20, still runs from one end to the other; cropped, it does not.
    const red = async (fit?: 'fill') => (await decodeImage(await png(200, 20, 0), { size: [20, 20], fit })).data;
    expect([(await red('fill'))[0] < 10, (await red('fill'))[19] > 190]).toEqual([true, true]);
    expect([(await red())[0], (await red())[19]]).toEqual([90, 109]);
  });

  it('refuses what is no image or cut', async () => {
    await expect(decodeImage(new Uint8Array(10), {}, 'x.png')).rejects.toThrow(/^x.png: cannot be decoded/);
    const whole = await png(30, 30, 1);
    await expect(decodeImage(whole.subarray(0, whole.length >> 1))).rejects.toThrow(FormatError);
  });
});

describe('ImageDataset', () => {
  it('labels by folder, from an archive or a folder', async () => {
    const files = { 'b/2.png': await png(2, 2, 2), 'a/1.png': await png(2, 2, 1), 'b/3.PNG': await png(2, 2, 3) };
    for (const [name, bytes] of Object.entries({ ...files, 'notes.txt': new Uint8Array(1) })) {
      mkdirSync(join(folder, name, '..'), { recursive: true });
      writeFileSync(join(folder, name), bytes);
    }
    for (const entries of [await readArchive(zipSync(files)), await readFolder(folder)]) {
      const data = new ImageDataset(entries);
      expect(data.names).toEqual(['a/1.png', 'b/2.png', 'b/3.PNG']);
      expect(data.classes).toEqual(['a', 'b']);
      const { inputs, labels } = await data.batch([2, 0]);
      expect(inputs.shape).toEqual([2, 3, 2, 2]);
      expect([inputs.data[8], inputs.data[20]]).toEqual([3, 1]);
      expect(labels.data).toEqual(Int32Array.from([1, 0]));
      const [train] = await data.split(2, { stratify: 'labels' });
      for await (const batch of new DataLoader(train)) expect(batch.inputs.shape[0]).toBe(2);
    }
  });

  it('takes labels from file names, as numbers or names', async () => {
    const entries = await readArchive(zipSync({ '7_x.png': await png(1, 1, 0), '3_y.png': await png(1, 1, 0) }));
    expect([...new ImageDataset(entries, { label: path => Number(path[0]) }).labels]).toEqual([3, 7]);
    expect(new ImageDataset(entries, { label: path => path[2] }).classes).toEqual(['x', 'y']);
    expect(() => new ImageDataset(entries, { label: () => Number.NaN })).toThrow('no label for 3_y.png');
  });

  it('refuses images of different sizes unless they are scaled, and sets without images', async () => {
    const entries = await readArchive(zipSync({ '1.png': await png(2, 2, 0), '2.png': await png(3, 2, 0) }));
    await expect(new ImageDataset(entries).all()).rejects.toThrow('1.png is [3,2,2], 2.png is [3,2,3]; give a size');
    expect((await new ImageDataset(entries, { size: [4, 4] }).all()).inputs.shape).toEqual([2, 3, 4, 4]);
    expect(() => new ImageDataset([])).toThrow('no image among 0 files');
    await expect(readFolder(join(folder, 'nowhere'))).rejects.toThrow('cannot be read');
  });
});
