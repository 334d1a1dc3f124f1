import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSafetensors, Random, type Tensor } from '@gossamer/tensor';
import { readOnnx } from '@gossamer/tensor/onnx';
import { afterAll, describe, expect, it } from 'vitest';
import { writeModel } from '../cli/train.ts';
import { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { GraNet } from '../methods/sparse-training/granet.ts';
import { RigL } from '../methods/sparse-training/rigl.ts';
import { SET } from '../methods/sparse-training/set.ts';
import { Conv2d } from '../nn/conv.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { Adam, SGD } from '../optim/index.ts';
import { classification } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';
import { type Granularity, type NM, parseGranularity, unitsOf } from './granularity.ts';
import {
  type Allocation,
  type Layer,
  type Mask,
  type MaskedSparsifier,
  modelLayers,
  prune,
  ScheduledPruning,
  StaticMask,
} from './index.ts';
import { layoutOf } from './layer.ts';
import { unitsAlive } from './prune.ts';
import { scheduleKinds } from './schedule.ts';
import { scorers } from './scorers.ts';

// Every score × schedule × pattern × allocation × kind of sparsifier, drawn at random on random networks: what a training
// leaves behind is exact, in memory and in files.

/** A convolution, a depth-wise and a grouped one, two linear layers, of random widths. */
class Net extends Module {
  readonly conv: Conv2d;
  readonly depthwise: Conv2d;
  readonly grouped: Conv2d;
  readonly fc: Linear;
  readonly head: Linear;

  constructor(random: Random) {
    super();
    const [a, b, c] = random.integers(3, 2, 4).map(n => 4 * n);
    // Wide enough for `uniform+` to leave the first layer dense.
    const hidden = 4 * c;
    this.conv = new Conv2d(4, a, 3, { padding: 1, random: random.fork('conv') });
    this.depthwise = new Conv2d(a, a, 3, { padding: 1, groups: a, random: random.fork('depthwise') });
    this.grouped = new Conv2d(a, 2 * b, 1, { groups: 2, random: random.fork('grouped') });
    this.fc = new Linear(2 * b * 4, hidden, { random: random.fork('fc') });
    this.head = new Linear(hidden, 4, { random: random.fork('head') });
  }

  override forward(x: Tensor): Tensor {
    const h = this.grouped.forward(this.depthwise.forward(this.conv.forward(x).relu())).relu();
    return this.head.forward(this.fc.forward(h.flatten()).relu());
  }
}

const seed = Number(process.env.GOSSAMER_SEED ?? 20_240_611);
const axes = {
  score: Object.keys(scorers) as (keyof typeof scorers)[],
  kind: scheduleKinds,
  pattern: ['element', '2:4:pad', '1:4:pad', '2:4:out', '1:4:out', 'block:4x1', 'filter', 'channel', 'kernel'],
  allocation: ['uniform', 'uniform+', 'er', 'erk', 'global'] satisfies Allocation[],
  sparsifier: ['scheduled', 'nested', 'rigl', 'set', 'granet', 'granet from half', 'static'],
  optimizer: ['sgd', 'adam'],
} as const;
type Combination = { readonly [A in keyof typeof axes]: (typeof axes)[A][number] };

const coarse: readonly string[] = ['filter', 'channel', 'kernel'];

/** As many combinations as asked for, in which all values of an axis come equally often. */
function combinations(count: number): Combination[] {
  const random = new Random(seed);
  const columns = Object.entries(axes).map(([axis, values]) => {
    const order = random.fork(axis).permutation(count);
    return [axis, (i: number) => values[order[i] % values.length]] as const;
  });
  const drawn = Array.from({ length: count }, (_, i) => Object.fromEntries(columns.map(([axis, at]) => [axis, at(i)])));
  return (drawn as unknown as Combination[]).map(c => ({
    ...c,
    // A pattern leaves no layer dense, and `prune` says so.
    ...(c.allocation === 'uniform+' && isNM(parseGranularity(c.pattern)) && { allocation: 'erk' }),
    // Without a path from input to output there is no synaptic flow: small networks lose it with whole filters.
    ...(c.score === 'synflow' && coarse.includes(c.pattern) && { score: 'magnitude' }),
  }));
}

const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [48, 4, 2, 2], data: new Random(1).normal(48 * 16) },
  labels: { dtype: 'int32', shape: [48], data: new Random(2).integers(48, 0, 4) },
});
const input = { dtype: 'float32', shape: [1, 4, 2, 2] } as const;
const steps = 8;

const isNM = (g: Granularity): g is NM => g.kind === 'nm';

/** The final sparsity: for a pattern its own, or beyond it. */
function sparsityOf(pattern: Granularity, random: Random): number {
  const [u] = random.uniform(1);
  if (!isNM(pattern)) return 0.5 + 0.2 * u;
  const own = 1 - pattern.n / pattern.m;
  return u < 0.5 ? own : own + 0.1 * u * (1 - own);
}

