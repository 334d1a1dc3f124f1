import { type NDArray, Random } from '@gossamer/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { fit } from '../../experiments/fit.ts';
import { ConvNet } from '../../experiments/small-models.ts';
import { modelLayers } from '../../sparsity/index.ts';
import { accuracy, softmaxRows } from '../../train/calibration.ts';
import { restore, snapshot } from '../../train/snapshot.ts';
import { imp } from '../pruning/imp.ts';
import { featuresOf, linearProbe } from './linear-probe.ts';
import {
  type AdaptOptions,
  adapt,
  performanceGap,
  type Regime,
  type Source,
  type Target,
  ticketOptions,
} from './reprogram-lottery-tickets.ts';
import { Reprogrammed } from './reprogrammed.ts';
import { VisualPrompt } from './visual-prompt.ts';

/** Gratings in `classes` directions, with random phases, on noise. */
function gratings(n: number, classes: number, size: number, seed: number): ArrayDataset {
  const random = new Random(seed);
  const labels = random.integers(n, 0, classes);
  const phases = random.uniform(n, 0, 2 * Math.PI);
  const data = random.uniform(n * size * size, 0, 0.3);
  for (let at = 0; at < data.length; at++) {
    const i = Math.floor(at / size / size);
    const angle = (Math.PI * labels[i]) / classes;
    const along = Math.cos(angle) * (at % size) + Math.sin(angle) * (Math.floor(at / size) % size);
    data[at] += 0.35 * (1 + Math.sin((2 * Math.PI * 3 * along) / size + phases[i]));
  }
  const inputs: NDArray = { dtype: 'float32', shape: [n, 1, size, size], data };
  return new ArrayDataset({ inputs, labels: { dtype: 'int32', shape: [n], data: labels } });
}

const [mean, std] = [0.5, 0.27];
const scaled = (d: ArrayDataset) => {
  const { inputs, labels } = d.fields;
  return new ArrayDataset({
    inputs: { ...inputs, data: (inputs.data as Float32Array).map(v => (v - mean) / std) },
    labels,
  });
};
/** A network of 6 classes. */
const fresh = () => new ConvNet(1, [6, 12], new Random(1), 6);
const target: Target = { name: 'gratings', train: gratings(200, 4, 12, 5), test: gratings(150, 4, 12, 6), classes: 4 };
let source: Source;

beforeAll(async () => {
  const model = fresh();
  await fit(model, { train: scaled(gratings(400, 6, 12, 2)), epochs: 6, batchSize: 20, seed: 0 });
  source = { model, input: [1, 12, 12], mean, std, classes: 6 };
});

const quick: Record<Regime, Partial<AdaptOptions>> = {
  'linear-probe': { epochs: 20 },
  'visual-prompt': { epochs: 10, inner: 8 },
  'fine-tune': { epochs: 10 },
  'raw-pixels': { epochs: 20 },
};
const regimes = Object.keys(quick) as Regime[];

describe('adapt', () => {
  it.each(regimes)('%s: learns, leaves the network byte for byte as it was, and repeats itself', async regime => {
    const before = await snapshot(source.model);
    const options = { regime, shots: 16, ...quick[regime] };
    const found = await adapt(source, target, options);
    expect(await snapshot(source.model)).toEqual(before);
    expect(found.accuracy).toBeGreaterThan(0.3);
    const { logits, labels } = found.predictions;
    expect(logits.shape).toEqual([150, 4]);
    expect(accuracy(logits, labels)).toBe(found.accuracy);
    expect(found.ece).toBeGreaterThanOrEqual(0);
    expect(found.nll).toBeGreaterThan(0);
    expect((await adapt(source, target, options)).predictions.logits.data).toEqual(logits.data);
  });

  it('keeps the mode of the network and measures with running statistics', async () => {
    source.model.train();
    const training = await adapt(source, target, { regime: 'linear-probe', shots: 4, epochs: 5 });
    expect(source.model.training).toBe(true);
    source.model.eval();
    const evaluation = await adapt(source, target, { regime: 'linear-probe', shots: 4, epochs: 5 });
    expect(training.predictions.logits.data).toEqual(evaluation.predictions.logits.data);
  });

  it('maps iteratively with the prompt it trains: better than the first classes', async () => {
    const run = async (mapping: 'ilm' | 'rlm' | 'flm') =>
      adapt(source, target, { regime: 'visual-prompt', shots: 32, epochs: 30, inner: 8, mapping });
    const [ilm, flm, rlm] = [await run('ilm'), await run('flm'), await run('rlm')];
    expect(ilm.accuracy).toBeGreaterThan(Math.max(0.4, rlm.accuracy));
    for (const { reprogrammed } of [ilm, flm, rlm]) {
      const mapping = await reprogrammed!.mapping.data();
      expect(new Set(mapping).size).toBe(4);
    }
    expect(Array.from(await rlm.reprogrammed!.mapping.data())).toEqual([0, 1, 2, 3]);
  });

  it('does not care how source classes are numbered', async () => {
    const sigma = new Random(9).permutation(6);
    const model = fresh();
    restore(model, await snapshot(source.model));
    const move = async (p: (typeof model.head)['weight'], width: number) => {
      const [from, to] = [await p.data(), new Float32Array(p.size)];
      sigma.forEach((row, k) => {
        to.set(from.subarray(k * width, (k + 1) * width), row * width);
      });
      p.set(to);
    };
    await move(model.head.weight, 12);
    await move(model.head.bias!, 1);
    const options = { regime: 'visual-prompt', shots: 32, epochs: 5, inner: 8 } as const;
    const [a, b] = [await adapt(source, target, options), await adapt({ ...source, model }, target, options)];
    const [p, q] = [await a.reprogrammed!.mapping.data(), await b.reprogrammed!.mapping.data()];
    expect(Array.from(q)).toEqual(Array.from(p, k => sigma[k]));
    // Sums over the classes are rounded in another order.
    expect(Math.abs(b.accuracy - a.accuracy)).toBeLessThan(0.02);
  });

  it('reports a temperature apart, fitted on images that nothing was trained on', async () => {
    const options = { regime: 'linear-probe', shots: 20, epochs: 100, temperature: true } as const;
    const { scaled: cooled, accuracy: share, predictions, nll } = await adapt(source, target, options);
    expect(cooled!.temperature).toBeGreaterThan(0);
    expect(cooled!.nll).not.toBe(nll);
    const probabilities = softmaxRows(predictions.logits, cooled!.temperature);
    expect(accuracy(probabilities, predictions.labels)).toBe(share);
    await expect(adapt(source, target, { ...options, shots: 4 })).rejects.toThrow('5 shots or more');
  });

  it('refuses too few source classes, too few images, and other channels', async () => {
    const many: Target = { ...target, train: gratings(300, 9, 12, 1), classes: 9 };
    await expect(adapt(source, many, { regime: 'visual-prompt', inner: 8 })).rejects.toThrow('9 target classes cannot');
    await expect(adapt(source, target, { regime: 'linear-probe', shots: 100 })).rejects.toThrow('samples, 100 of each');
    const grey = { ...source, input: [3, 12, 12] as const };
    await expect(adapt(grey, target, { regime: 'linear-probe' })).rejects.toThrow('expected [n, 3');
    await expect(adapt(source, target, { regime: 'osmosis' as Regime })).rejects.toThrow("regime 'osmosis'");
  });
});

