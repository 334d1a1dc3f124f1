import { type Statistics, statistics } from '../statistics.ts';
import type { Progress } from '../train/progress.ts';

/** Plain values that name one run: what is varied, and the seed. */
export type Condition = Readonly<Record<string, string | number | boolean>>;
export type Measures = Readonly<Record<string, number>>;

/**
 * One training or measurement of an experiment, named by arm and condition. Finished jobs are kept, so a killed experiment
 * resumes.
 */
export interface Job {
  /** Method or baseline, by name. */
  readonly arm: string;
  readonly condition: Condition;
  run(): Promise<Measures>;
}

export interface Outcome {
  readonly arm: string;
  readonly condition: Condition;
  readonly measures: Measures;
  readonly seconds: number;
}

/** A table of means ± standard deviations over seeds. */
export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly { readonly name: string; readonly cells: readonly string[] }[];
}

/** One part of the rule that decides the verdict. */
export interface Check {
  /** The criterion, as it was written before the run. */
  readonly rule: string;
  readonly holds: boolean;
  /** The numbers it was decided by. */
  readonly found: string;
}

export interface Figure {
  readonly name: string;
  readonly svg: string;
}

export interface Findings {
  readonly tables: readonly Table[];
  readonly checks: readonly Check[];
  readonly figures?: readonly Figure[];
  /** What a reader must know to judge the numbers: scale, data, deviations from the paper. */
  readonly notes?: readonly string[];
}

export interface Context {
  /** Run every line on tiny data in seconds; no verdict. */
  readonly smoke: boolean;
  /** The longer version for those who have hours. */
  readonly full: boolean;
  readonly seeds: readonly number[];
  readonly progress: Progress;
  /**
   * Runs jobs, skipping those that a former run finished or that another process is at, and returns all outcomes in order.
   */
  run(jobs: readonly Job[]): Promise<Outcome[]>;
}

/** The evidence of one published system: its central claim, on real data, against the paper's own baselines. */
export interface Experiment {
  readonly slug: string;
  readonly title: string;
  readonly claim: string;
  /** Changing what jobs compute must change this, so that kept outcomes of older code are not used. */
  readonly version: number;
  /** Number of seeds unless `--seeds` says otherwise. */
  readonly seeds: number;
  /** Compares methods and is the evidence of none: not among the systems that `--all` means. */
  readonly comparison?: true;
  run(context: Context): Promise<Findings>;
}

export type Verdict = 'reproduced' | 'partly' | 'not reproduced';

/** Reproduced if every check holds, not reproduced if none does. */
export function verdictOf(checks: readonly Check[]): Verdict {
  const held = checks.filter(c => c.holds).length;
  return held === checks.length ? 'reproduced' : held === 0 ? 'not reproduced' : 'partly';
}

/** Mean and deviation of one measure over the outcomes that match `arm` and all given parts of the condition. */
export function summarize(
  outcomes: readonly Outcome[],
  arm: string,
  condition: Condition,
  measure: string,
): Statistics {
  const values = outcomes
    .filter(o => o.arm === arm && Object.entries(condition).every(([k, v]) => o.condition[k] === v))
    .map(o => o.measures[measure]);
  return statistics(values);
}

export const format = ({ mean, std }: Statistics, digits = 2): string =>
  `${mean.toFixed(digits)} ± ${std.toFixed(digits)}`;

/** A share as a column or tick says it: 0.975 is `97.5 %`. */
export const percent = (share: string | number): string => `${+(100 * Number(share)).toFixed(1)} %`;

/** A table with one row an arm and one column a value of `vary`. */
export function tableOf(
  title: string,
  outcomes: readonly Outcome[],
  {
    arms,
    vary,
    values,
    where = {},
    measure,
    digits = 2,
    label = String,
  }: {
    arms: readonly string[];
    vary: string;
    values: readonly (string | number)[];
    where?: Condition;
    measure: string;
    digits?: number;
    label?: (value: string | number) => string;
  },
): Table {
  return {
    title,
    columns: values.map(label),
    rows: arms.map(name => ({
      name,
      cells: values.map(v => {
        const s = summarize(outcomes, name, { ...where, [vary]: v }, measure);
        return s.n === 0 ? '–' : format(s, digits);
      }),
    })),
  };
}
