// How much of a pretrained transformer can be cut for free by one magnitude threshold, and where the cliff is.
// Jaiswal, Liu, Chen & Wang 2023, "The Emergence of Essential Sparsity in Large Pre-trained Models: The Weights that
// Matter".

import { check, type Random, type Spec } from '@gossamer/tensor';
import type { Module } from '../../nn/module.ts';
import { blockLayers } from '../../sparsity/block-layers.ts';
import {
  applyMask,
  type Layer,
  Mask,
  type ModelLayers,
  magnitude,
  maskable,
  modelLayers,
  prune,
  randomScore,
  StaticMask,
} from '../../sparsity/index.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';
import { bootstrap, quantile } from '../../statistics.ts';
import { type Progress, silent } from '../../train/progress.ts';
import { restore, snapshot } from '../../train/snapshot.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'essential-sparsity',
  name: 'Essential sparsity',
  summary: 'A diagnostic of pretrained models: performance by one-shot magnitude sparsity, and where it drops.',
  paper:
    'The Emergence of Essential Sparsity in Large Pre-trained Models: The Weights that Matter (Jaiswal et al. 2023)',
  kind: 'one-shot pruner',
};

export interface OneShotOptions {
  /** Share of the prunable weights that goes; N:M patterns have their own. */
  readonly sparsity?: number;
  /** One threshold for all weights (default), or the same share of every layer. */
  readonly scope?: 'global' | 'layer';
  /** Such as `'2:4'`; default unstructured. */
  readonly pattern?: string;
  /** Draws the control that removes weights at random; default by magnitude. */
  readonly random?: Random;
}

/**
 * OMP: m = 1 where |w| is above one global threshold τ, with exactly round((1 − s)·n) weights left. No data, no task.
 * Masks are nested in s, also the random ones of one generator.
 */
export function essentialMask(layers: readonly Layer[], options: OneShotOptions): Mask {
  const { sparsity, scope = 'global', pattern, random } = options;
  const score = (l: Layer) => (random ? randomScore(l.values.length, random.fork(l.name)) : magnitude(l.values));
  return prune(layers, score, {
    ...(sparsity !== undefined && { sparsity }),
    ...(pattern === undefined ? { allocation: scope === 'global' ? 'global' : 'uniform' } : { granularity: pattern }),
  });
}

/** How the performance is measured, and which way is better. */
export interface Metric {
  readonly name: string;
  readonly better: 'higher' | 'lower';
  /** The knee of a perplexity is looked for in its logarithm, the loss; default false. */
  readonly log?: boolean;
}

/** A value, and what it is the mean of (of the logarithms, for a `log` metric): for the bootstrap. */
export interface Evaluation {
  readonly value: number;
  readonly samples?: Float64Array;
}

export interface CurvePoint extends Evaluation {
  readonly sparsity: number;
  /** Not of the grid, but put in around the knee or behind s*. */
  readonly refined?: true;
}

/**
 * What happens between pruning and evaluation; to be printed with every number. `zero-shot`: nothing. `fine-tune`: the
 * weights are trained on with the mask fixed, by the recipe that the dense model gets, too.
 */
export type Protocol =
  | { readonly kind: 'zero-shot' }
  | { readonly kind: 'fine-tune'; train(model: Module, sparsifiers: readonly Sparsifier[]): Promise<void> };

export interface CurveOptions {
  readonly model: Module;
  readonly inputs: readonly Spec[];
  /** Sparsities, ascending; 0, the dense model, is added. */
  readonly grid: readonly number[];
  readonly metric: Metric;
  readonly evaluate: (model: Module) => Promise<Evaluation>;
  /** Default zero-shot. */
  readonly protocol?: Protocol;
  readonly scope?: 'global' | 'layer';
  readonly random?: Random;
  /** N:M pattern of each sparsity of the grid, instead of unstructured masks. */
  readonly pattern?: (sparsity: number) => string;
  /** Weights that stay, beside those outside of the repeated blocks (embeddings, head). */
  readonly exclude?: readonly string[];
  /** Distance of further points around the knee and behind s*; default 0.02, 0 for none. */
  readonly refine?: number;
  /** ε of the s* that is refined; default 1 %. */
  readonly tolerance?: number;
  readonly progress?: Progress;
}

export interface EssentialCurve {
  readonly metric: Metric;
  readonly protocol: Protocol['kind'];
  readonly points: readonly CurvePoint[];
  /** Names of the weights that the masks act on. */
  readonly prunable: readonly string[];
  /** Share of them that is zero already: below it, sparsity costs nothing by itself. */
  readonly zeros: number;
}

