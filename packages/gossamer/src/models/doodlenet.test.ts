import { readFileSync } from 'node:fs';
import { tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { DoodleNet } from './doodlenet.ts';
import { checkModel, parameterCount, pretrainedFile } from './testing.ts';

const weights = pretrainedFile('doodlenet_quickdraw345.safetensors');
const names = pretrainedFile('doodlenet_quickdraw345.classes.txt');

type Stroke = readonly [x0: number, y0: number, x1: number, y1: number];

/** Simple drawings as line segments; the picture is [-14, 14] in both directions, y downwards. */
const drawings: Record<string, readonly Stroke[]> = {
  triangle: [
    [-12, 10, 12, 10],
    [12, 10, 0, -12],
    [0, -12, -12, 10],
  ],
  envelope: [
    [-12, -8, 12, -8],
    [12, -8, 12, 8],
    [12, 8, -12, 8],
    [-12, 8, -12, -8],
    [-12, -8, 0, 2],
    [0, 2, 12, -8],
  ],
  ladder: [[-5, -12, -5, 12], [5, -12, 5, 12], ...[-8, -4, 0, 4, 8].map((y): Stroke => [-5, y, 5, y])],
};

/** Lines of two pixels, with soft edges. */
const draw = (strokes: readonly Stroke[]): Float32Array =>
  Float32Array.from({ length: 784 }, (_, i) => {
    const [x, y] = [(i % 28) - 13.5, Math.floor(i / 28) - 13.5];
    const distances = strokes.map(([ax, ay, bx, by]) => {
      const [dx, dy] = [bx - ax, by - ay];
      const t = Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)));
      return Math.hypot(x - ax - t * dx, y - ay - t * dy);
    });
    return Math.min(1, Math.max(0, 1.5 - Math.min(...distances)));
  });

describe('DoodleNet', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new DoodleNet({ classes: 4, random }), { input: [1, 28, 28], output: [4] }));

  it('has the published number of parameters', () => {
    expect(parameterCount(new DoodleNet())).toBe(544_201);
  });

  it.skipIf(!weights || !names)('recognises simple drawings with the published weights', async () => {
    const model = await DoodleNet.fromPretrained(weights!);
    const classes = readFileSync(names!, 'utf8').trim().split('\n');
    for (const [name, strokes] of Object.entries(drawings)) {
      const pixels = draw(strokes);
      const logits = await model.forward(tensor(pixels, [1, 1, 28, 28])).data();
      expect(classes[logits.indexOf(Math.max(...logits))], name).toBe(name);
    }
  });
});
