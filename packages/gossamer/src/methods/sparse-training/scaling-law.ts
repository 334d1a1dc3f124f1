import { check, Random } from '@gossamer/tensor';
import { minimize, type Objective } from './lbfgs.ts';
import { checkedRun, type Run, runSize, type SizeKind } from './run-size.ts';

/** L(N, D) = E + A/N^α + B/D^β (Hoffmann et al. 2022), with N̄ for N (Jin et al. 2025, eq. 3). All are positive. */
export interface Law {
  readonly E: number;
  readonly A: number;
  readonly alpha: number;
  readonly B: number;
  readonly beta: number;
}

/** Predicted final loss of N (average) parameters after D tokens. */
export const predict = ({ E, A, alpha, B, beta }: Law, parameters: number, tokens: number): number =>
  E + A * parameters ** -alpha + B * tokens ** -beta;

export interface FitOptions {
  /** What stands for N; default the average. */
  readonly size?: SizeKind;
  /** δ of the Huber loss on ln L; default 1e-3. */
  readonly delta?: number;
  /** Exponents that are given instead of fitted, where the runs do not determine them. */
  readonly fixed?: { readonly alpha?: number; readonly beta?: number };
}

export interface Fit {
  readonly law: Law;
  /** Σ Huber_δ(ln L̂ − ln L) over the runs. */
  readonly objective: number;
}

/** Fewer runs than this determine nothing. */
const FEWEST = 6;

/**
 * The five coefficients that minimise Σ Huber_δ(LSE(a − α·ln N, b − β·ln D, e) − ln L), A = e^a, B = e^b, E = e^e, by
 * L-BFGS from a grid of starts. Refuses fewer than 6 runs and runs without parameter counts.
 */
export function fitLaw(runs: readonly Run[], options: FitOptions = {}): Fit {
  check(runs.length >= FEWEST, () => `scaling law: ${runs.length} runs; five coefficients need at least ${FEWEST}`);
  runs.forEach((run, i) => {
    checkedRun(run, `run ${run.name ?? i + 1}`);
  });
  const { delta = 1e-3, fixed = {} } = options;
  check(delta > 0, () => `scaling law: delta ${delta}; expected more than 0`);
  for (const [name, exponent = 1] of Object.entries(fixed)) {
    check(exponent > 0, () => `scaling law: ${name} is given as ${exponent}; expected more than 0`);
  }
  const problem = problemOf(runs, options);
  return best(problem, problem.starts(20));
}

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/**
 * 90 % intervals of the coefficients, from fits to runs drawn with replacement. An exponent whose interval spans a factor
 * of more than 3 is `undetermined`: fix it.
 */
export function bootstrapLaw(
  runs: readonly Run[],
  options: FitOptions & { readonly samples?: number; readonly seed?: number } = {},
): { readonly intervals: Readonly<Record<keyof Law, Interval>>; readonly undetermined: readonly ('alpha' | 'beta')[] } {
  const { samples = 200, seed = 0 } = options;
  check(Number.isInteger(samples) && samples >= 10, () => `bootstrap: ${samples} samples; expected at least 10`);
  const { law } = fitLaw(runs, options);
  const random = new Random(seed).fork('bootstrap');
  const laws = Array.from({ length: samples }, () => {
    const drawn = Array.from(random.integers(runs.length, 0, runs.length), i => runs[i]);
    const problem = problemOf(drawn, options);
    return best(problem, [problem.startAt(law), ...problem.starts(3)]).law;
  });
  const at = (key: keyof Law): Interval => {
    const sorted = laws.map(l => l[key]).sort((a, b) => a - b);
    const pick = (q: number) => sorted[Math.round(q * (sorted.length - 1))];
    return { low: pick(0.05), high: pick(0.95) };
  };
  const intervals = { E: at('E'), A: at('A'), alpha: at('alpha'), B: at('B'), beta: at('beta') };
  const loose = (key: 'alpha' | 'beta') =>
    options.fixed?.[key] === undefined && intervals[key].high > 3 * intervals[key].low;
  return { intervals, undetermined: (['alpha', 'beta'] as const).filter(loose) };
}

