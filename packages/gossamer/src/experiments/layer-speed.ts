import { InferenceSession, Tensor as RuntimeTensor } from '@gossamer/runtime';
import { conv, encodeOnnx, exportOnnx, Parameter, Random, type Tensor } from '@gossamer/tensor';
import type { Granularity } from '../sparsity/granularity.ts';
import { magnitude } from '../sparsity/index.ts';
import { layer } from '../sparsity/layer.ts';
import { prune } from '../sparsity/prune.ts';
import { statistics } from '../statistics.ts';
import { type Condition, type Job, type Measures, type Outcome, summarize, type Table } from './experiment.ts';

// Single convolutions of real size on this project's runtime: sparse kernels beside its own dense one.

/** A convolution at stride 1 that keeps the size of its square input. */
export interface LayerShape {
  readonly channels: number;
  readonly filters: number;
  /** Height and width. */
  readonly size: number;
  /** Default 1. */
  readonly kernel?: number;
}

/** `512 → 512, 14²`, with the kernel where it is not 1×1. */
export const shapeName = ({ channels, filters, size, kernel = 1 }: LayerShape): string =>
  `${channels} → ${filters}${kernel > 1 ? `, ${kernel}×${kernel}` : ''}, ${size}²`;

/** 1×1 convolutions of MobileNetV1 1.0 at 224×224. */
export const mobileNetShapes: readonly LayerShape[] = [
  { channels: 64, filters: 128, size: 56 },
  { channels: 128, filters: 256, size: 28 },
  { channels: 256, filters: 256, size: 28 },
  { channels: 512, filters: 512, size: 14 },
  { channels: 1024, filters: 1024, size: 7 },
];

const WARM_UP_MS = 150;

/** One convolution as a file, its weights pruned by magnitude. */
async function file({ channels, filters, size, kernel = 1 }: LayerShape, sparsity: number, granularity: Granularity) {
  const shape = [filters, channels, kernel, kernel];
  const values = new Random(0).normal(filters * channels * kernel * kernel);
  const l = layer('weight', shape, values);
  if (sparsity > 0) prune([l], () => magnitude(values), { sparsity, granularity }).apply('weight', values);
  const weight = new Parameter({ dtype: 'float32', shape, data: values }, { name: 'weight' });
  const padding = (kernel - 1) / 2;
  const x = { dtype: 'float32', shape: [1, channels, size, size] } as const;
  return encodeOnnx(await exportOnnx((t: Tensor) => conv(t, weight, { padding }), { x }, { batch: null }));
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/**
 * Times a layer sparse and dense in turns on one thread; both have the same zeros. `ms` and `dense` are medians of the
 * kernels' own times, `speedup` is their ratio, `gflops` counts the operations on non-zeros only.
 */
export async function timeLayer(
  shape: LayerShape,
  sparsity: number,
  granularity: Granularity,
  rounds: number,
): Promise<Measures> {
  const bytes = await file(shape, sparsity, granularity);
  const kernels = granularity.kind === 'element' ? 'csr' : 'block';
  const sessions = await Promise.all(
    ([kernels, 'dense'] as const).map(k => InferenceSession.create(bytes, { kernels: k, threads: 1, profile: true })),
  );
  const { channels, size } = shape;
  const feeds = { x: new RuntimeTensor(new Random(1).normal(channels * size * size), [1, channels, size, size]) };
  const times = sessions.map((): number[] => []);
  for (const session of sessions) {
    for (const end = performance.now() + WARM_UP_MS; performance.now() < end; ) await session.run(feeds);
  }
  for (let round = 0; round < rounds; round++) {
    for (const [i, session] of sessions.entries()) {
      await session.run(feeds);
      times[i].push(session.report().nodes.reduce((sum, node) => sum + node.ms!, 0));
    }
  }
  const [{ flops }] = sessions.map(s => s.report());
  for (const session of sessions) await session.release();
  const [ms, dense] = times.map(median);
  return { ms, dense, speedup: dense / ms, gflops: flops / ms / 1e6 };
}

/** Speed jobs: every shape at every sparsity under every granularity, by the arm's name. */
export const speedJobs = (
  shapes: readonly LayerShape[],
  sparsities: readonly number[],
  granularities: Readonly<Record<string, Granularity>>,
  rounds: number,
): Job[] =>
  Object.entries(granularities).flatMap(([arm, granularity]) =>
    shapes.flatMap(shape =>
      sparsities.map(
        (sparsity): Job => ({
          arm,
          condition: { layer: shapeName(shape), sparsity },
          run: () => timeLayer(shape, sparsity, granularity, rounds),
        }),
      ),
    ),
  );

/** Geometric mean of an arm's speed-ups over all layers that match the condition. */
export function meanSpeedup(outcomes: readonly Outcome[], arm: string, condition: Condition): number {
  const matching = outcomes.filter(
    o => o.arm === arm && Object.entries(condition).every(([k, v]) => o.condition[k] === v),
  );
  return Math.exp(statistics(matching.map(o => Math.log(o.measures.speedup))).mean);
}

/** Speed-ups of one thread against the dense kernel: a row for each layer and arm, and their geometric means. */
export function speedTable(
  outcomes: readonly Outcome[],
  arms: readonly string[],
  sparsities: readonly number[],
): Table {
  const own = outcomes.filter(o => arms.includes(o.arm));
  const layers = [...new Set(own.map(o => String(o.condition.layer)))];
  const cell = (arm: string, layer: string, sparsity: number): string => {
    const [speedup, gflops] = ['speedup', 'gflops'].map(m => summarize(own, arm, { layer, sparsity }, m).mean);
    return `${speedup.toFixed(2)}× (${gflops.toFixed(0)})`;
  };
  return {
    title: "Layers on one thread: times as fast as this project's dense kernel (GFLOP/s on the non-zeros)",
    columns: sparsities.map(s => `${Math.round(100 * s)} %`),
    rows: arms.flatMap(arm => [
      ...layers.map(layer => ({ name: `${arm}: ${layer}`, cells: sparsities.map(s => cell(arm, layer, s)) })),
      {
        name: `${arm}: geometric mean`,
        cells: sparsities.map(s => `${meanSpeedup(own, arm, { sparsity: s }).toFixed(2)}×`),
      },
    ]),
  };
}
