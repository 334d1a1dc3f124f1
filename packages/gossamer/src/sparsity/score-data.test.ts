import { gradients, maximum, type NDArray, Parameter, Random, type Tensor, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { MLP } from '../nn/container.ts';
import { Conv2d } from '../nn/conv.ts';
import { Module } from '../nn/module.ts';
import { classification } from '../train/task.ts';
import { modelLayers } from './model.ts';
import { type Calibration, hessianGradients, inputNorms, lossGradients, squaredGradients } from './score-data.ts';

const random = new Random(5);
const inputs: NDArray = { dtype: 'float32', shape: [7, 6], data: random.normal(42) };
const labels: NDArray = { dtype: 'int32', shape: [7], data: random.integers(7, 0, 3) };
const rows = (array: NDArray, from: number, to: number): NDArray => {
  const width = array.data.length / array.shape[0];
  const data = array.data.slice(from * width, to * width) as Float32Array;
  return { ...array, shape: [to - from, ...array.shape.slice(1)], data };
};
const batches = [
  [0, 3],
  [3, 6],
  [6, 7],
].map(([a, b]) => ({ inputs: rows(inputs, a, b), labels: rows(labels, a, b) }));
const all = { inputs, labels };

async function network(): Promise<Calibration & { model: MLP }> {
  const model = new MLP([6, 5, 3], { random: new Random(1), activation: () => new Smooth() });
  return {
    model,
    task: classification(),
    batches,
    layers: await modelLayers(model, [{ dtype: 'float32', shape: [1, 6] }]),
  };
}

/** Twice differentiable, for comparisons with finite differences. */
class Smooth extends Module {
  override forward(x: Tensor): Tensor {
    return x.tanh();
  }
}

const weights = (c: Calibration) => [...c.layers.parameters.values()];
const loss = (c: Calibration, batch = all) =>
  c.task(c.model as Module, { inputs: tensor(batch.inputs), labels: tensor(batch.labels) }).loss;

/** The gradient of one batch, with plain eager tensors. */
async function gradientOf(c: Calibration, batch = all): Promise<Float32Array[]> {
  return Promise.all(gradients(loss(c, batch), weights(c)).map(g => g.data()));
}

function expectNear(actual: Iterable<Float32Array>, expected: readonly ArrayLike<number>[], tolerance = 1e-5): void {
  const list = [...actual];
  expect(list.length).toBe(expected.length);
  list.forEach((a, i) => {
    expect(a.length).toBe(expected[i].length);
    const scale = Math.max(...Array.from(expected[i], Math.abs));
    expect(scale).toBeGreaterThan(0);
    a.forEach((v, j) => {
      expect(Math.abs(v - expected[i][j])).toBeLessThanOrEqual(tolerance * scale);
    });
  });
}

describe('calibration data', () => {
  it('averages gradients over samples, with a smaller last batch', async () => {
    const c = await network();
    expectNear((await lossGradients(c)).values(), await gradientOf(c));
  });

  it('squares gradients of single samples or of batches', async () => {
    const c = await network();
    const mean = async (parts: readonly [from: number, to: number][]) => {
      const sums = weights(c).map(p => new Float64Array(p.size));
      for (const [from, to] of parts) {
        const g = await gradientOf(c, { inputs: rows(inputs, from, to), labels: rows(labels, from, to) });
        g.forEach((data, i) => {
          for (const [j, v] of data.entries()) sums[i][j] += ((to - from) / 7) * v * v;
        });
      }
      return sums;
    };
    const single = Array.from({ length: 7 }, (_, i) => [i, i + 1] as [number, number]);
    expectNear((await squaredGradients(c)).values(), await mean(single));
    const whole = await squaredGradients(c, { over: 'batches' });
    expectNear(whole.values(), await mean([[0, 3], [3, 6], [6, 7]])); // biome-ignore format: the batches above
  });

  it('gives the Hessian times the gradient', async () => {
    const c = await network();
    const hg = await hessianGradients(c);
    const g = await gradientOf(c);
    const at = async (step: number) => {
      const before = await Promise.all(weights(c).map(async p => (await p.data()).slice()));
      for (const [i, p] of weights(c).entries()) p.set(before[i].map((w, j) => w + step * g[i][j]));
      const result = await gradientOf(c);
      for (const [i, p] of weights(c).entries()) p.set(before[i]);
      return result;
    };
    const [plus, minus] = [await at(0.05), await at(-0.05)];
    expectNear(
      hg.values(),
      plus.map((p, i) => p.map((v, j) => (v - minus[i][j]) / 0.1)),
      2e-3,
    );
  });

  it('measures the inputs of each weight, however the product is written', async () => {
    const w1 = new Parameter({ dtype: 'float32', shape: [6, 4], data: new Random(2).normal(24) }, { name: 'w1' });
    const w2 = new Parameter({ dtype: 'float32', shape: [3, 4], data: new Random(3).normal(12) }, { name: 'w2' });
    // x·W₁ and, transposed, W₂·hᵀ.
    const hidden = (x: Tensor) => maximum(x.matmul(w1), 0);
    const model = (x: Tensor) => w2.matmul(hidden(x).transpose()).transpose();
    const layers = await modelLayers(model, [{ dtype: 'float32', shape: [1, 6] }]);
    const norms = await inputNorms({ model, task: classification(), batches, layers });
    const columns = async (x: Tensor) => (await x.square().sum(0).sqrt().data()) as Float32Array;
    const expected = [await columns(tensor(inputs)), await columns(hidden(tensor(inputs)))];
    expectNear([norms.get('w1')!, norms.get('w2')!], expected);
  });

  it('takes pixels and groups of a convolution together by channel', async () => {
    const [plain, grouped] = [new Conv2d(4, 2, 3), new Conv2d(4, 2, 3, { groups: 2 })];
    const images: NDArray = { dtype: 'float32', shape: [2, 4, 5, 5], data: new Random(8).normal(200) };
    const model = (x: Tensor) => plain.forward(x).add(grouped.forward(x)).mean([2, 3]);
    plain.weight.name = 'plain';
    grouped.weight.name = 'grouped';
    const layers = await modelLayers(model, [{ dtype: 'float32', shape: [1, 4, 5, 5] }]);
    const batch = { inputs: images, labels: { dtype: 'int32', shape: [2], data: Int32Array.of(0, 1) } as NDArray };
    const norms = await inputNorms({ model, task: classification(), batches: [batch], layers });
    const channels = Array.from(await tensor(images).square().sum([0, 2, 3]).data());
    expectNear([norms.get('plain')!], [channels.map(Math.sqrt)]);
    const groups = [channels[0] + channels[2], channels[1] + channels[3]];
    expectNear([norms.get('grouped')!], [groups.map(Math.sqrt)]);
  });

  it('sees batch statistics in training mode but moves nothing', async () => {
    class Centred extends Module {
      readonly net = new MLP([6, 3], { random: new Random(1) });
      readonly runningMean = new Parameter(
        { dtype: 'float32', shape: [6], data: new Float32Array(6) },
        { trainable: false },
      );
      override forward(x: Tensor): Tensor {
        const mean = this.training ? x.mean(0) : this.runningMean;
        if (this.training) this.runningMean.assign(this.runningMean.mul(0.9).add(mean.mul(0.1)));
        return this.net.forward(x.sub(mean));
      }
    }
    const model = new Centred().eval();
    const layers = await modelLayers(model, [{ dtype: 'float32', shape: [1, 6] }]);
    const c = { model, task: classification(), batches: [all], layers };
    const inference = await lossGradients(c);
    expectNear(inference.values(), await gradientOf(c));
    const training = await lossGradients({ ...c, mode: 'train' });
    expect(training.get('net.layers.0.weight')).not.toEqual(inference.get('net.layers.0.weight'));
    expect(Array.from(await model.runningMean.data())).toEqual([0, 0, 0, 0, 0, 0]);
    expect([...model.namedModules()].every(([, m]) => !m.training)).toBe(true);
  });

  it('refuses to look at nothing', async () => {
    await expect(lossGradients({ ...(await network()), batches: [] })).rejects.toThrow('there are no batches');
  });
});
