import { existsSync, readFileSync } from 'node:fs';
import { tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { readTar } from '../data/archive.ts';
import { decodeImage } from '../data/images.ts';
import { checkModel, parameterCount, pretrainedFile, shapesOf } from './testing.ts';
import { TinyDarknet } from './tiny-darknet.ts';

const weights = pretrainedFile('darknet_tiny_imagenet.safetensors');
const names = pretrainedFile('darknet_tiny_imagenet.classes_wnid.txt');
const archive = `${process.env.GOSSAMER_DATA}/imagenet-sample-224/imagenet-sample-224.tar`;
const images = existsSync(archive);
if (!images) console.log('tiny-darknet: accuracy test skipped: GOSSAMER_DATA has no imagenet-sample-224');

describe('TinyDarknet', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new TinyDarknet({ classes: 5, random }), { input: [3, 16, 16], output: [5] }));

  it('has the published number of parameters and sizes', () => {
    const model = new TinyDarknet();
    expect(parameterCount(model)).toBe(1_042_104);
    expect(shapesOf(model)).toMatchObject({
      'convs.3.weight': '128×16×3×3',
      'norms.14.weight': '128',
      'convs.15.bias': '1000',
    });
    expect(() => model.forward(tensor(new Float32Array(3 * 40 * 40), [1, 3, 40, 40]))).toThrow(
      'expected multiples of 16',
    );
  });

  it.skipIf(!weights || !names || !images)('recognises photographs with the published weights', async () => {
    const model = await TinyDarknet.fromPretrained(weights!);
    const classes = readFileSync(names!, 'utf8').trim().split('\n');
    const files = readTar(readFileSync(archive))
      .filter(entry => entry.name.endsWith('.jpg'))
      .slice(0, 30);
    let right = 0;
    for (const file of files) {
      const { data } = await decodeImage(file.bytes());
      const x = tensor(
        Float32Array.from(data, v => v / 255),
        [1, 3, 224, 224],
      );
      const logits = await model.forward(x).data();
      right += file.name.includes(classes[logits.indexOf(Math.max(...logits))]) ? 1 : 0;
    }
    expect(right / files.length).toBeGreaterThan(0.55);
  });
});