async function make(c: Combination, sparsity: number, model: Module): Promise<MaskedSparsifier> {
  const common = { sparsity, granularity: c.pattern, score: scorers[c.score] };
  // Before training nothing is ranked globally.
  const start = c.allocation === 'global' ? 'uniform' : c.allocation;
  const schedule = { kind: c.kind, every: 2, rate: 0.45, ...(c.kind === 'iterative' ? {} : { end: 6 }) };
  switch (c.sparsifier) {
    case 'scheduled':
    case 'nested':
      return new ScheduledPruning({
        ...common,
        ...schedule,
        allocation: c.allocation,
        regrow: c.sparsifier === 'scheduled',
      });
    case 'rigl':
      return new RigL({ ...common, allocation: start, interval: 2, until: 1 });
    case 'set':
      return new SET({ sparsity, granularity: c.pattern, allocation: start, interval: 2 });
    case 'static': {
      const { layers } = await modelLayers(model, [input]);
      return new StaticMask(prune(layers, l => l.values.map(Math.abs), { ...common, allocation: c.allocation }));
    }
    default: {
      const initial = c.sparsifier === 'granet' ? 0 : 0.4;
      const { every: interval, ...rest } = schedule;
      return new GraNet({ ...common, ...rest, interval, initial, allocation: c.allocation, distribution: start });
    }
  }
}

/** Units that live, of how many, by layer; counted from the elements. */
const units = (layers: readonly Layer[], mask: Mask, pattern: Granularity) =>
  layers.map(l => {
    const division = unitsOf(l, pattern);
    const alive = unitsAlive(mask.get(l.name), division);
    const live = alive.reduce((n, k) => n + k, 0);
    expect(
      mask.get(l.name).every((k, e) => k === alive[division.of?.[e] ?? e]),
      `${l.name}: units live whole`,
    ).toBe(true);
    return { live, of: division.count };
  });

/** The most that live in any m neighbours along the pattern's axis. */
function fullestRun(l: Layer, keep: Uint8Array, { m, axis = 'in' }: NM): number {
  const { out, in: inputs, kernel, outStride, inStride, kernelOffset } = layoutOf(l);
  let most = 0;
  for (let o = 0; o < out; o += axis === 'out' ? m : 1) {
    for (let i = 0; i < inputs; i += axis === 'in' ? m : 1) {
      for (let k = 0; k < kernel; k++) {
        let live = 0;
        for (let j = 0; j < m; j++) {
          const [row, column] = axis === 'in' ? [o, i + j] : [o + j, i];
          if (row < out && column < inputs) live += keep[row * outStride + column * inStride + kernelOffset[k]];
        }
        most = Math.max(most, live);
      }
    }
  }
  return most;
}

const folder = mkdtempSync(join(tmpdir(), 'gossamer-combinations-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe(`combinations of the sparsity vocabulary (GOSSAMER_SEED=${seed})`, () => {
  const all = combinations(54).map((c, i) => [`${i}: ${Object.values(c).join(', ')}`, c, i] as const);

  it.each(all)('%s', async (_, c, i) => {
    const random = new Random(seed).fork(i);
    const model = new Net(random.fork('model'));
    const pattern = parseGranularity(c.pattern);
    const sparsity = sparsityOf(pattern, random);
    const sparsifier = await make(c, sparsity, model);
    const rate = { learningRate: 0.01 };
    const optimizer =
      c.optimizer === 'sgd'
        ? new SGD(model.parameters(), { ...rate, momentum: 0.9, weightDecay: 0.01 })
        : new Adam(model.parameters(), rate);
    const train = new DataLoader(data, { batchSize: 12, shuffle: true, seed: i });
    await new Trainer({
      model,
      task: classification(),
      train,
      optimizer,
      steps,
      sparsifiers: [sparsifier],
      seed: i,
    }).run();

    const { layers, parameters } = await modelLayers(model, [input]);
    const mask = sparsifier.mask!;
    expect(mask.names.toSorted()).toEqual(layers.map(l => l.name).toSorted());

    // Counts.
    const counts = units(layers, mask, pattern);
    const round = c.sparsifier.startsWith('granet') ? Math.ceil : Math.round;
    const gone = (n: number) => round(sparsity * n - 1e-9);
    const fromStart = c.sparsifier === 'rigl' || c.sparsifier === 'set';
    const byLayer = c.allocation === 'uniform' || (c.allocation === 'global' && fromStart);
    const expected = byLayer
      ? counts.reduce((n, u) => n + u.of - gone(u.of), 0)
      : counts.reduce((n, u) => n + u.of, 0) - gone(counts.reduce((n, u) => n + u.of, 0));
    const live = counts.reduce((n, u) => n + u.live, 0);
    expect(live, 'live units').toBe(expected);
    if (isNM(pattern))
      for (const l of layers) expect(fullestRun(l, mask.get(l.name), pattern), l.name).toBeLessThanOrEqual(pattern.n);

    // Zeros in parameters, optimiser state and files.
    const files = await writeModel(folder, model, { name: 'x', ...input });
    await using weights = await openSafetensors(files[0]);
    const { graph } = await readOnnx(files[1]);
    for (const [name, { keep }] of mask.entries()) {
      const parameter = parameters.get(name)!;
      const states = await Promise.all(optimizer.stateOf(parameter).map(s => s.data()));
      const arrays = {
        parameter: await parameter.data(),
        safetensors: (await weights.read(name)).data,
        onnx: graph.initializers.get(name)!.data,
        ...Object.fromEntries(states.flatMap((s, k) => (s.length === keep.length ? [[`state ${k}`, s]] : []))),
      };
      expect(Object.keys(arrays).length).toBeGreaterThan(3);
      for (const [where, values] of Object.entries(arrays)) {
        let left = 0;
        for (let e = 0; e < keep.length; e++) if (keep[e] === 0 && Number(values[e]) !== 0) left++;
        expect(left, `${name}: masked values that are not zero in ${where}`).toBe(0);
      }
    }
  });
});
