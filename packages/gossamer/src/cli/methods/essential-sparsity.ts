import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { check, Random, type Spec, type Tensor, writeFile, writeSafetensors } from '@gossamer/tensor';
import { InvalidArgumentError, Option } from 'commander';
import { DataLoader } from '../../data/loader.ts';
import { tokenWindows } from '../../data/sequences.ts';
import {
  essential,
  essentialConfidence,
  essentialCurve,
  essentialMask,
  type Metric,
  type Protocol,
  prunableWeights,
} from '../../methods/pruning/essential-sparsity.ts';
import { Llama } from '../../models/llama.ts';
import { createModel, models } from '../../models/registry.ts';
import { loadPretrained } from '../../models/weights.ts';
import type { Module } from '../../nn/module.ts';
import { SGD } from '../../optim/index.ts';
import { cosineSchedule } from '../../optim/schedule.ts';
import { lineChart } from '../../plot.ts';
import { grouped, percent, table } from '../../text.ts';
import { isRight, meanOf, perSample, type SampleMeasure, windowLoss } from '../../train/per-sample.ts';
import { classification, type Task } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { batches, classifierTask } from '../classification.ts';
import {
  type CommonOptions,
  checkOutput,
  command as define,
  integer,
  list,
  Output,
  positive,
  UsageError,
} from '../command.ts';
import { checkDataInput, traced } from '../compress.ts';
import { dataHelp, normalizeHelp, openData } from '../data.ts';
import { graphBatch, openModel } from '../model-file.ts';

interface Options extends CommonOptions {
  readonly model?: string;
  readonly weights?: string;
  readonly data: string;
  readonly normalize?: string;
  readonly grid: readonly number[];
  readonly scope: 'global' | 'layer';
  readonly random?: boolean;
  readonly exclude?: string[];
  readonly tolerance: number;
  readonly finetuneEpochs: number;
  readonly lr: number;
  readonly batch: number;
  readonly samples: number;
  readonly tokens: number;
  readonly seed: number;
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
    .requiredOption('--data <source>', `${dataHelp}; for a language model a text file`)
    .option('--normalize <how>', normalizeHelp)
    .option('--grid <shares>', 'sparsities, with commas (default: 0.1 to 0.9)', grid, nine)
    .addOption(
      new Option('--scope <what>', 'one threshold, or the same share of each layer')
        .choices(['global', 'layer'])
        .default('global'),
    )
    .option('--random', 'also prune at random, as a control')
    .option('--exclude <layers>', 'weights that stay beside embeddings and head; may be repeated', list)
    .option('--tolerance <share>', 'of the dense metric that may be lost', positive, 0.01)
    .option('--finetune-epochs <n>', 'train on with the mask fixed at every sparsity; 0 is zero-shot', integer(0), 0)
    .option('--lr <rate>', 'learning rate of the fine-tuning', positive, 0.01)
    .option('--batch <n>', 'samples of a batch', integer(1), 64)
    .option('--samples <n>', 'test samples (windows of text) that are evaluated', integer(2), 1000)
    .option('--tokens <n>', 'tokens of a window of text', integer(2), 256)
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
  return values.sort((a, b) => a - b);
}

/** What is measured, on what, and how it could be trained on. */
interface Subject {
  readonly model: Module;
  readonly inputs: readonly Spec[];
  readonly metric: Metric;
  readonly measure: SampleMeasure;
  readonly test: DataLoader;
  /** Undefined where nothing can be trained on. */
  readonly training?: { readonly task: Task; readonly loader: () => DataLoader };
}

