import { Random, writeFile, writeSafetensors } from '@gossamer/tensor';
import { InvalidArgumentError, Option } from 'commander';
import {
  type CurveOptions,
  type CurvePoint,
  essential,
  essentialConfidence,
  essentialCurve,
  essentialMask,
  type Protocol,
  prunableWeights,
} from '../../methods/pruning/essential-sparsity.ts';
import { models } from '../../models/registry.ts';
import type { Module } from '../../nn/module.ts';
import { SGD } from '../../optim/index.ts';
import { cosineSchedule } from '../../optim/schedule.ts';
import { lineChart } from '../../plot.ts';
import { parseGranularity } from '../../sparsity/granularity.ts';
import { grouped, percent, table } from '../../text.ts';
import { meanOf, perSample } from '../../train/per-sample.ts';
import { Trainer } from '../../train/trainer.ts';
import {
  type CommonOptions,
  checkOutput,
  command as define,
  integer,
  list,
  Output,
  positive,
  share,
  UsageError,
} from '../command.ts';
import { dataHelp, normalizeHelp } from '../data.ts';
import { reportEmergence } from '../emergence.ts';
import { openPretrained, type PretrainedFlags, type Subject } from '../pretrained.ts';

export interface Options extends CommonOptions, PretrainedFlags {
  readonly grid: readonly number[];
  readonly scope: 'global' | 'layer';
  readonly random?: boolean;
  readonly pattern?: readonly PatternCurve[];
  readonly exclude?: string[];
  readonly tolerance: number;
  readonly finetuneEpochs: number;
  readonly lr: number;
  readonly checkpoints?: readonly string[];
  readonly nearZero?: number;
  readonly out?: string;
  readonly mask?: string;
}

/** Default grid. */
const nine = Array.from({ length: 9 }, (_, i) => (i + 1) / 10);

export const command = define('essential-sparsity', 'stories260K --data stories.txt --tolerance 0.05 -o curve.svg', c =>
  c
    .description('how far a pretrained model can be pruned by magnitude for free, and where it drops')
    .argument(
      '[model]',
      'a classifier as .onnx, or a folder of a LLaMA (config.json, model.safetensors, tokenizer.json)',
    )
    .addOption(new Option('--model <name>', 'a model of the registry, with --weights').choices(Object.keys(models)))
    .option('--weights <file>', 'its safetensors')
    .option('--data <source>', `${dataHelp}; for a language model a text file`)
    .option('--normalize <how>', normalizeHelp)
    .option('--grid <shares>', 'sparsities, with commas (default: 0.1 to 0.9)', grid, nine)
    .addOption(
      new Option('--scope <what>', 'one threshold, or the same share of each layer')
        .choices(['global', 'layer'])
        .default('global'),
    )
    .option('--random', 'also prune at random, as a control')
    .option(
      '--pattern <n:m>',
      'also prune by an N:M pattern such as 2:4, or by all of 8 with N:8; may be repeated',
      patterns,
    )
    .option('--exclude <layers>', 'weights that stay beside embeddings and head; may be repeated', list)
    .option('--tolerance <share>', 'of the dense metric that may be lost', positive, 0.01)
    .option('--finetune-epochs <n>', 'train on with the mask fixed at every sparsity; 0 is zero-shot', integer(0), 0)
    .option('--lr <rate>', 'learning rate of the fine-tuning', positive, 0.01)
    .option('--batch <n>', 'samples of a batch', integer(1), 64)
    .option('--samples <n>', 'test samples (windows of text) that are evaluated', integer(2), 1000)
    .option('--tokens <n>', 'tokens of a window of text', integer(2), 256)
    .option(
      '--checkpoints <files...>',
      'instead, count the near-zero weights of these safetensors of the model in training, and s* of each if --data is given',
    )
    .option('--near-zero <share>', 'of the first checkpoint that counts as near zero (default: 0.01)', share)
    .option('--seed <n>', 'seed of everything random', integer(0), 0)
    .option('-o, --out <file.svg>', 'where the picture goes')
    .option('--mask <file.safetensors>', 'where the mask at the essential sparsity goes')
    .action(run),
);

function grid(text: string): number[] {
  const values = text.split(',').map(Number);
  if (values.some(v => !(v >= 0 && v < 1))) {
    throw new InvalidArgumentError('Expected numbers from 0 to below 1, such as 0.2,0.4,0.6.');
  }
  const ascending = [...new Set(values)].sort((a, b) => a - b);
  if (ascending.filter(v => v > 0).length < 2) throw new InvalidArgumentError('Expected 2 sparsities above 0 or more.');
  return ascending;
}

/** Masks of n out of m, at one or several n. */
interface PatternCurve {
  /** As it was given: `2:4`, `N:8`. */
  readonly name: string;
  /** Ascending. */
  readonly grid: readonly number[];
  readonly pattern: (sparsity: number) => string;
}

