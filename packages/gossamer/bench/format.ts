import { table } from '../src/text.ts';

export interface BenchRow {
  readonly name: string;
  readonly unit: string;
  readonly samplesPerSecond: number;
  readonly stepMs: number;
  readonly stepGflops: number;
  readonly forwardMs: number;
  readonly forwardGflops: number;
  /** GFLOP/s of the training step as a share of the forward pass's. */
  readonly ratio: number;
  /** Share of the step outside of ONNX Runtime. */
  readonly scriptShare: number;
}

export interface TrainingBench {
  readonly command: string;
  readonly machine: string;
  readonly date: string;
  readonly rounds: number;
  readonly peakMemoryBytes: number;
  readonly rows: readonly BenchRow[];
}

export function formatBench({ rows, rounds, peakMemoryBytes, machine, date }: TrainingBench): string {
  const columns = [
    'training step',
    'samples',
    'ms',
    'GFLOP/s',
    'ORT forward ms',
    'GFLOP/s',
    'share of it',
    'in JavaScript',
  ];
  const lines = rows.map(r => [
    r.name,
    `${Math.round(r.samplesPerSecond)} ${r.unit}`,
    r.stepMs.toFixed(2),
    r.stepGflops.toFixed(1),
    r.forwardMs.toFixed(2),
    r.forwardGflops.toFixed(1),
    `${(100 * r.ratio).toFixed(0)} %`,
    `${(100 * r.scriptShare).toFixed(1)} %`,
  ]);
  const peak = (peakMemoryBytes / 2 ** 20).toFixed(0);
  return `${table(columns, lines)}

Medians of ${rounds} interleaved rounds after warm-up; peak memory of all ${peak} MiB.
${machine}; ${date}.`;
}
