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

  it('seeds the network, diagnoses, and takes patterns and transformers', async () => {
    const run = async (...flags: string[]) => {
      const { code, stdout, stderr } = await gossamer('run', 'iss-p', '--data', images, ...flags, ...small);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      return JSON.parse(stdout);
    };
    const [a, b, again] = [
      await run('--test', images, '--seed', '1'),
      await run('--test', images, '--seed', '2'),
      await run('--test', images, '--seed', '1'),
    ];
    expect(a.images[0].psnr).not.toBe(b.images[0].psnr);
    expect(a.images).toEqual(again.images);
    const looked = await run('--sparsity', '0.8', '--alpha', '1', '--diagnose', '4', '--exclude', 'tail.weight');
    expect(looked.looks.map((l: { step: number }) => l.step)).toEqual([4, 8]);
    expect(looked.layers.find((l: { name: string }) => l.name === 'tail.weight').density).toBe(1);
    const [gap] = Object.values(looked.gap) as { kept: number; gone: number }[];
    expect(gap.kept).toBeGreaterThanOrEqual(gap.gone);
    const windows = await run('--test', images, '--network', 'windows', '--pattern', '2:4', '--exclude', 'first');
    expect(windows.images[0].psnr).toBeGreaterThan(5);
    expect(windows.layers.find((l: { name: string }) => l.name.includes('mlp')).density).toBe(0.5);
  });

  it('reads a folder that is called like another method', async () => {
    const { code, stderr } = await gossamer('run', 'iss-p', '--data', 'imp', ...small);
    expect(code).toBe(1);
    expect(stderr).toContain('imp');
  });

  it('refuses what is no folder of images, and shares above 1', async () => {
    expect(await gossamer('run', 'iss-p', '--data', join(folder, 'nothing'), ...small)).toMatchObject({ code: 1 });
    for (const wrong of [
      ['--until', '2'],
      ['--alpha', '1.1'],
      ['--pattern', 'filter'],
      ['--network', 'windows', '--patch', '12'],
    ]) {
      expect(await gossamer('run', 'iss-p', '--data', images, ...small, ...wrong)).toMatchObject({ code: 2 });
    }
    const small32 = await gossamer('run', 'iss-p', '--data', images, ...small, '--patch', '32');
    expect(small32).toMatchObject({ code: 1 });
    expect(small32.stderr).toContain('smaller than a patch of 32');
  });
});
