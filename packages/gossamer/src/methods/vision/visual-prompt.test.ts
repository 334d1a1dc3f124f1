import { gradients, Random, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { VisualPrompt } from './visual-prompt.ts';

const random = new Random(1);
const options = { source: [2, 8, 10] as const, inner: [4, 5] as const, mean: [0.1, 0.3], std: [0.5, 0.2] };
const x = tensor({ dtype: 'float32', shape: [3, 2, 4, 5], data: random.uniform(120) });
const inside = (i: number) => {
  const [y, z] = [Math.floor(i / 10) % 8, i % 10];
  return y >= 2 && y < 6 && z >= 2 && z < 7;
};

describe('VisualPrompt', () => {
  it('puts the image into a grey frame and normalises the whole as the source does', async () => {
    const seen = await new VisualPrompt(options).forward(x).data();
    const pixels = await x.data();
    for (let n = 0; n < 3; n++) {
      for (let c = 0; c < 2; c++) {
        for (let y = 0; y < 8; y++) {
          for (let z = 0; z < 10; z++) {
            const image = pixels[((n * 2 + c) * 4 + y - 2) * 5 + z - 2];
            const value = inside(10 * y + z) ? image : 0.5;
            const expected = (value - options.mean[c]) / options.std[c];
            expect(seen[((n * 2 + c) * 8 + y) * 10 + z]).toBeCloseTo(expected, 5);
          }
        }
      }
    }
  });

  it.each(['border', 'additive'] as const)('learns at the border alone: %s', async prompt => {
    const p = new VisualPrompt({ ...options, prompt });
    const weights = tensor({ dtype: 'float32', shape: [3, 2, 8, 10], data: random.normal(480) });
    const [g] = gradients(p.forward(x).mul(weights).sum(), [p.delta]);
    for (const [i, v] of (await g.data()).entries()) {
      if (inside(i % 80)) expect(Math.abs(v)).toBe(0);
      else expect(Math.abs(v)).toBeGreaterThan(0);
    }
    p.delta.set(new Float32Array(160).fill(3));
    const border = (await p.forward(x).data())[0];
    expect(border).toBeCloseTo(((prompt === 'border' ? 1 / (1 + Math.exp(-3)) : 3) - 0.1) / 0.5, 5);
  });

  it('shows the image in a black frame without the prompt', async () => {
    const p = new VisualPrompt({ ...options, mean: 0, std: 1 });
    p.delta.set(new Float32Array(160).fill(3));
    const seen = await p.unprompted(x).data();
    expect(seen[0]).toBe(0);
    expect(seen[2 * 10 + 2]).toBe((await x.data())[0]);
  });

  it('refuses images without a border, of other sizes, and statistics that do not fit', () => {
    expect(() => new VisualPrompt({ ...options, inner: [8, 10] })).toThrow('no border');
    expect(() => new VisualPrompt({ ...options, inner: 9 })).toThrow('no border');
    expect(() => new VisualPrompt({ ...options, mean: [1, 2, 3] })).toThrow('3 means');
    expect(() => new VisualPrompt(options).forward(x.slice(2, 0, 3))).toThrow('expected [n, 2, 4, 5]');
    expect(() => new VisualPrompt({ ...options, prompt: 'stripe' as 'border' })).toThrow("'stripe'");
  });
});
