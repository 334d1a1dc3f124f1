import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { BatchNorm2d, Conv2d, MLP, Sequential } from '../nn/index.ts';
import { restore, snapshot } from './snapshot.ts';

const network = (seed: number) => new Sequential(new Conv2d(1, 4, 3, { random: new Random(seed) }), new BatchNorm2d(4));

describe('snapshot', () => {
  it('brings back parameters and running statistics, and is no view of them', async () => {
    const model = network(1);
    const before = await snapshot(model);
    for (const [, p] of model.stateDict()) p.set((await p.data()).map(v => v + 1));
    expect(await snapshot(model)).not.toEqual(before);
    restore(model, before);
    expect(await snapshot(model)).toEqual(before);
    const other = network(2);
    restore(other, before);
    expect(await snapshot(other)).toEqual(before);
  });

  it('refuses the state of another network before it changes anything', async () => {
    const model = network(1);
    const before = await snapshot(model);
    expect(() => restore(model, new Map([...before].slice(1)))).toThrow("has no '0.weight'");
    expect(() => restore(model, new Map([...before].map(([n, v]) => [n, v.subarray(1)])))).toThrow('values');
    expect(await snapshot(model)).toEqual(before);
    expect(() => restore(new MLP([2, 2]), before)).toThrow('restore');
  });
});
