import { check } from '@gossamer/tensor';
import type { DataLoader } from '../data/loader.ts';
import type { Sparsifier, SparsifierState, Training } from '../sparsity/sparsifier.ts';
import { type Evaluator, evaluator, type Metrics } from './evaluate.ts';
import type { Task } from './task.ts';

/** Metrics after so many steps. */
export type CurvePoint = Metrics & { readonly step: number };

export interface CurveOptions {
  readonly task: Task;
  readonly data: DataLoader;
  /** Steps between evaluations; the first is before step 0, the last after the last step. */
  readonly every: number;
  /** What the model computes with; default its stored weights. */
  readonly sparsifiers?: readonly Sparsifier[];
}

/** Follows a training more closely than epoch by epoch: among its sparsifiers, it evaluates every few steps and changes nothing. */
export class Curve implements Sparsifier {
  readonly name = 'curve';
  readonly mask = undefined;
  readonly #o: CurveOptions;
  #evaluator: Evaluator | undefined;
  #points: readonly CurvePoint[] = [];

  constructor(options: CurveOptions) {
    const { every } = options;
    check(Number.isInteger(every) && every >= 1, () => `curve: every ${every} steps; expected a whole number ≥ 1`);
    this.#o = options;
  }

  get points(): readonly CurvePoint[] {
    return this.#points;
  }

  async prepare({ model }: Training): Promise<void> {
    this.#points = [];
    this.#evaluator = evaluator(model, this.#o.task, this.#o.sparsifiers ?? []);
  }

  async update({ step, steps }: Training): Promise<void> {
    if (step % this.#o.every !== 0 && step !== steps) return;
    const metrics = await this.#evaluator!.run(this.#o.data);
    this.#points = [...this.#points, { ...metrics, step } as CurvePoint];
    if (step === steps) await this.#evaluator!.dispose();
  }

  state(): SparsifierState {
    return { arrays: {}, json: this.#points };
  }

  restore({ json }: SparsifierState): void {
    this.#points = json as readonly CurvePoint[];
  }
}

/** Steps until a metric first reaches `target` from below, between points by a straight line; the last step if never. */
export function stepsTo(points: readonly CurvePoint[], metric: string, target: number): number {
  const at = points.findIndex(p => p[metric] >= target);
  if (at < 0) return points.at(-1)!.step;
  if (at === 0) return points[0].step;
  const [before, after] = [points[at - 1], points[at]];
  const share = (target - before[metric]) / (after[metric] - before[metric]);
  return before.step + share * (after.step - before.step);
}

/** Mean height of a metric over the training, by trapezia. */
export function areaUnder(points: readonly CurvePoint[], metric: string): number {
  check(points.length > 1, () => `areaUnder: ${points.length} points make no curve`);
  const area = points
    .slice(1)
    .reduce((sum, p, i) => sum + ((p[metric] + points[i][metric]) / 2) * (p.step - points[i].step), 0);
  return area / (points.at(-1)!.step - points[0].step);
}
