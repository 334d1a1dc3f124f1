import { table } from '../src/text.ts';

/** One sparsifier's training step beside the dense one of the same rounds. */
export interface SparsifierRow {
  readonly slug: string;
  /** Median milliseconds of a dense step and of one of this method that changes no mask. */
  readonly denseMs: number;
  readonly stepMs: number;
  /** What a step with a mask update takes more; absent where no mask changed. */
  readonly updateMs?: number;
  /** Steps between two updates over which that is spread. */
  readonly interval: number;
  /** What the method adds to a dense step, updates included, as a share of it. */
  readonly overhead: number;
}

export interface OneShotRow {
  readonly name: string;
  /** Median of scoring, choosing and masking all weights. */
  readonly seconds: number;
}

export interface SparsifierBench {
  readonly command: string;
  readonly machine: string;
  readonly date: string;
  readonly threads: string;
  /** Steps that were timed of each. */
  readonly steps: number;
  readonly parameters: number;
  readonly rows: readonly SparsifierRow[];
  readonly leftOut: readonly { readonly slug: string; readonly reason: string }[];
  readonly oneShot: { readonly parameters: number; readonly rows: readonly OneShotRow[] };
}

export function formatSparsifierBench(bench: SparsifierBench): string {
  const { rows, leftOut, oneShot, steps, parameters, machine, date, threads } = bench;
  const training = table(
    ['sparsifier', 'dense ms', 'step ms', 'update ms', 'every', 'overhead'],
    rows.map(r => [
      r.slug,
      r.denseMs.toFixed(1),
      r.stepMs.toFixed(1),
      r.updateMs === undefined ? '–' : r.updateMs.toFixed(1),
      r.updateMs === undefined ? '–' : String(r.interval),
      `${(100 * r.overhead).toFixed(1)} %`,
    ]),
  );
  const millions = (n: number) => `${(n / 1e6).toFixed(n < 1e6 ? 2 : 1)} M`;
  const once = table(
    ['scoring and masking', 'seconds'],
    oneShot.rows.map(r => [r.name, r.seconds.toFixed(2)]),
  );
  return [
    `Training step of ResNet-20 (${millions(parameters)} parameters, 64 images), 90 % sparse, beside the dense step`,
    training,
    '',
    `Medians of ${steps} steps each, in turns with the dense training in one process, after warm-up; overhead by the ratio to the dense
step of the same round. update: what a step with a mask update takes more, spread over the interval in overhead.`,
    ...leftOut.map(({ slug, reason }) => `${slug} is left out: ${reason.split(' among ')[0].replace(`${slug}: `, '')}`),
    '',
    `One-shot pruning of ${millions(oneShot.parameters)} weights, once they are read`,
    once,
    '',
    `${machine}, ${threads} threads; ${date}.`,
  ].join('\n');
}
