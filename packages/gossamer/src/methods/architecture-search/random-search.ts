// Draws many sparse sub-networks of one initialised network and keeps the one of lowest loss before any training: the
// baseline that a search for sparse architectures has to beat, and the protocol to compare them by.
// Farahani 2024, "Random Search as a Baseline for Sparse Neural Network Architecture Search".

import { check, compile, gradients, type Random, substitute, type Tensor } from '@gossamer/tensor';
import type { Batch } from '../../data/dataset.ts';
import { inEvalMode } from '../../nn/export.ts';
import { formatInterval, type Interval, pairedInterval } from '../../statistics.ts';
import { areaUnder, type CurvePoint, stepsTo } from '../../train/curve.ts';
import { type Progress, silent } from '../../train/progress.ts';
import { type Task, toTensors } from '../../train/task.ts';
import type { MethodInfo } from '../method.ts';
import type { SearchSpace } from './search-space.ts';

export { type NodeCandidate, NodeSpace, type NodeSpaceOptions } from './node-space.ts';
export { type CandidateSparsity, type SearchSpace, WeightSpace } from './search-space.ts';

export const method: MethodInfo = {
  slug: 'random-search',
  name: 'Random search',
  summary: 'The neutral baseline of sparse architecture search: best of many random sub-networks before training.',
  paper: 'Random Search as a Baseline for Sparse Neural Network Architecture Search (Farahani 2024)',
  kind: 'procedure',
};

/** What a scorer sees: sub-networks of an untrained network and a fixed sample of training data. */
export interface Scoring<C> {
  readonly space: SearchSpace<C>;
  readonly task: Task;
  /** The same for all candidates, and never test data. */
  readonly sample: Batch;
}

/** Judges sub-networks before they are trained; lower is better. `space` shows the candidate when it is called. */
export interface CandidateScorer<C> {
  score(candidate: C): Promise<number>;
  dispose?(): Promise<void>;
}

export type ScorerFactory = <C>(scoring: Scoring<C>) => CandidateScorer<C>;

export type Criterion = 'loss' | 'accuracy' | 'gradient-norm';

/** The initial loss (the paper's), minus the initial accuracy, or minus the norm of the initial gradient. */
export const candidateScorers: Readonly<Record<Criterion, ScorerFactory>> = {
  loss: scoring => fromGraph(scoring, ({ loss }) => loss),
  accuracy: scoring =>
    fromGraph(scoring, ({ accuracy }) => {
      check(accuracy, 'search: the task has no accuracy; choose the criterion loss');
      return accuracy.neg();
    }),
  'gradient-norm': scoring =>
    fromGraph(scoring, ({ loss }) => {
      const norms = gradients(loss, scoring.space.parent.parameters()).map(g => g.square().sum());
      return norms
        .reduce((a, b) => a.add(b))
        .sqrt()
        .neg();
    }),
};

function fromGraph<C>(
  { space, task, sample }: Scoring<C>,
  of: (result: Record<string, Tensor>) => Tensor,
): CandidateScorer<C> {
  const { parent } = space;
  const batch = toTensors(sample);
  const names = Object.keys(batch);
  const compiled = compile((...values: Tensor[]) =>
    substitute(space.effective(), () => of(task(parent, Object.fromEntries(names.map((n, i) => [n, values[i]]))))),
  );
  return {
    score: () => inEvalMode(parent, async () => (await compiled(...names.map(n => batch[n]))).item()),
    dispose: () => compiled.dispose(),
  };
}

export interface SearchOptions<C> {
  readonly space: SearchSpace<C>;
  /** Share of the nodes (or weights) that goes, 0 ≤ p < 1. */
  readonly sparsity: number;
  /** Candidates; default 100. */
  readonly budget?: number;
  readonly scorer: CandidateScorer<C>;
  /** Candidate i is drawn from `random.fork(i)`, so that a larger budget sees the same ones first. */
  readonly random: Random;
  readonly progress?: Progress;
}

export interface SearchResult<C> {
  readonly found: C;
  /** Its number. */
  readonly index: number;
  /** Of all candidates, in the order they were drawn. */
  readonly scores: readonly number[];
  /** Lowest score among the first 1, 2, … candidates. */
  readonly best: readonly number[];
  /** How far the found one lies below the mean of the candidates, in their standard deviations. */
  readonly deviations: number;
}

/** The best of `budget` random sub-networks by a score before training. */
export async function randomSearch<C>(options: SearchOptions<C>): Promise<SearchResult<C>> {
  const { space, sparsity, budget = 100, scorer, random, progress = silent } = options;
  check(Number.isInteger(budget) && budget >= 1, () => `search: budget ${budget}; expected 1 candidate or more`);
  const scores: number[] = [];
  let found: { candidate: C; index: number } | undefined;
  using bar = progress.start('searching', budget, { unit: 'candidates', transient: true });
  for (let index = 0; index < budget; index++) {
    const candidate = space.sample(sparsity, random.fork(index));
    space.show(candidate);
    const score = await scorer.score(candidate);
    check(Number.isFinite(score), () => `search: candidate ${index} scores ${score}; does the network overflow?`);
    if (!found || score < scores[found.index]) found = { candidate, index };
    scores.push(score);
    bar.update(index + 1, { best: scores[found.index] });
  }
  const mean = scores.reduce((a, b) => a + b, 0) / budget;
  const deviation = Math.sqrt(scores.reduce((s, v) => s + (v - mean) ** 2, 0) / Math.max(1, budget - 1));
  let lowest = Number.POSITIVE_INFINITY;
  const best = scores.map(s => (lowest = Math.min(lowest, s)));
  const { candidate, index } = found!;
  return { found: candidate, index, scores, best, deviations: deviation > 0 ? (mean - lowest) / deviation : 0 };
}

/** One trained sub-network: its learning curve on validation data and how it did at the end. */
export interface Trained {
  readonly curve: readonly CurvePoint[];
  /** Final accuracy (or any measure of which more is better). */
  readonly final: number;
}

export interface SearchVerdict {
  /** Found − random, paired by seed. */
  readonly final: Interval;
  /** Steps until the target of the parent; found over random. */
  readonly steps: { readonly found: number; readonly random: number; readonly ratio: number };
  /** Mean loss over the training, found − random. */
  readonly area: Interval;
  readonly line: string;
}

/**
 * Compares what a search found with what chance gives: pairs of a found network and the mean of its random counterparts,
 * each pair from a seed (initial weights, search and batches) of its own.
 *
 * @param targets accuracy that counts as arrived, one a seed (95 % of the parent's)
 */
export function searchVerdict(
  pairs: readonly { readonly found: Trained; readonly random: readonly Trained[]; readonly target: number }[],
  metric = 'accuracy',
): SearchVerdict {
  check(
    pairs.length > 0 && pairs.every(p => p.random.length > 0),
    'search: each found network needs a random counterpart',
  );
  const average = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const paired = (of: (t: Trained, target: number) => number) =>
    [pairs.map(p => of(p.found, p.target)), pairs.map(p => average(p.random.map(r => of(r, p.target))))] as const;
  const final = pairedInterval(...paired(t => t.final));
  const area = pairedInterval(...paired(t => areaUnder(t.curve, 'loss')));
  const [found, random] = paired((t, target) => stepsTo(t.curve, metric, target)).map(average);
  return {
    final,
    steps: { found, random, ratio: found / random },
    area,
    line: `found − random = ${formatInterval(final)}; steps to the target ${found.toFixed(0)} against ${random.toFixed(0)}`,
  };
}
