import { gradients, Random, substitute, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { modelLayers } from '../../sparsity/model.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import { classification } from '../../train/task.ts';
import { SRSTE } from './sr-ste.ts';
import { STE } from './ste.ts';
import { data, Net, sgd, watch } from './testing.ts';

/** The gradient that the optimiser would get for `h.0.mlp.fc1.weight`, and what belongs to it. */
async function gradientOf(sparsifier: STE) {
  const model = new Net();
  const layers = await modelLayers(model, [{ dtype: 'float32', shape: [1, 32] }]);
  const training = { model, layers, optimizer: sgd(model), step: 0, steps: 10, rate: 1, random: new Random(0) };
  await sparsifier.prepare(training as unknown as Training);
  await sparsifier.update(training as unknown as Training);
  const parameter = layers.parameters.get('h.0.mlp.fc1.weight')!;
  const { inputs, labels } = await data.all();
  const batch = { inputs: tensor(inputs), labels: tensor(labels) };
  const effective = new Map([...layers.parameters.values()].map(p => [p, sparsifier.effective(p, p)]));
  const { loss } = substitute(effective, () => classification()(model, batch));
  const [through] = gradients(loss, [parameter]);
  const [direct] = gradients(loss, [effective.get(parameter)!]);
  return {
    total: await sparsifier.gradient(parameter, through).data(),
    direct: await direct.data(),
    values: await parameter.data(),
    keep: sparsifier.mask!.get(parameter.name),
  };
}

describe('SR-STE', () => {
  it('its gradient is that of the effective weight and of ½·λ·‖(1 − m) ⊙ W‖², by finite differences', async () => {
    const lambda = 0.3;
    const { total, direct, values, keep } = await gradientOf(new SRSTE({ granularity: '1:4', lambda }));
    const penalty = (w: Float64Array) => w.reduce((sum, v, i) => sum + (keep[i] ? 0 : (lambda / 2) * v * v), 0);
    const w = Float64Array.from(values);
    for (const i of [0, 1, 2, 3, 100, 101, 102, 103, 2047]) {
      const at = (h: number) => penalty(w.with(i, w[i] + h));
      expect(total[i] - direct[i]).toBeCloseTo((at(1e-4) - at(-1e-4)) / 2e-4, 5);
    }
    expect(keep.some((k, i) => k === 0 && direct[i] !== 0)).toBe(true);
  });

  it('with λ = 0 it is STE, bit for bit', async () => {
    const a = await watch(new SRSTE({ granularity: '2:4', lambda: 0 }), { steps: 12 });
    const b = await watch(new STE({ granularity: '2:4' }), { steps: 12 });
    expect(a.weights).toEqual(b.weights);
    const c = await watch(new SRSTE({ granularity: '2:4', lambda: 0.1 }), { steps: 12 });
    expect(c.weights).not.toEqual(b.weights);
  });

  it('pulls pruned weights to zero', async () => {
    const size = async (lambda: number) => {
      const { seen } = await watch(new SRSTE({ granularity: '1:8', lambda }), { steps: 30 });
      const { values, keep } = seen.at(-1)!;
      return [...keep].reduce(
        (sum, [n, k]) => sum + k.reduce((s, on, i) => s + (on ? 0 : values.get(n)![i] ** 2), 0),
        0,
      );
    };
    expect(await size(0.5)).toBeLessThan(0.5 * (await size(0)));
  });

  it('refuses a negative λ', () => {
    expect(() => new SRSTE({ granularity: '2:4', lambda: -1 })).toThrow('lambda -1; expected 0 or more');
    expect(new SRSTE({ granularity: '2:4' }).name).toBe('sr-ste');
  });
});
