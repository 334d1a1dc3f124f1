import { mkdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { check, GossamerError, Random, type Tensor, writeFile, writeOnnx, zeros } from '@gossamer/tensor';
import { InvalidArgumentError, Option } from 'commander';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { compose, normalize, resize } from '../../data/transforms.ts';
import type { Mapping } from '../../methods/vision/label-mapping.ts';
import {
  type Adaptation,
  adapt,
  performanceGap,
  type Regime,
  type Source,
  type Target,
} from '../../methods/vision/reprogram-lottery-tickets.ts';
import type { Reprogrammed } from '../../methods/vision/reprogrammed.ts';
import { exportModel, inEvalMode } from '../../nn/export.ts';
import { Lambda } from '../../nn/module.ts';
import { modelLayers } from '../../sparsity/index.ts';
import { sparsityReport } from '../../sparsity/report.ts';
import { percent, table } from '../../text.ts';
import { accuracy as accuracyOf, expectedCalibrationError, softmaxRows } from '../../train/calibration.ts';
import { headOf } from '../../train/penultimate.ts';
import { predict } from '../../train/predict.ts';
import { type CommonOptions, command as define, integer, Output, PathError, UsageError } from '../command.ts';
import { dataHelp, openData } from '../data.ts';
import { openModel } from '../model-file.ts';

const regimes: readonly Regime[] = ['linear-probe', 'visual-prompt', 'fine-tune', 'raw-pixels'];

interface Options extends CommonOptions {
  readonly data: readonly string[];
  readonly upstream?: string;
  readonly regime: readonly Regime[];
  readonly shots: readonly (number | 'all')[];
  readonly mapping: Mapping;
  readonly prompt: 'border' | 'additive';
  readonly inner?: number;
  readonly epochs?: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly samples?: number;
  readonly temperature?: boolean;
  readonly seeds: number;
  readonly out?: string;
}

/** Means over seeds of one network on one target; shares 0…1. */
interface Row {
  readonly model: string;
  readonly sparsity: number;
  readonly target: string;
  readonly regime: Regime;
  readonly shots: number | 'all';
  readonly accuracy: number;
  readonly ece: number;
  readonly nll: number;
  /** Accuracy of the first network minus this one's, paired by seed. */
  readonly gap: { readonly mean: number; readonly std: number; readonly isSignificant: boolean };
  readonly scaledEce?: number;
}

/** A network on the test set of its own task; shares 0…1. */
interface Upstream {
  readonly model: string;
  readonly sparsity: number;
  readonly accuracy: number;
  readonly ece: number;
  /** Accuracy of the first network minus this one's. */
  readonly gap: number;
  /** Whether the two are as good here: a gap of at most half a point. Only then does a gap elsewhere speak of transfer. */
  readonly isSimilar: boolean;
}

/** Largest gap between networks that are called as good, as a share. */
const SIMILAR = 0.005;

const numbers = (text: string): number[] => {
  const values = text.split(',').map(Number);
  if (!values.every(Number.isFinite))
    throw new InvalidArgumentError('Expected numbers, such as 0.286 or 0.49,0.48,0.45.');
  return values;
};
const shotList = (text: string): (number | 'all')[] =>
  text.split(',').map(part => (part === 'all' ? part : integer(1)(part)));
const regimeList = (text: string): Regime[] =>
  text.split(',').map(part => {
    const found = regimes.find(r => r === part);
    if (!found) throw new InvalidArgumentError(`Expected ${regimes.join(', ')}.`);
    return found;
  });

export const command = define(
  'reprogram-lottery-tickets',
  'dense.onnx ticket.onnx --data digits --mean 0.286 --std 0.353 --shots 1,16,all',
  c =>
    c
      .description(
        'how frozen classifiers transfer to other data: the first is compared with the others, such as its tickets',
      )
      .argument('<model.onnx...>', 'image classifiers with a linear head: the dense one, then pruned ones')
      .requiredOption('--data <source>', `a target, may be repeated: ${dataHelp}`, (text, before: string[] = []) => [
        ...before,
        text,
      ])
      .option('--upstream <source>', 'the data the models were trained for: tells which are as good there as the first')
      .option('--regime <list>', `of ${regimes.join(', ')}`, regimeList, ['linear-probe', 'visual-prompt'])
      .option('--shots <list>', 'labelled images of each class', shotList, ['all'])
      .addOption(
        new Option('--mapping <name>', 'of source to target classes, for prompts')
          .choices(['ilm', 'flm', 'rlm'])
          .default('ilm'),
      )
      .addOption(new Option('--prompt <kind>', 'of visual prompts').choices(['border', 'additive']).default('border'))
      .option('--inner <pixels>', 'side of the image inside the prompt (default: 4/7 of the height)', integer(1))
      .option('--epochs <n>', 'default: 100, 200 for prompts, 20 for fine-tuning', integer(1))
      .option('--mean <list>', "of the models' normalisation, of values 0…1", numbers, [0])
      .option('--std <list>', "of the models' normalisation", numbers, [1])
      .option('--samples <n>', 'most training and most test images of a target (default: all)', integer(1))
      .option('--temperature', 'also report calibration after a temperature fitted on held-out training images')
      .option('--seeds <n>', 'draws of images and orders of batches', integer(1), 3)
      .option('-o, --out <folder>', 'where report.json and the prompted models go; default nowhere')
      .action(run),
);

async function run(paths: readonly string[], options: Options): Promise<void> {
  if (options.std.some(s => s <= 0)) throw new UsageError('--std: expected numbers above 0');
  if (options.out !== undefined) makeFolder(options.out);
  const output = new Output(options);
  const sources: (Source & { name: string; sparsity: number })[] = [];
  for (const path of paths) sources.push(await openSource(path, options));
  const targets: Target[] = [];
  for (const name of options.data) targets.push(await openTarget(name, sources[0], options.samples));
  const upstream =
    options.upstream === undefined ? [] : await judgeUpstream(options.upstream, sources, options.samples);
  using progress = await output.progress();

  const cases = targets.flatMap(target =>
    options.regime.flatMap(regime => options.shots.map(shots => ({ target, regime, shots }))),
  );
  const total = cases.length * sources.length * options.seeds;
  using bar = progress.start('adapting', total, { unit: 'runs' });
  const rows: Row[] = [];
  const files: string[] = [];
  let done = 0;
  for (const { target, regime, shots } of cases) {
    let dense: number[] = [];
    for (const source of sources) {
      const found: Adaptation[] = [];
      for (let seed = 0; seed < options.seeds; seed++) {
        const { inner, epochs, mapping, prompt, temperature = false } = options;
        const one = await adapt(source, target, {
          ...{ regime, seed, mapping, prompt, temperature },
          ...(shots !== 'all' && { shots }),
          ...(inner !== undefined && { inner }),
          ...(epochs !== undefined && { epochs }),
        });
        found.push(one);
        if (options.out !== undefined && one.reprogrammed && seed === 0) {
          files.push(join(options.out, `${source.name}-${basename(target.name)}-${shots}.onnx`));
          await writePrompted(files.at(-1)!, one.reprogrammed, source);
        }
        bar.update(++done, { network: source.name, target: target.name });
      }
      const accuracies = found.map(f => f.accuracy);
      if (source === sources[0]) dense = accuracies;
      const average = (pick: (f: Adaptation) => number) => found.reduce((a, f) => a + pick(f), 0) / found.length;
      rows.push({
        model: source.name,
        sparsity: source.sparsity,
        target: target.name,
        regime,
        shots,
        accuracy: average(f => f.accuracy),
        ece: average(f => f.ece),
        nll: average(f => f.nll),
        gap: performanceGap(dense, accuracies),
        ...(options.temperature && { scaledEce: average(f => f.scaled!.ece) }),
      });
    }
  }
  bar.stop();
  progress.stop();
  const result = { upstream, rows, files };
  if (options.out !== undefined) {
    await writeFile(join(options.out, 'report.json'), [
      new TextEncoder().encode(`${JSON.stringify(result, null, 2)}\n`),
    ]);
  }
  output.result(result, () =>
    [
      ...(upstream.length > 0 ? [upstreamTable(options.upstream!, upstream), ''] : []),
      transferTable(rows),
      ...notUniversal(rows, upstream),
      ...(files.length > 0 ? [`written: ${files.join(', ')}`] : []),
    ].join('\n'),
  );
}

/** The prompt, the network behind it and the mapping as one model of small images, 0…1. */
async function writePrompted(path: string, model: Reprogrammed, { input: [channels] }: Source): Promise<void> {
  const shape = [1, channels, ...model.prompt.inner];
  await writeOnnx(path, await exportModel(model, { image: { dtype: 'float32', shape } }), { sparse: 1 / 3 });
}

const points = (share: number): string => (100 * share).toFixed(2);

function transferTable(rows: readonly Row[]): string {
  const scaled = rows.some(r => r.scaledEce !== undefined) ? ['ECE, tempered'] : [];
  return table(
    ['target', 'regime', 'shots', 'model', 'sparsity', 'accuracy', 'gap, points', 'ECE', 'NLL', ...scaled],
    rows.map(r => [
      r.target,
      r.regime,
      String(r.shots),
      r.model,
      percent(r.sparsity, 1),
      percent(r.accuracy, 2),
      `${points(r.gap.mean)} ± ${points(r.gap.std)}`,
      percent(r.ece, 2),
      r.nll.toFixed(3),
      ...(r.scaledEce === undefined ? [] : [percent(r.scaledEce, 2)]),
    ]),
  );
}

function upstreamTable(name: string, rows: readonly Upstream[]): string {
  return table(
    [`upstream: ${name}`, 'sparsity', 'accuracy', 'gap, points', 'ECE', ''],
    rows.map(r => [
      r.model,
      percent(r.sparsity, 1),
      percent(r.accuracy, 2),
      points(r.gap),
      percent(r.ece, 2),
      r.isSimilar ? '' : 'not as good as the first: its gaps mix both',
    ]),
  );
}

/** Networks that are as good as the first upstream and worse on a target, by more than the deviation over seeds. */
function notUniversal(rows: readonly Row[], upstream: readonly Upstream[]): string[] {
  const similar = new Set(upstream.filter(u => u.isSimilar).map(u => u.model));
  const worse = rows.filter(r => similar.has(r.model) && r.gap.isSignificant);
  return worse.map(
    r =>
      `${r.model}: as good upstream, but ${points(r.gap.mean)} points behind on ${r.target} (${r.regime}, ${r.shots} a class)`,
  );
}

/** Accuracy and calibration of the networks on the test set of their own task. */
async function judgeUpstream(
  name: string,
  sources: readonly (Source & { name: string; sparsity: number })[],
  samples: number | undefined,
): Promise<Upstream[]> {
  const found: Upstream[] = [];
  for (const source of sources) {
    const { test, classes } = await openTarget(name, source, samples, '--upstream');
    check(
      classes === source.classes,
      () =>
        `--upstream ${name}: ${classes} classes, ${source.name} has ${source.classes}; give the data it was trained for`,
    );
    const [, height, width] = source.input;
    const prepared = compose(resize([height, width]), normalize(source.mean, source.std));
    const data = new ArrayDataset(await prepared(await test.all(), { indices: [], epoch: 0, random: new Random(0) }));
    const model = new Lambda((x: Tensor) => headOf(source.model.forward(x), x).logits);
    const loader = new DataLoader(data, { batchSize: Math.min(500, data.length) });
    const { logits, labels } = await inEvalMode(source.model, () => predict(model, loader));
    const accuracy = accuracyOf(logits, labels);
    const gap = (found[0]?.accuracy ?? accuracy) - accuracy;
    const ece = expectedCalibrationError(softmaxRows(logits), labels);
    found.push({
      ...{ model: source.name, sparsity: source.sparsity, accuracy, ece, gap },
      isSimilar: Math.abs(gap) <= SIMILAR,
    });
  }
  return found;
}

async function openSource(path: string, { mean, std }: Options): Promise<Source & { name: string; sparsity: number }> {
  const { inputs, traced, untraced } = await openModel(path);
  check(traced, () => `${path}: cannot be traced: ${untraced}`);
  const [{ shape }] = inputs;
  check(
    shape.length === 4 && shape[1] <= 4,
    () => `${path}: its input is [${shape.join(', ')}], expected [n, channels, height, width]`,
  );
  const x = zeros([1, ...shape.slice(1)]);
  const { logits } = headOf(traced.module.forward(x), x);
  const { total } = sparsityReport((await modelLayers(traced.module, inputs)).layers);
  return {
    name: path
      .replace(/\.onnx$/, '')
      .replace(/[^\w.-]+/g, '-')
      .replace(/^[-.]+/, ''),
    model: traced.module,
    input: [shape[1], shape[2], shape[3]],
    mean: mean.length === 1 ? mean[0] : mean,
    std: std.length === 1 ? std[0] : std,
    classes: logits.shape[1],
    sparsity: 1 - total.density,
  };
}

async function openTarget(
  name: string,
  { input }: Source,
  samples: number | undefined,
  flag = '--data',
): Promise<Target> {
  // A folder's images come in any size; those of a set have one.
  const isFolder = statSync(name, { throwIfNoEntry: false })?.isDirectory();
  const data = await openData(name, undefined, isFolder ? { dtype: 'float32', shape: [1, ...input] } : undefined);
  if (data.sample.length !== 3 || data.sample[0] !== input[0]) {
    throw new GossamerError(
      `${flag} ${name}: a sample is [${data.sample.join(', ')}], the models take ${input[0]} channel${input[0] === 1 ? '' : 's'}`,
    );
  }
  const some = (part: typeof data.train) => (samples === undefined ? part : part.take(samples));
  return { name, train: some(data.train), test: some(data.test), classes: data.classes };
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw new PathError(`${path}: cannot be made: ${(error as Error).message}`);
  }
}
