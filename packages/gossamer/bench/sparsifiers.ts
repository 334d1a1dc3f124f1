// What sparsifiers add to a training step at the size of ResNet-20, and how long one-shot pruning of 15 M weights takes.
//   npm run bench:sparsifiers [-- --only rigl,set --steps 24 --json --out file.json]

import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { Random, writeFile } from '@gossamer/tensor';
import { type SparsifierClass, sparsifierClass } from '../src/cli/sparsifier.ts';
import { ArrayDataset } from '../src/data/dataset.ts';
import { discoverMethods } from '../src/methods/method.ts';
import { CifarResNet } from '../src/models/resnet-cifar.ts';
import { SGD } from '../src/optim/index.ts';
import { lamp, layer, magnitude, type PruneOptions, prune, randomScore } from '../src/sparsity/index.ts';
import type { Sparsifier } from '../src/sparsity/sparsifier.ts';
import { progressBars } from '../src/train/progress.ts';
import { classification } from '../src/train/task.ts';
import { Trainer } from '../src/train/trainer.ts';
import {
  formatSparsifierBench,
  type OneShotRow,
  type SparsifierBench,
  type SparsifierRow,
} from './sparsifier-format.ts';
import { TimedLoader, Turns } from './turns.ts';

const { values: args } = parseArgs({
  options: {
    only: { type: 'string' },
    steps: { type: 'string', default: '24' },
    json: { type: 'boolean', default: false },
    out: { type: 'string' },
  },
});
const WARM_UP = 6;
const steps = Number(args.steps);
const SPARSITY = 0.9;
/** Steps between updates in the bench, so that there are some to be timed, and in use: the usual default. */
const SHORT_INTERVAL = 6;
const INTERVAL = 100;
/** Trainings that take turns: one dense and these. */
const TOGETHER = 3;

const random = new Random(0);
const batchSize = 64;
const images = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [2 * batchSize, 3, 32, 32], data: random.normal(2 * batchSize * 3072) },
  labels: { dtype: 'int32', shape: [2 * batchSize], data: random.integers(2 * batchSize, 0, 10) },
});

interface Timed {
  readonly times: readonly number[];
  /** At which steps the mask changed before the step. */
  readonly changed: ReadonlySet<number>;
}

async function train(turns: Turns, place: number, sparsifier?: Sparsifier): Promise<Timed> {
  const changed = new Set<number>();
  if (sparsifier) {
    const update = sparsifier.update?.bind(sparsifier);
    sparsifier.update = async training => {
      const before = sparsifier.mask;
      await update?.(training);
      if (sparsifier.mask !== before) changed.add(training.step);
    };
  }
  const loader = new TimedLoader(turns, place, images, { batchSize, shuffle: true });
  const model = new CifarResNet({ depth: 20, width: 16, random: new Random(1) });
  try {
    await new Trainer({
      model,
      task: classification(),
      train: loader,
      optimizer: new SGD(model.parameters(), { learningRate: 0.01, momentum: 0.9, weightDecay: 5e-4 }),
      steps: WARM_UP + steps,
      sparsifiers: sparsifier ? [sparsifier] : [],
    }).run();
  } finally {
    turns.leave(place);
  }
  return { times: loader.times, changed };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];

/** Steps are compared with the dense step of the same round: what slows the machine down slows both. */
function rowOf(slug: string, dense: Timed, { times, changed }: Timed): SparsifierRow {
  const late = times.map((ms, step) => ({ ms, step, ratio: ms / dense.times[step] })).slice(WARM_UP);
  const denseMs = median(dense.times.slice(WARM_UP));
  const [still, updating] = [false, true].map(which => late.filter(t => changed.has(t.step) === which));
  // A method that changes its mask at every step, or never, has one kind of steps only.
  const [usual, others] = still.length > 0 ? [still, updating] : [updating, still];
  const stepMs = median(usual.map(t => t.ms));
  const added = median(usual.map(t => t.ratio)) - 1;
  if (others.length === 0) return { slug, denseMs, stepMs, interval: 1, overhead: added };
  const interval = others.length > late.length / 2 ? 1 : INTERVAL;
  const update = Math.max(0, median(others.map(t => t.ratio)) - 1 - added);
  return { slug, denseMs, stepMs, updateMs: update * denseMs, interval, overhead: added + update / interval };
}

