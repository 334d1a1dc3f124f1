import { check } from '@gossamer/tensor';

/** What a sparse operator costs: time = a · kept units · (P / N) + b, fitted on measurements of one machine. */
export interface OperatorTime {
  /** The layer's name. */
  readonly name: string;
  /** Score of each of its units; higher is kept first. */
  readonly scores: ArrayLike<number>;
  /** Output positions P. */
  readonly positions: number;
  /** Positions N that the kernel computes at a time; default 8. */
  readonly tile?: number;
  /** Milliseconds for one unit and one tile. */
  readonly a: number;
  /** Milliseconds however little is kept. */
  readonly b: number;
}

/** Milliseconds of an operator with `kept` of its units. */
export const operatorTime = ({ a, b, positions, tile = 8 }: OperatorTime, kept: number): number =>
  a * kept * (positions / tile) + b;

/**
 * Sparsity of each layer for which all together take at most `budget` milliseconds. Units go one after another, always
 * the one that saves most time for the share of its layer's score that is lost.
 *
 * @param options.most no layer gets sparser than this; default 0.9
 * @throws a GossamerError if the budget cannot be met, with the time that can
 */
export function sparsitiesForLatency(
  operators: readonly OperatorTime[],
  budget: number,
  { most = 0.9 }: { most?: number } = {},
): Record<string, number> {
  check(most >= 0 && most < 1, () => `latency budget: at most ${most} sparse; expected 0 ≤ most < 1`);
  let time = 0;
  let least = 0;
  const candidates: { operator: number; saved: number; loss: number }[] = [];
  operators.forEach((o, operator) => {
    const { name, scores } = o;
    check(
      o.a > 0 && o.b >= 0 && o.positions > 0 && scores.length > 0,
      () =>
        `latency budget: layer ${name} has a = ${o.a}, b = ${o.b}, ${o.positions} positions and ${scores.length} units; expected a > 0, b ≥ 0 and some of the others`,
    );
    const saved = operatorTime(o, 1) - operatorTime(o, 0);
    const total = Array.from(scores).reduce((n, s) => n + s, 0) || 1;
    const removable = Float64Array.from(scores)
      .sort()
      .subarray(0, Math.floor(most * scores.length));
    for (const s of removable) candidates.push({ operator, saved, loss: s / total });
    time += operatorTime(o, scores.length);
    least += operatorTime(o, scores.length - removable.length);
  });
  check(
    budget >= least,
    () =>
      `latency budget: ${budget} ms; at ${most} sparsity everywhere these layers still take ${least.toPrecision(4)} ms`,
  );
  candidates.sort((x, y) => x.loss / x.saved - y.loss / y.saved || x.operator - y.operator);
  const gone = new Array<number>(operators.length).fill(0);
  for (const { operator, saved } of candidates) {
    if (time <= budget) break;
    gone[operator]++;
    time -= saved;
  }
  return Object.fromEntries(operators.map(({ name, scores }, i) => [name, gone[i] / scores.length]));
}