/** Mean |L̂ − L| / L over runs. */
export const relativeError = (law: Law, runs: readonly Run[], size: SizeKind = 'average'): number =>
  runs.reduce((sum, r) => sum + Math.abs(predict(law, runSize(r, size), r.tokens) / r.loss - 1), 0) / runs.length;

/**
 * Which count explains dense and sparse runs together: for each kind of size a law fitted to `runs`, and its error on
 * `held`, runs that no law has seen.
 */
export function compareSizes(
  runs: readonly Run[],
  held: readonly Run[],
  kinds: readonly SizeKind[] = ['initial', 'final', 'average'],
  options: Omit<FitOptions, 'size'> = {},
): { readonly size: SizeKind; readonly law: Law; readonly fitted: number; readonly held: number }[] {
  check(held.length > 0, 'scaling law: no runs are held out; a comparison needs some that no law has seen');
  held.forEach((run, i) => {
    checkedRun(run, `held-out run ${run.name ?? i + 1}`);
  });
  return kinds.map(size => {
    const { law } = fitLaw(runs, { ...options, size });
    return { size, law, fitted: relativeError(law, runs, size), held: relativeError(law, held, size) };
  });
}

/**
 * The loss that a run of changing size reaches if at every moment it makes the progress of the law at its present size
 * and loss: dL/dD = ∂L/∂D at the D where a model of that size has that loss. To first order in the changes it is the
 * law's loss of a constant model of nearly the average size (§4). Integrated by Runge & Kutta over ln D.
 *
 * @param steps default 4000
 */
export function accumulatedLoss(law: Law, run: Pick<Run, 'tokens' | 'active'>, steps = 4000): number {
  const { E, A, alpha, B, beta } = law;
  const sizeAt = (token: number) => run.active.findLast(([from]) => from <= token)![1];
  const first = run.tokens * 1e-4;
  const width = Math.log(run.tokens / first) / steps;
  const slope = (logD: number, loss: number): number => {
    const tokens = Math.exp(logD);
    // B/D^β of the equivalent constant run; a model that is past what its size can reach makes no progress.
    const rest = Math.max(0, loss - E - A * sizeAt(tokens) ** -alpha);
    return -beta * B * (rest / B) ** ((beta + 1) / beta) * tokens;
  };
  let loss = predict(law, run.active[0][1], first);
  for (let i = 0; i < steps; i++) {
    const at = Math.log(first) + i * width;
    const k1 = slope(at, loss);
    const k2 = slope(at + width / 2, loss + (width / 2) * k1);
    const k3 = slope(at + width / 2, loss + (width / 2) * k2);
    const k4 = slope(at + width, loss + width * k3);
    loss += (width / 6) * (k1 + 2 * k2 + 2 * k3 + k4);
  }
  return loss;
}

// ---- the fit

interface Problem {
  readonly objective: (delta: number) => Objective;
  readonly delta: number;
  /** The `count` of a grid that fit best. */
  starts(count: number): Float64Array[];
  startAt(law: Law): Float64Array;
  lawOf(x: Float64Array): Law;
}

/**
 * Variables x = (a + α-part at the mean of ln N, ln α, b likewise, ln β, e): centred, so that they are nearly
 * independent, and with positive exponents, so that every fitted law falls with N and D.
 */
