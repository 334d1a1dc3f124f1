import { tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { StyleTransfer } from './style-transfer.ts';
import { checkModel, parameterCount, pretrainedFile } from './testing.ts';

const weights = pretrainedFile('style_transfer_wave.safetensors');

describe('StyleTransfer', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new StyleTransfer({ width: 2, random }), { input: [3, 16, 12], output: [3, 16, 12] }));

  it('has the number of weights of the published files', () => {
    expect(parameterCount(new StyleTransfer())).toBe(1_677_638);
  });

  it.skipIf(!weights)('repaints a picture with the published weights: its edges stay, its colours change', async () => {
    const model = await StyleTransfer.fromPretrained(weights!);
    const size = 32;
    const pixels = Float32Array.from({ length: 3 * size * size }, (_, i) => (i % size < size / 2 ? 40 : 220));
    const y = await model.forward(tensor(pixels, [1, 3, size, size])).data();
    expect(Math.min(...y)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...y)).toBeLessThanOrEqual(255);
    const mean = (from: number, to: number): number => {
      const side = y.filter((_, i) => i % size >= from && i % size < to);
      return side.reduce((a, b) => a + b, 0) / side.length;
    };
    expect(mean(0, size / 2)).toBeLessThan(mean(size / 2, size));
  });
});
