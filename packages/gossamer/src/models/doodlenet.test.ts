import { tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { DoodleNet } from './doodlenet.ts';
import { checkModel, parameterCount, pretrainedFile } from './testing.ts';

const weights = pretrainedFile('doodlenet_quickdraw345.safetensors');
const names = pretrainedFile('doodlenet_quickdraw345.classes.txt');

describe('DoodleNet', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new DoodleNet({ classes: 4, random }), { input: [1, 28, 28], output: [4] }));

  it('has the published number of parameters', () => {
    expect(parameterCount(new DoodleNet())).toBe(544_201);
  });

  it.skipIf(!weights || !names)('recognises drawings of shapes with the published weights', async () => {
    const { readFileSync } = await import('node:fs');
    const model = await DoodleNet.fromPretrained(weights!);
    const classes = readFileSync(names!, 'utf8').trim().split('\n');
    const draw = (ink: (x: number, y: number) => boolean): Float32Array =>
      Float32Array.from({ length: 784 }, (_, i) => (ink((i % 28) - 13.5, Math.floor(i / 28) - 13.5) ? 1 : 0));
    const drawings = {
      circle: draw((x, y) => Math.abs(Math.hypot(x, y) - 11.5) < 1.2),
      square: draw((x, y) => Math.abs(Math.max(Math.abs(x), Math.abs(y)) - 11.5) < 1.2),
    };
    for (const [name, pixels] of Object.entries(drawings)) {
      const logits = await model.forward(tensor(pixels, [1, 1, 28, 28])).data();
      expect(classes[logits.indexOf(Math.max(...logits))], name).toBe(name);
    }
  });
});
