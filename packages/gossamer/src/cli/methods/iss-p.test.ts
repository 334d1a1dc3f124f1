import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '@gossamer/tensor';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { gossamer, testFolder } from '../testing.ts';

const folder = testFolder();
const images = join(folder, 'images');
mkdirSync(images);
for (let i = 0; i < 2; i++) {
  const pixels = Uint8Array.from(new Random(i).integers(3 * 32 * 40, 0, 256));
  await sharp(pixels, { raw: { width: 40, height: 32, channels: 3 } })
    .png()
    .toFile(join(images, `${i}.png`));
}

describe('gossamer run iss-p', () => {
  const small = ['--width', '4', '--blocks', '1', '--steps', '10', '--patch', '8', '--batch', '2', '-q', '--json'];

  it('trains a sparse network on a folder of images and writes it', async () => {
    const out = join(folder, 'out');
    const flags = ['--data', images, '--test', images, '--sparsity', '0.8', '--until', '0.5', '--out', out];
    const { code, stdout, stderr } = await gossamer('run', 'iss-p', ...flags, ...small);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const result = JSON.parse(stdout);
    expect(result.images).toHaveLength(2);
    expect(result.images[0].psnr).toBeGreaterThan(5);
    expect(existsSync(join(out, 'model.onnx'))).toBe(true);
    for (const { name, nonzeros, parameters } of result.layers) {
      if (!result.relaxed.includes(name)) expect(nonzeros).toBe(parameters - Math.floor(0.8 * parameters));
    }
  });

  it('refuses what is no folder of images, and shares above 1', async () => {
    expect(await gossamer('run', 'iss-p', '--data', join(folder, 'nothing'), ...small)).toMatchObject({ code: 1 });
    expect(await gossamer('run', 'iss-p', '--data', images, '--until', '2', ...small)).toMatchObject({ code: 2 });
  });
});