/** Curves that a picture has colours for, beside those of magnitude and chance. */
const mostPatterns = 5;

function patterns(text: string, before: readonly PatternCurve[] = []): PatternCurve[] {
  const found = list(text).map((name): PatternCurve => {
    const [, count, size, suffix = ''] = /^(\d+|N):(\d+)((?::out|:in)?(?::pad)?)$/.exec(name) ?? [];
    const m = Number(size);
    const sizes = count === 'N' ? Array.from({ length: m - 1 }, (_, i) => m - 1 - i) : [Number(count)];
    if (!(m >= 2) || sizes.some(n => !(n >= 1 && n < m))) {
      throw new InvalidArgumentError(`'${name}': expected n of m weights with n below m, such as 2:4, 2:4:pad or N:8.`);
    }
    const pattern = (sparsity: number) => `${Math.round((1 - sparsity) * m)}:${m}${suffix}`;
    for (const n of sizes) parseGranularity(`${n}:${m}${suffix}`);
    return { name, grid: sizes.map(n => 1 - n / m), pattern };
  });
  const all = [...before, ...found];
  if (new Set(all.map(p => p.name)).size < all.length) throw new InvalidArgumentError('A pattern is given twice.');
  if (all.length > mostPatterns) throw new InvalidArgumentError(`Expected at most ${mostPatterns} patterns.`);
  return all;
}

async function run(path: string | undefined, options: Options): Promise<void> {
  if ((path === undefined) === (options.model === undefined))
    throw new UsageError('give a model, or --model and --weights');
  if (options.checkpoints) {
    refuseBeside(options);
    return reportEmergence(path, { ...options, checkpoints: options.checkpoints });
  }
  if (options.nearZero !== undefined) throw new UsageError('--near-zero is about --checkpoints; give them');
  if (options.data === undefined) throw new UsageError('give --data to measure the model on');
  if (options.model !== undefined && options.weights === undefined) {
    throw new UsageError(`--model ${options.model}: give --weights; an untrained model has nothing to lose`);
  }
  for (const file of [options.out, options.mask]) if (file !== undefined) checkOutput(file);
  const output = new Output(options);
  const opened = await openPretrained(path, options);
  const { model, inputs } = opened;
  const subject = opened.subject!;
  const { metric, test, measure } = subject;
  if (options.finetuneEpochs > 0 && !subject.training)
    throw new UsageError('--finetune-epochs: a text is only evaluated on');
  await checkPatterns(model, inputs, options);
  using progress = await output.progress();
  const evaluate = async (m: Module) => {
    const samples = await perSample(m, measure, test);
    return { value: metric.log ? Math.exp(meanOf(samples)) : meanOf(samples), samples };
  };
  const protocol = protocolOf(subject, options);
  const { seed, scope, tolerance, exclude, pattern: asked = [] } = options;
  const common = { model, inputs, grid: options.grid, metric, evaluate, protocol, exclude, tolerance, progress };
  const curve = await essentialCurve({ ...common, scope });
  const control = options.random
    ? await essentialCurve({ ...common, refine: 0, random: new Random(seed).fork('random pruning') })
    : undefined;
  const patterned: PatternResult[] = [];
  for (const { name, grid, pattern } of asked) {
    const { points } = await essentialCurve({ ...common, refine: 0, grid, pattern });
    patterned.push({ name, points: points.slice(1) });
  }
  const equal = await unstructuredAt(patterned, curve.points, { ...common, scope, refine: 0 });
  const found = essential(curve.points, metric, tolerance);
  const confidence = essentialConfidence(curve.points, metric, {
    tolerance,
    random: new Random(seed).fork('bootstrap'),
  });
  progress.stop();

  const files: string[] = [];
  const plain = (points: typeof curve.points) => points.map(({ sparsity, value }) => ({ sparsity, value }));
  if (options.out !== undefined) {
    const series = [
      { name: `magnitude, ${scope}`, points: curve.points },
      ...(control ? [{ name: 'random', points: control.points }] : []),
      ...patterned,
    ];
    const svg = lineChart({
      title: `Essential sparsity: ${path ?? options.model}`,
      subtitle: `${protocol.kind}; s* ${percent(found.sparsity)}, knee ${percent(found.knee)}`,
      x: { label: 'sparsity of the blocks', format: v => percent(v, 0) },
      y: { label: metric.name, ...(metric.log && { scale: 'log' }) },
      series: series.map(({ name, points }) => ({ name, points: points.map(p => ({ x: p.sparsity, mean: p.value })) })),
    });
    await writeFile(options.out, [new TextEncoder().encode(svg)]);
    files.push(options.out);
  }
  const { layers } = await prunableWeights(model, inputs, exclude);
  const mask = essentialMask(layers, { sparsity: found.sparsity, scope });
  const byLayer = Object.fromEntries(layers.map(l => [l.name, mask.sparsity(l.name)]));
  if (options.mask !== undefined) {
    await writeSafetensors(options.mask, mask.toArrays());
    files.push(options.mask);
  }
  const result = {
    model: path ?? options.model,
    metric: metric.name,
    protocol: protocol.kind,
    tolerance,
    scope,
    zeros: curve.zeros,
    prunable: curve.prunable,
    points: plain(curve.points),
    ...(control && { random: plain(control.points) }),
    ...(asked.length > 0 && {
      patterns: patterned.map(({ name, points }) => ({
        name,
        points: points.map(({ sparsity, value }) => ({ sparsity, value, unstructured: equal.get(sparsity)! })),
      })),
    }),
    ...found,
    byLayer,
    confidence,
    files,
  };
  const range = ([low, high]: readonly [number, number]) => `${percent(low)} … ${percent(high)}`;
  output.result(result, () =>
    [
      table(
        ['sparsity', `${metric.name} (${protocol.kind})`],
        curve.points.map(p => [percent(p.sparsity), p.value.toFixed(4)]),
      ),
      ...(control
        ? [
            '',
            table(
              ['sparsity', 'random'],
              control.points.map(p => [percent(p.sparsity), p.value.toFixed(4)]),
            ),
          ]
        : []),
      ...(asked.length > 0
        ? [
            '',
            table(
              ['pattern', 'sparsity', metric.name, 'unstructured'],
              patterned.flatMap(({ name, points }) =>
                points.map(p => [name, percent(p.sparsity), p.value.toFixed(4), equal.get(p.sparsity)!.toFixed(4)]),
              ),
            ),
          ]
        : []),
      '',
      table(
        ['layer', 'sparsity at s*'],
        Object.entries(byLayer).map(([name, s]) => [name, percent(s)]),
      ),
      '',
      `essential sparsity s* ${percent(found.sparsity)} (within ${percent(tolerance)} of dense; 95 % bootstrap ${range(confidence.sparsity)})`,
      `knee                  ${percent(found.knee)} (95 % bootstrap ${range(confidence.knee)})`,
      `slope of the ${metric.log ? 'log ' : ''}${metric.name} before s* ${found.slopes[0].toPrecision(3)}, after ${found.slopes[1].toPrecision(3)}`,
      `${grouped(curve.prunable.length)} weight tensors, of which ${percent(curve.zeros)} is zero already; embeddings and head stay`,
      ...(files.length > 0 ? [`written: ${files.join(', ')}`] : []),
    ].join('\n'),
  );
}