/** With all that lets it work at this length on a network that was never trained, of the options that it has. */
function construct(Class: SparsifierClass): Sparsifier {
  const wanted = { sparsity: SPARSITY, interval: SHORT_INTERVAL, every: SHORT_INTERVAL, untrained: true };
  const has = Class.options ?? ['sparsity'];
  return new Class(Object.fromEntries(Object.entries(wanted).filter(([name]) => has.includes(name))));
}

async function trainingRows(): Promise<Pick<SparsifierBench, 'rows' | 'leftOut'>> {
  const only = args.only?.split(',');
  const all = (await discoverMethods()).flatMap(m => {
    const Class = sparsifierClass(m);
    return Class && (!only || only.includes(m.slug)) ? [{ slug: m.slug, Class }] : [];
  });
  const rows: SparsifierRow[] = [];
  const leftOut: { slug: string; reason: string }[] = [];
  using progress = await progressBars();
  using bar = progress.start('sparsifiers', all.length);
  for (let from = 0; from < all.length; from += TOGETHER) {
    const group = all.slice(from, from + TOGETHER);
    const turns = new Turns(group.length + 1);
    const found = await Promise.all([
      train(turns, 0),
      ...group.map(async ({ slug, Class }, i) => {
        try {
          return await train(turns, i + 1, construct(Class));
        } catch (error) {
          turns.leave(i + 1);
          leftOut.push({ slug, reason: (error as Error).message });
          return undefined;
        }
      }),
    ]);
    const [dense, ...others] = found;
    others.forEach((timed, i) => {
      if (timed) rows.push(rowOf(group[i].slug, dense!, timed));
    });
    bar.update(from + group.length);
  }
  return { rows, leftOut };
}

/** The weights of a language model of 15 M parameters: 32,000 words, 6 layers of width 288. */
function oneShot(): SparsifierBench['oneShot'] {
  const weights = (name: string, out: number, inputs: number) =>
    layer(name, [out, inputs], new Random(2).fork(name).normal(out * inputs));
  const layers = [
    weights('embedding', 32_000, 288),
    ...Array.from({ length: 6 }, (_, i) => [
      ...['q', 'k', 'v', 'o'].map(name => weights(`${i}.${name}`, 288, 288)),
      ...['gate', 'up'].map(name => weights(`${i}.${name}`, 768, 288)),
      weights(`${i}.down`, 288, 768),
    ]).flat(),
  ];
  const score = { magnitude, lamp, random: (v: Float32Array) => randomScore(v.length, new Random(3)) };
  const cases: [string, keyof typeof score, PruneOptions][] = [
    ['magnitude, each layer to 90 %', 'magnitude', { sparsity: SPARSITY, allocation: 'uniform' }],
    ['magnitude, one ranking, 90 %', 'magnitude', { sparsity: SPARSITY, allocation: 'global' }],
    ['magnitude, ERK, 90 %', 'magnitude', { sparsity: SPARSITY, allocation: 'erk' }],
    ['magnitude, 2:4', 'magnitude', { granularity: '2:4' }],
    ['magnitude, blocks of 4×1, 90 %', 'magnitude', { sparsity: SPARSITY, granularity: 'block:4x1' }],
    ['LAMP, one ranking, 90 %', 'lamp', { sparsity: SPARSITY, allocation: 'global' }],
    ['random, each layer to 90 %', 'random', { sparsity: SPARSITY, allocation: 'uniform' }],
  ];
  const rows = cases.map(([name, by, options]): OneShotRow => {
    const times = Array.from({ length: 3 }, () => {
      const start = performance.now();
      const mask = prune(layers, l => score[by](l.values), options);
      for (const l of layers) mask.apply(l.name, l.values.slice());
      return (performance.now() - start) / 1000;
    });
    return { name, seconds: median(times) };
  });
  return { parameters: layers.reduce((n, l) => n + l.values.length, 0), rows };
}

const { model: cpu } = cpus()[0];
const bench: SparsifierBench = {
  command: 'npm run bench:sparsifiers',
  machine: `${availableParallelism()} × ${cpu.trim()}`,
  date: new Date().toISOString().slice(0, 10),
  threads: process.env.GOSSAMER_THREADS ?? 'all',
  steps,
  parameters: new CifarResNet({ depth: 20, width: 16 }).parameters().reduce((n, p) => n + p.size, 0),
  ...(await trainingRows()),
  oneShot: oneShot(),
};
const json = JSON.stringify(bench, null, 1);
if (args.out !== undefined) await writeFile(args.out, [new TextEncoder().encode(`${json}\n`)]);
process.stdout.write(`${args.json ? json : formatSparsifierBench(bench)}\n`);