/** The linear weights of the repeated blocks: not embeddings, norms, biases, or the head. Tied weights come once. */
export async function prunableWeights(
  model: Module,
  inputs: readonly Spec[],
  exclude: readonly string[] = [],
): Promise<ModelLayers> {
  const { layers, parameters } = await modelLayers(model, inputs);
  const blocks = blockLayers(layers);
  check(
    blocks.length > 0,
    () => `essential sparsity: the model has no repeated blocks; its weights are ${layers.map(l => l.name).join(', ')}`,
  );
  return { layers: maskable(blocks, exclude).layers, parameters };
}

/** Performance against sparsity, each point from the pretrained weights anew. The model is left as it was. */
export async function essentialCurve(options: CurveOptions): Promise<EssentialCurve> {
  const { model, inputs, metric, evaluate, protocol = { kind: 'zero-shot' }, progress = silent } = options;
  const { refine = 0.02, tolerance, scope, random, pattern } = options;
  const grid = checkedGrid(options.grid);
  checkMetric(metric);
  const found = await prunableWeights(model, inputs, options.exclude);
  const pretrained = await snapshot(model);
  const at = async (sparsity: number): Promise<CurvePoint> => {
    restore(model, pretrained);
    const shape = sparsity > 0 && pattern ? { pattern: pattern(sparsity) } : { sparsity };
    const mask = sparsity === 0 ? Mask.ones(found.layers) : essentialMask(found.layers, { ...shape, scope, random });
    // The dense model is not touched, so that its metric is the same bit for bit.
    if (sparsity > 0) await applyMask(found, mask);
    if (protocol.kind === 'fine-tune') await protocol.train(model, sparsity > 0 ? [new StaticMask(mask)] : []);
    return { sparsity: sparsity > 0 ? mask.sparsity() : 0, ...(await evaluate(model)) };
  };
  using bar = progress.start('pruning', grid.length, { unit: 'points' });
  try {
    const points: CurvePoint[] = [];
    for (const sparsity of grid) bar.update(points.push(await at(sparsity)));
    if (refine > 0 && !pattern && grid.length > 2) {
      for (const sparsity of between(points, metric, refine, tolerance))
        points.push({ ...(await at(sparsity)), refined: true });
      points.sort((a, b) => a.sparsity - b.sparsity);
    }
    const size = found.layers.reduce((n, l) => n + l.values.length, 0);
    const zeros = (size - Mask.ofNonzeros(found.layers).kept()) / size;
    return { metric, protocol: protocol.kind, points, prunable: found.layers.map(l => l.name), zeros };
  } finally {
    restore(model, pretrained);
  }
}

function checkedGrid(grid: readonly number[]): number[] {
  check(grid.length > 0, 'essential sparsity: the grid is empty; give sparsities such as 0.1, 0.2, …');
  const all = grid[0] === 0 ? [...grid] : [0, ...grid];
  check(
    all.every((s, i) => s >= 0 && s < 1 && (i === 0 || s > all[i - 1])),
    () => `essential sparsity: grid ${grid.join(', ')}; expected ascending sparsities from 0 to below 1`,
  );
  return all;
}

function checkMetric({ name, better }: Metric): void {
  check(
    better === 'higher' || better === 'lower',
    () => `essential sparsity: say whether a higher or a lower ${name} is better`,
  );
}

/** Sparsities between the neighbours of the knee, and between s* and the next point. */
function between(points: readonly CurvePoint[], metric: Metric, step: number, tolerance?: number): number[] {
  // These are points of the grid alone, so that their neighbours are the grid's.
  const knee = kneeAt(points, metric);
  const star = points.findIndex(p => p.sparsity === essential(points, metric, tolerance).sparsity);
  const gaps = [...new Set([knee - 1, knee, star])].filter(i => i + 1 < points.length);
  return gaps.flatMap(i => {
    const [low, high] = [points[i].sparsity, points[i + 1].sparsity];
    const count = Math.round((high - low) / step);
    return Array.from({ length: Math.max(0, count - 1) }, (_, k) => low + ((k + 1) * (high - low)) / count);
  });
}

/** The curve's height, turned and scaled so that falling is worse. */
const heights = (points: readonly CurvePoint[], { better, log }: Metric): number[] =>
  points.map(p => (better === 'higher' ? 1 : -1) * (log ? Math.log(p.value) : p.value));

/**
 * Index of the knee: of the grid's inner points the one of least second divided difference, then the same among the
 * refined points between its neighbours on the grid. Neither step compares points that lie close with points that lie
 * far apart: differences of slopes grow with the spacing, and divided ones with the noise of a narrow spacing.
 */
