import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Random, writeFile } from '@gossamer/tensor';
import { Option } from 'commander';
import {
  auditTable,
  type Balance,
  type Family,
  families,
  sparseIFT,
} from '../../methods/sparse-training/sparse-ift.ts';
import { createModel, models } from '../../models/registry.ts';
import { SGD } from '../../optim/index.ts';
import { cosineSchedule } from '../../optim/schedule.ts';
import { clock, grouped, percent } from '../../text.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { batches } from '../classification.ts';
import {
  type CommonOptions,
  checkOutput,
  command as define,
  integer,
  list,
  nonNegative,
  Output,
  positive,
  share,
  UsageError,
} from '../command.ts';
import { dataHelp, normalizeHelp, openData } from '../data.ts';
import { inputOf, writeModel } from '../train.ts';

interface Options extends CommonOptions {
  readonly model: string;
  readonly family: Family;
  readonly sparsity: number;
  readonly balance?: Balance;
  readonly allocation: 'uniform' | 'er' | 'erk';
  readonly between: 'linear' | 'bn' | 'bn+relu';
  readonly factors: 'both' | 'u';
  readonly maskOptimizer: 'rigl' | 'set' | 'static';
  readonly interval: number;
  readonly fraction: number;
  readonly until: number;
  readonly exclude?: string[];
  readonly width?: number;
  readonly classes?: number;
  readonly data?: string;
  readonly normalize?: string;
  readonly epochs: number;
  readonly batch: number;
  readonly lr: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly seed: number;
  readonly out?: string;
}

export const command = define(
  'sparse-ift',
  '--model resnet20 --family wide --sparsity 0.75 --data cifar-10 --epochs 10 -o run',
  c =>
    c
      .description('a wider, parallel, factorised or doped sparse network at the FLOPs of the dense one')
      .addOption(new Option('--model <name>', 'the dense network').choices(Object.keys(models)).makeOptionMandatory())
      .addOption(new Option('--family <name>', 'what takes the place of a layer').choices(families).default('wide'))
      .requiredOption('--sparsity <share>', 'the one knob', share)
      .addOption(
        new Option(
          '--balance <where>',
          'where FLOPs are equal (default: network for wide families, else layer)',
        ).choices(['network', 'layer', 'none']),
      )
      .addOption(
        new Option('--allocation <rule>', 'shape of the densities')
          .choices(['uniform', 'er', 'erk'])
          .default('uniform'),
      )
      .addOption(
        new Option('--between <what>', 'between two factors').choices(['linear', 'bn', 'bn+relu']).default('linear'),
      )
      .addOption(new Option('--factors <which>', 'which factors are sparse').choices(['both', 'u']).default('both'))
      .option('--exclude <weights>', 'weights left dense, by name; may be repeated', list)
      .option('--width <factor>', 'factor on the width of the dense network', positive)
      .option('--classes <n>', 'classes of the network, without --data', integer(1))
      .option('-o, --out <folder>', 'where the trained model and audit.json go; needs --data')
      .option('--seed <n>', 'seed of everything random', integer(0), 0)
      .optionsGroup('Training (with --data; without it the audit is all):')
      .option('--data <source>', dataHelp)
      .option('--normalize <how>', normalizeHelp)
      .addOption(
        new Option('--mask-optimizer <name>', 'how masks move').choices(['rigl', 'set', 'static']).default('rigl'),
      )
      .option('--interval <steps>', 'steps between mask updates', integer(1), 100)
      .option('--fraction <share>', 'live weights that move at the first update; falls by a cosine', share, 0.3)
      .option('--until <share>', 'share of the training in which masks move', nonNegative, 0.8)
      .option('--epochs <n>', 'passes over the data', integer(1), 10)
      .option('--batch <n>', 'samples of a batch', integer(1), 64)
      .option('--lr <rate>', 'learning rate of SGD; falls by a cosine', positive, 0.1)
      .option('--momentum <m>', 'momentum of SGD', share, 0.9)
      .option('--weight-decay <d>', 'weight decay; of pairs on their product', nonNegative, 0)
      .action(run),
);

async function run(options: Options): Promise<void> {
  const { model: name, family, sparsity, seed, out } = options;
  if (options.until > 1) throw new UsageError('--until is a share of the training, up to 1');
  const entry = models[name];
  if (out !== undefined && options.data === undefined) throw new UsageError('-o keeps a trained model: give --data');
  if (family.startsWith('wide') && entry.scalable === false) {
    throw new UsageError(`--model ${name}: its width cannot be chosen; take another family`);
  }
  if (options.data !== undefined && (entry.input.dtype !== 'float32' || entry.classes === null)) {
    throw new UsageError(
      `--model ${name}: is no image classifier, which --data can train; leave --data out for the audit`,
    );
  }
  if (out !== undefined) checkOutput(join(out, '..', 'x'));
  const output = new Output(options);
  const spec = { dtype: entry.input.dtype, shape: [1, ...entry.input.shape] };
  const data = options.data === undefined ? undefined : await openData(options.data, options.normalize, spec);
  const classes = data?.classes ?? options.classes;
  const ift = await sparseIFT({
    build: factor =>
      createModel(name, { classes, seed, width: entry.scalable === false ? undefined : (options.width ?? 1) * factor }),
    input: spec,
    family,
    sparsity,
    balance: options.balance,
    allocation: options.allocation,
    between: options.between,
    factors: options.factors,
    exclude: options.exclude,
    random: new Random(seed),
  });
  const { audit } = ift;
  const summary = { model: name, family, sparsity, ...audit };
  const text = [
    auditTable(audit),
    '',
    `${grouped(audit.dense)} multiply-adds a sample, now ${grouped(audit.now)} (${percent(audit.ratio, 2)}); masks are chosen among ${grouped(audit.maskable)} weights`,
  ];
  if (!data) return output.result(summary, () => text.join('\n'));

  const { epochs, batch: batchSize, lr: learningRate, momentum, weightDecay } = options;
  const { maskOptimizer, interval, fraction, until } = options;
  const train = batches(data, 'train', { batchSize, shuffle: true, seed, dropLast: true });
  const sparsifier = ift.sparsifier({ maskOptimizer, interval, fraction, until, weightDecay });
  using progress = await output.progress();
  const { metrics, seconds } = await new Trainer({
    model: ift.model,
    task: classification(),
    train,
    validation: batches(data, 'test', { batchSize }),
    optimizer: new SGD(ift.groups(), { learningRate, momentum, weightDecay }),
    schedule: cosineSchedule({ steps: epochs * train.length }),
    epochs,
    sparsifiers: sparsifier ? [sparsifier] : [],
    seed,
    progress,
  }).run();
  progress.stop();
  const result = { ...summary, accuracy: metrics.accuracy, loss: metrics.loss, seconds };
  const files: string[] = [];
  if (out !== undefined) {
    await mkdir(out, { recursive: true });
    files.push(...(await writeModel(out, ift.model, await inputOf(train))));
    files.push(join(out, 'audit.json'));
    await writeFile(files.at(-1)!, [new TextEncoder().encode(`${JSON.stringify(result, null, 1)}\n`)]);
  }
  output.result({ ...result, files }, () =>
    [
      ...text,
      `test accuracy ${percent(metrics.accuracy, 2)} after ${epochs} epochs in ${clock(seconds)}`,
      ...(files.length > 0 ? [`written: ${files.join(', ')}`] : []),
    ].join('\n'),
  );
}