describe('Reprogrammed', () => {
  const prompt = () => new VisualPrompt({ source: [1, 12, 12], inner: 8, mean, std });
  it('trains δ alone and refuses a source in training mode or a mapping that is not injective', () => {
    const model = new Reprogrammed(source.model.eval(), prompt(), Int32Array.of(3, 1));
    expect(model.parameters().map(p => p.name)).toEqual(['prompt.delta']);
    model.train();
    expect(source.model.training).toBe(false);
    expect(() => new Reprogrammed(source.model, prompt(), Int32Array.of(1, 1))).toThrow('twice');
    expect(() => new Reprogrammed(source.model.train(), prompt(), Int32Array.of(0, 1))).toThrow('training mode');
    source.model.eval();
  });
});

describe('linearProbe', () => {
  it('separates features that are separable, in few shots, too', async () => {
    const features = await featuresOf(source.model, scaled(gratings(200, 6, 12, 8)));
    expect(features.fields.inputs.shape).toEqual([200, 12]);
    const head = await linearProbe(features, { classes: 6, epochs: 30 });
    expect(head.weight.shape).toEqual([6, 12]);
    const one = new ArrayDataset({
      inputs: { dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, 0, 0, 1) },
      labels: { dtype: 'int32', shape: [2], data: Int32Array.of(1, 0) },
    });
    const [w] = [await (await linearProbe(one, { classes: 2 })).weight.data()];
    expect(w[2]).toBeGreaterThan(w[0]);
    await expect(linearProbe(one, { classes: 2, rates: [] })).rejects.toThrow('no learning rates');
  });
});

it('performanceGap is paired, and significant if its mean exceeds its deviation', () => {
  expect(performanceGap([0.9, 0.8], [0.8, 0.7]).mean).toBeCloseTo(0.1, 12);
  expect(performanceGap([0.9, 0.8, 0.7], [0.8, 0.7, 0.6]).isSignificant).toBe(true);
  expect(performanceGap([0.9, 0.5], [0.5, 0.8]).isSignificant).toBe(false);
  expect(() => performanceGap([1], [])).toThrow('1 dense and 0');
});

it.each(['imp-rewind', 'one-shot-magnitude', 'random-mask'] as const)('tickets by %s have exact counts', async kind => {
  const model = fresh();
  const data = scaled(gratings(80, 6, 12, 2));
  const inputs = [{ dtype: 'float32' as const, shape: [1, 1, 12, 12] }];
  const total = (await modelLayers(model, inputs)).layers.reduce((n, l) => n + l.values.length, 0);
  const seen: number[] = [];
  const rounds = imp({
    ...ticketOptions(kind, 3),
    model,
    inputs,
    train: ({ sparsifiers, round }) => fit(model, { train: data, steps: 3, batchSize: 20, seed: round, sparsifiers }),
  });
  for await (const { mask } of rounds) if (mask) seen.push(mask.kept());
  const expected = [1, 2, 3].map(r => total - Math.round((1 - 0.8 ** r) * total));
  expect(seen).toEqual(kind === 'imp-rewind' ? expected : expected.slice(2));
});