function kneeAt(points: readonly CurvePoint[], metric: Metric): number {
  const grid = points.flatMap((p, i) => (p.refined ? [] : [i]));
  check(grid.length > 2, () => `essential sparsity: ${grid.length} points have no knee; give 2 sparsities or more`);
  const y = heights(points, metric);
  const slope = (a: number, b: number) => (y[b] - y[a]) / (points[b].sparsity - points[a].sparsity);
  /** Position among the points `at`. */
  const sharpest = (at: readonly number[]): number => {
    let [knee, least] = [1, Number.POSITIVE_INFINITY];
    for (let i = 1; i < at.length - 1; i++) {
      const [before, here, after] = [at[i - 1], at[i], at[i + 1]];
      const width = points[after].sparsity - points[before].sparsity;
      const bend = (2 * (slope(here, after) - slope(before, here))) / width;
      if (bend < least) [knee, least] = [i, bend];
    }
    return knee;
  };
  const coarse = sharpest(grid);
  const [first, last] = [grid[coarse - 1], grid[coarse + 1]];
  return first + sharpest(Array.from({ length: last - first + 1 }, (_, i) => first + i));
}

export interface Essential {
  /** s*_ε: the largest sparsity up to which the metric stays within ε of the dense model's. */
  readonly sparsity: number;
  /** Where the curve bends most; as fine as the points lie there. */
  readonly knee: number;
  /** Change of the (log) metric for each unit of sparsity, before s* and after it; negative is worse. */
  readonly slopes: readonly [before: number, after: number];
}

/**
 * Reads the essential sparsity off a curve: s*_ε = max{s : A(s) ≥ A(0) − ε·A(0)} without a gap below it (for a metric of
 * which less is better, A(s) ≤ A(0) + ε·A(0)), and the knee.
 *
 * @param tolerance ε; default 1 %. One per cent of a perplexity is not one per cent of a loss: say which you mean.
 */
export function essential(points: readonly CurvePoint[], metric: Metric, tolerance = 0.01): Essential {
  checkMetric(metric);
  check(tolerance >= 0, () => `essential sparsity: tolerance ${tolerance}; expected 0 or more`);
  const [{ value: dense }] = points;
  const slack = tolerance * Math.abs(dense);
  const within = (v: number) => (metric.better === 'higher' ? v >= dense - slack : v <= dense + slack);
  const first = points.findIndex(p => !within(p.value));
  const star = first < 0 ? points.length - 1 : first - 1;
  const y = heights(points, metric);
  const slope = (a: number, b: number) => (a === b ? 0 : (y[b] - y[a]) / (points[b].sparsity - points[a].sparsity));
  return {
    sparsity: points[star].sparsity,
    knee: points[kneeAt(points, metric)].sparsity,
    slopes: [slope(0, star), slope(star, points.length - 1)],
  };
}

/** Intervals that s* and the knee lie in when the evaluation samples are drawn again. */
export interface EssentialConfidence {
  readonly sparsity: readonly [low: number, high: number];
  readonly knee: readonly [low: number, high: number];
}

/** 95 % bootstrap intervals over evaluation samples, the same ones at every sparsity. */
export function essentialConfidence(
  points: readonly CurvePoint[],
  metric: Metric,
  { tolerance = 0.01, random, samples = 500 }: { tolerance?: number; random: Random; samples?: number },
): EssentialConfidence {
  const count = points[0].samples?.length ?? 0;
  check(
    count > 1 && points.every(p => p.samples?.length === count),
    'essential sparsity: the bootstrap needs the same evaluation samples, two or more, at every sparsity',
  );
  const redrawn = (at: Int32Array): CurvePoint[] =>
    points.map(({ sparsity, samples: own }) => {
      const mean = at.reduce((s, i) => s + own![i], 0) / at.length;
      return { sparsity, value: metric.log ? Math.exp(mean) : mean };
    });
  const interval = (of: (e: Essential) => number) => {
    const values = bootstrap(count, at => of(essential(redrawn(at), metric, tolerance)), { random, samples });
    return [quantile(values, 0.025), quantile(values, 0.975)] as const;
  };
  return { sparsity: interval(e => e.sparsity), knee: interval(e => e.knee) };
}

/** Cosine of two masks, flattened to vectors of 0 and 1: |A ∩ B|/√(|A|·|B|). Of random masks it is their density. */
export function maskCosine(a: Mask, b: Mask): number {
  return a.and(b).kept() / Math.sqrt(a.kept() * b.kept());
}