/** What has no meaning for checkpoints is refused rather than ignored. */
function refuseBeside({ pattern, random, mask, weights, finetuneEpochs }: Options): void {
  const beside = { '--pattern': pattern, '--random': random, '--mask': mask, '--weights': weights };
  const given = Object.entries(beside).find(([, value]) => value !== undefined);
  if (given) throw new UsageError(`--checkpoints: ${given[0]} is for the curve of one model; leave it out`);
  if (finetuneEpochs > 0) throw new UsageError('--checkpoints: models are measured as they are; no --finetune-epochs');
}

/** Refuses patterns that do not fit a layer, before the work. */
async function checkPatterns(model: Module, inputs: CurveOptions['inputs'], options: Options): Promise<void> {
  if (!options.pattern) return;
  const { layers } = await prunableWeights(model, inputs, options.exclude);
  for (const { grid, pattern } of options.pattern) essentialMask(layers, { pattern: pattern(grid[0]) });
}

interface PatternResult {
  readonly name: string;
  readonly points: readonly CurvePoint[];
}

/** The metric of unstructured masks with as many weights as each pattern keeps. */
async function unstructuredAt(
  patterned: readonly PatternResult[],
  known: readonly CurvePoint[],
  options: CurveOptions,
): Promise<ReadonlyMap<number, number>> {
  const values = new Map(known.map(p => [p.sparsity, p.value]));
  const open = [...new Set(patterned.flatMap(p => p.points.map(({ sparsity }) => sparsity)))];
  const grid = open.filter(s => !values.has(s)).sort((a, b) => a - b);
  if (grid.length === 0) return values;
  const { points } = await essentialCurve({ ...options, grid });
  for (const [i, sparsity] of grid.entries()) values.set(sparsity, points[i + 1].value);
  return values;
}

function protocolOf({ training }: Subject, { finetuneEpochs: epochs, lr: learningRate, seed }: Options): Protocol {
  if (epochs === 0) return { kind: 'zero-shot' };
  return {
    kind: 'fine-tune',
    train: async (model, sparsifiers) => {
      const train = training!.loader();
      await new Trainer({
        model,
        task: training!.task,
        train,
        optimizer: new SGD(model.parameters(), { learningRate, momentum: 0.9 }),
        schedule: cosineSchedule({ steps: epochs * train.length }),
        epochs,
        sparsifiers,
        seed,
      }).run();
    },
  };
}
