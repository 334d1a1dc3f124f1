import { compile, Parameter, type Tensor, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { expectNear } from '../nn/testing.ts';
import { EMA } from './ema.ts';
import { SGD } from './sgd.ts';

const make = (): Parameter =>
  new Parameter({ dtype: 'float32', shape: [2], data: Float32Array.of(1, -2) }, { name: 'w' });

/** Three compiled SGD steps of size 1 with a constant gradient, and the average after each update. */
async function train(w: Parameter, ema: EMA, steps: number): Promise<void> {
  const optimizer = new SGD([w], { learningRate: 1 });
  const step = compile((g: Tensor) => {
    optimizer.step([g]);
    ema.update();
  });
  for (let t = 0; t < steps; t++) await step(tensor([1, 0.5]));
}

function expected(decay: (t: number) => number, steps: number): number[] {
  const [w, average] = [
    [1, -2],
    [1, -2],
  ];
  for (let t = 1; t <= steps; t++) {
    [1, 0.5].forEach((g, i) => {
      w[i] -= g;
      average[i] = decay(t) * average[i] + (1 - decay(t)) * w[i];
    });
  }
  return average;
}

const averages = async (ema: EMA, w: Parameter) => ema.averaged(async () => [...(await w.data())]);

describe('EMA', () => {
  it('averages with a constant decay', async () => {
    const w = make();
    const ema = new EMA([w], { decay: 0.75 });
    await train(w, ema, 3);
    await expectNear(
      await averages(ema, w),
      expected(() => 0.75, 3),
      1e-6,
    );
  });

  it('warms its decay up', async () => {
    const w = make();
    const ema = new EMA([w], { decay: 0.3, warmUp: true });
    await train(w, ema, 5);
    await expectNear(
      await averages(ema, w),
      expected(t => Math.min(0.3, (1 + t) / (10 + t)), 5),
      1e-6,
    );
  });

  it('swaps in and out, also when the evaluation fails, and training goes on', async () => {
    const w = make();
    const ema = new EMA([w], { decay: 0.5 });
    await train(w, ema, 2);
    expect([...(await w.data())]).toEqual([-1, -3]);
    await expect(
      ema.averaged(() => {
        throw new Error('stop');
      }),
    ).rejects.toThrow('stop');
    expect([...(await w.data())]).toEqual([-1, -3]);
    const before = await averages(ema, w);
    await train(w, ema, 1);
    expect([...(await w.data())]).toEqual([-2, -3.5]);
    expect(await averages(ema, w)).toEqual(before.map((a, i) => 0.5 * a + 0.5 * [-2, -3.5][i]));
  });

  it('is unharmed by a step that recycles the parameters’ buffers', async () => {
    const w = make();
    const ema = new EMA([w], { decay: 0.5 });
    const optimizer = new SGD([w], { learningRate: 1 });
    const step = compile((g: Tensor) => optimizer.step([g]));
    for (let t = 0; t < 4; t++) await step(tensor([1, 0.5]));
    expect(await averages(ema, w)).toEqual([1, -2]);
  });

  it('saves and restores its state', async () => {
    const w = make();
    const ema = new EMA([w], { decay: 0.5, warmUp: true });
    await train(w, ema, 2);
    expect([...ema.stateDict().keys()]).toEqual(['count', 'w']);
    const saved = await Promise.all([...ema.stateDict()].map(async ([k, p]) => [k, await p.array()] as const));
    const other = new EMA([w], { decay: 0.5, warmUp: true }).loadStateDict(saved);
    await train(w, ema, 1);
    const again = new Parameter({ dtype: 'float32', shape: [2], data: Float32Array.of(-1, -3) }, { name: 'w' });
    const resumed = new EMA([again], { decay: 0.5, warmUp: true }).loadStateDict(
      await Promise.all([...other.stateDict()].map(async ([k, p]) => [k, await p.array()] as const)),
    );
    await train(again, resumed, 1);
    expect(await averages(resumed, again)).toEqual(await averages(ema, w));
  });

  it('refuses a decay outside [0, 1)', () => {
    expect(() => new EMA([make()], { decay: 1 })).toThrow('decay 1');
  });
});