function problemOf(runs: readonly Run[], { size = 'average', delta = 1e-3, fixed = {} }: FitOptions): Problem {
  const n = runs.map(r => Math.log(runSize(r, size)));
  const d = runs.map(r => Math.log(r.tokens));
  const l = runs.map(r => Math.log(r.loss));
  const mean = (v: readonly number[]) => v.reduce((a, b) => a + b, 0) / v.length;
  const [n0, d0, l0] = [mean(n), mean(d), mean(l)];
  const fix = (x: Float64Array): Float64Array => {
    if (fixed.alpha !== undefined) x[1] = Math.log(fixed.alpha);
    if (fixed.beta !== undefined) x[3] = Math.log(fixed.beta);
    return x;
  };
  const objective = (width: number) => (x: Float64Array) => {
    const [a, logAlpha, b, logBeta, e] = x;
    const [alpha, beta] = [Math.exp(logAlpha), Math.exp(logBeta)];
    let [value, ga, gAlpha, gb, gBeta, ge] = [0, 0, 0, 0, 0, 0];
    for (let i = 0; i < l.length; i++) {
      const forN = a - alpha * (n[i] - n0);
      const forD = b - beta * (d[i] - d0);
      const top = Math.max(forN, forD, e);
      const [expN, expD, expE] = [Math.exp(forN - top), Math.exp(forD - top), Math.exp(e - top)];
      const sum = expN + expD + expE;
      const r = top + Math.log(sum) - l[i];
      const size = Math.abs(r);
      value += size <= width ? (r * r) / 2 : width * (size - width / 2);
      const g = (size <= width ? r : Math.sign(r) * width) / sum;
      ga += g * expN;
      gAlpha -= g * expN * alpha * (n[i] - n0);
      gb += g * expD;
      gBeta -= g * expD * beta * (d[i] - d0);
      ge += g * expE;
    }
    if (fixed.alpha !== undefined) gAlpha = 0;
    if (fixed.beta !== undefined) gBeta = 0;
    return { value, gradient: Float64Array.of(ga, gAlpha, gb, gBeta, ge) };
  };
  return {
    objective,
    delta,
    starts(count) {
      const grid: Float64Array[] = [];
      // Shares of the loss at the centre that the three terms begin with.
      for (const [forN, forD, forE] of [
        [0.1, 0.1, 0.8],
        [0.3, 0.1, 0.6],
        [0.1, 0.3, 0.6],
        [0.3, 0.3, 0.4],
        [0.45, 0.45, 0.1],
      ]) {
        for (const alpha of [0.1, 0.3, 0.6, 1.2]) {
          for (const beta of [0.1, 0.3, 0.6, 1.2]) {
            const [a, b, e] = [forN, forD, forE].map(s => Math.log(s) + l0);
            grid.push(fix(Float64Array.of(a, Math.log(alpha), b, Math.log(beta), e)));
          }
        }
      }
      const value = objective(0.1);
      return grid
        .map(x => ({ x, value: value(x).value }))
        .sort((a, b) => a.value - b.value)
        .slice(0, count)
        .map(({ x }) => x);
    },
    startAt: ({ E, A, alpha, B, beta }) =>
      fix(
        Float64Array.of(
          Math.log(A) - alpha * n0,
          Math.log(alpha),
          Math.log(B) - beta * d0,
          Math.log(beta),
          Math.log(Math.max(E, 1e-12)),
        ),
      ),
    lawOf: x => {
      const [alpha, beta] = [Math.exp(x[1]), Math.exp(x[3])];
      return { E: Math.exp(x[4]), A: Math.exp(x[0] + alpha * n0), alpha, B: Math.exp(x[2] + beta * d0), beta };
    },
  };
}

/** The lowest of the minima that the starts lead to. Wide Huber losses first: the narrow one is nearly Σ|r|. */
function best({ objective, delta, lawOf }: Problem, starts: readonly Float64Array[]): Fit {
  let found: { x: Float64Array; value: number } | undefined;
  for (const start of starts) {
    let x = start;
    for (const width of [0.1, 0.01].filter(w => w > delta))
      ({ x } = minimize(objective(width), x, { iterations: 100 }));
    const end = minimize(objective(delta), x);
    if (!found || end.value < found.value) found = end;
  }
  return { law: lawOf(found!.x), objective: found!.value };
}
