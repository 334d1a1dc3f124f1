import { existsSync, readFileSync } from 'node:fs';
import { tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { readTar } from '../data/archive.ts';
import { decodeImage } from '../data/images.ts';
import { SqueezeNet } from './squeezenet.ts';
import { checkModel, parameterCount, pretrainedFile, shapesOf } from './testing.ts';

const weights = pretrainedFile('squeezenet_v1.0_deepcompressed_imagenet.safetensors');
const archive = `${process.env.GOSSAMER_DATA}/imagenet-sample-224/imagenet-sample-224.tar`;
const images = existsSync(archive);
if (!images) console.log('squeezenet: accuracy test skipped: GOSSAMER_DATA has no imagenet-sample-224');

describe('SqueezeNet', () => {
  // conv_final's outputs pass a ReLU and some channels are never positive: with many classes, all get a gradient rarely.
  it('keeps what every model keeps', () =>
    checkModel(random => new SqueezeNet({ classes: 3, random }), { input: [3, 47, 47], output: [3] }));

  it('has the published number of parameters and sizes', () => {
    const model = new SqueezeNet();
    expect(parameterCount(model)).toBe(1_248_424);
    expect(shapesOf(model)).toMatchObject({
      'conv1.weight': '96×3×7×7',
      'fire9.squeeze.weight': '64×512×1×1',
      'fire9.expand3x3.weight': '256×64×3×3',
      'conv_final.weight': '1000×512×1×1',
    });
    expect(model.forward(tensor(new Float32Array(3 * 227 * 227), [1, 3, 227, 227])).shape).toEqual([1, 1000]);
  });

  it.skipIf(!weights || !images)('recognises photographs with the published, really pruned weights', async () => {
    const model = await SqueezeNet.fromPretrained(weights!);
    const kernel = await model.fire5.expand3x3.weight.data();
    const density = kernel.filter(v => v !== 0).length / kernel.length;
    expect(density).toBeGreaterThan(0.1);
    expect(density).toBeLessThan(0.5);
    expect(new Set(kernel).size).toBeLessThanOrEqual(256);

    const files = readTar(readFileSync(archive))
      .filter(entry => entry.name.endsWith('.jpg'))
      .slice(0, 30);
    let right = 0;
    for (const file of files) {
      const { data } = await decodeImage(file.bytes(), { size: [227, 227] });
      const plane = 227 * 227;
      const x = new Float32Array(3 * plane);
      [104, 117, 123].forEach((mean, c) => {
        for (let i = 0; i < plane; i++) x[c * plane + i] = data[(2 - c) * plane + i] - mean;
      });
      const logits = await model.forward(tensor(x, [1, 3, 227, 227])).data();
      right += logits.indexOf(Math.max(...logits)) === Number.parseInt(file.name.split('/').at(-1)!, 10) ? 1 : 0;
    }
    expect(right / files.length).toBeGreaterThan(0.55);
  });
});