async function run(path: string | undefined, options: Options): Promise<void> {
  if ((path === undefined) === (options.model === undefined))
    throw new UsageError('give a model, or --model and --weights');
  if (options.model !== undefined && options.weights === undefined) {
    throw new UsageError(`--model ${options.model}: give --weights; an untrained model has nothing to lose`);
  }
  for (const file of [options.out, options.mask]) if (file !== undefined) checkOutput(file);
  const output = new Output(options);
  const subject = await open(path, options);
  const { model, inputs, metric, test, measure, training } = subject;
  if (options.finetuneEpochs > 0 && !training) throw new UsageError('--finetune-epochs: a text is only evaluated on');
  using progress = await output.progress();
  const evaluate = async (m: Module) => {
    const samples = await perSample(m, measure, test);
    return { value: metric.log ? Math.exp(meanOf(samples)) : meanOf(samples), samples };
  };
  const protocol = protocolOf(subject, options);
  const { seed, scope, tolerance, exclude } = options;
  const common = { model, inputs, grid: options.grid, metric, evaluate, protocol, exclude, tolerance, progress };
  const curve = await essentialCurve({ ...common, scope });
  const control = options.random
    ? await essentialCurve({ ...common, refine: 0, random: new Random(seed).fork('random pruning') })
    : undefined;
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

async function open(path: string | undefined, options: Options): Promise<Subject> {
  if (path === undefined) return registered(options.model!, options);
  const found = await stat(path).catch(() => undefined);
  check(found, `${path}: no such file or folder`);
  return found.isDirectory() ? llama(path, options) : file(path, options);
}

const accuracy: Metric = { name: 'accuracy', better: 'higher' };

async function registered(name: string, options: Options): Promise<Subject> {
  const { input, classes } = models[name];
  if (input.dtype !== 'float32' || classes === null) {
    throw new UsageError(`--model ${name}: is no image classifier; language models are given as a folder`);
  }
  const inputs = [{ dtype: input.dtype, shape: [1, ...input.shape] }];
  const data = await openData(options.data, options.normalize, inputs[0]);
  const model = await loadPretrained(
    createModel(name, { classes: data.classes, seed: options.seed }),
    options.weights!,
  );
  const { batch: batchSize, samples: limit, seed } = options;
  return {
    model,
    inputs,
    metric: accuracy,
    measure: isRight,
    test: batches(data, 'test', { batchSize, limit }),
    training: {
      task: classification(),
      loader: () => batches(data, 'train', { batchSize, shuffle: true, seed, dropLast: true }),
    },
  };
}

/** An imported classifier, also one that ends in a softmax or fixes its batch. */
async function file(path: string, options: Options): Promise<Subject> {
  const opened = await openModel(path);
  const { module } = traced(opened);
  const data = await openData(options.data, options.normalize, checkDataInput(path, opened.inputs, opened.onnx));
  const task = classifierTask(opened.onnx);
  const batchSize = graphBatch(opened, options.batch);
  const dropLast = batchSize !== options.batch;
  const { samples: limit, seed } = options;
  return {
    model: module,
    inputs: opened.inputs,
    metric: accuracy,
    measure: (m, { inputs, labels }) => {
      const results = m.forward(inputs) as Tensor | Record<string, Tensor>;
      const first = 'shape' in results ? (results as Tensor) : Object.values(results)[0];
      return first.reshape([first.shape[0], -1]).argmax(-1).eq(labels).cast('float32');
    },
    test: batches(data, 'test', { batchSize, limit, dropLast }),
    training: { task, loader: () => batches(data, 'train', { batchSize, shuffle: true, seed, dropLast: true }) },
  };
}

async function llama(folder: string, options: Options): Promise<Subject> {
  const model = await Llama.fromPretrained(folder);
  check(model.tokenizer, `${join(folder, 'tokenizer.json')}: needed to read --data ${options.data}`);
  const text = await readFile(options.data, 'utf8').catch(cause => {
    throw new UsageError(`--data ${options.data}: a language model is evaluated on a text file: ${cause.message}`);
  });
  const length = Math.min(options.tokens, model.context);
  const windows = tokenWindows(Int32Array.from(model.tokenizer.encode(text)), length);
  return {
    model,
    inputs: [{ dtype: 'int32', shape: [1, length] }],
    metric: { name: 'perplexity', better: 'lower', log: true },
    measure: windowLoss,
    test: new DataLoader(windows.take(options.samples), { batchSize: Math.min(options.batch, 8) }),
  };
}
