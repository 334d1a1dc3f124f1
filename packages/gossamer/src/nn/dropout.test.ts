import { compile, ones, Random, type Tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ChannelDropout, Dropout, DropPath } from './dropout.ts';

const data = async (t: Tensor) => [...(await t.data())];

describe('Dropout', () => {
  it('keeps a share 1 − p, scaled so that the mean stays', async () => {
    const values = await data(new Dropout(0.25).forward(ones([100, 100])));
    expect(new Set(values)).toEqual(new Set([0, Math.fround(4 / 3)]));
    const kept = values.filter(v => v > 0).length / values.length;
    expect(kept).toBeCloseTo(0.75, 1.5);
  });

  it('is the identity in evaluation and for p = 0', () => {
    const x = ones([3]);
    expect(new Dropout(0.5).eval().forward(x)).toBe(x);
    expect(new Dropout(0).forward(x)).toBe(x);
  });

  it('draws anew in every call of a compiled function, reproducibly', async () => {
    const run = async () => {
      const module = new Dropout(0.5, { random: new Random(7) });
      const step = compile((x: Tensor) => module.forward(x));
      const x = ones([64]);
      return [await data(await step(x)), await data(await step(x))];
    };
    const [first, second] = await run();
    expect(first).not.toEqual(second);
    expect(await run()).toEqual([first, second]);
  });

  it('continues from the state of its generator', async () => {
    const a = new Dropout(0.5, { random: new Random(7) });
    a.forward(ones([10]));
    const b = new Dropout(0.5, { random: Random.fromJSON(JSON.parse(JSON.stringify(a.random))) });
    expect(await data(b.forward(ones([32])))).toEqual(await data(a.forward(ones([32]))));
  });

  it('refuses probabilities outside [0, 1)', () => {
    expect(() => new Dropout(1)).toThrow('probability 1');
  });
});

it('ChannelDropout drops whole channels, DropPath whole samples', async () => {
  const x = ones([32, 8, 5]);
  const channels = (await new ChannelDropout(0.5).forward(x).tolist()) as number[][][];
  const flat = channels.flat();
  expect(flat.every(c => new Set(c).size === 1)).toBe(true);
  expect(new Set(flat.map(c => c[0]))).toEqual(new Set([0, 2]));
  const samples = (await new DropPath(0.5).forward(x).tolist()) as number[][][];
  expect(samples.every(s => new Set(s.flat()).size === 1)).toBe(true);
  expect(new Set(samples.map(s => s[0][0]))).toEqual(new Set([0, 2]));
});
