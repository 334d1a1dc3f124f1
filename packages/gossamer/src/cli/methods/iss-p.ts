import { mkdir } from 'node:fs/promises';
import { check, Random, tensor } from '@gossamer/tensor';
import { InvalidArgumentError, Option } from 'commander';
import { decodeImage, readFolder } from '../../data/images.ts';
import { DataLoader } from '../../data/loader.ts';
import { load } from '../../data/registry.ts';
import {
  degrade,
  extend,
  type Image,
  luma,
  type Pair,
  PatchDataset,
  psnr,
  resizeBicubic,
  ssim,
  toUnit,
} from '../../data/super-resolution.ts';
import { SoftShrinkage } from '../../methods/pruning/iss-p.ts';
import { EDSR, WindowTransformer } from '../../models/super-resolution.ts';
import { l1 } from '../../nn/loss.ts';
import type { Module } from '../../nn/module.ts';
import { Adam } from '../../optim/index.ts';
import { formatGranularity, type Granularity } from '../../sparsity/granularity.ts';
import { modelLayers } from '../../sparsity/model.ts';
import { reportTable, sparsityReport } from '../../sparsity/report.ts';
import { clock } from '../../text.ts';
import type { Task } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import {
  type CommonOptions,
  command as define,
  integer,
  list,
  Output,
  positive,
  share,
  UsageError,
} from '../command.ts';
import { pattern } from '../pattern.ts';
import { prepareRun, writeModel } from '../train.ts';

interface Options extends CommonOptions {
  readonly data: string;
  readonly test?: string;
  readonly scale: 2 | 3 | 4;
  readonly network: 'edsr' | 'windows';
  readonly width?: number;
  readonly blocks?: number;
  readonly sparsity?: number;
  readonly pattern: Granularity;
  readonly allocation: 'uniform' | 'global';
  readonly exclude?: readonly string[];
  readonly form: 'shrink' | 'regularize' | 'fixed';
  readonly alpha: number;
  readonly every?: number;
  readonly increase: number;
  readonly limit: number;
  readonly until: number;
  readonly diagnose?: number;
  readonly steps: number;
  readonly patch: number;
  readonly batch: number;
  readonly lr: number;
  readonly seed: number;
  readonly out?: string;
  readonly resume?: boolean;
}

const sets = ['set5', 'set14', 'bsd100'] as const;
const source = `sets (${sets.join(', ')}) with commas between, or a folder of images`;

export const command = define('iss-p', '--data set14,bsd100 --test set5 --sparsity 0.9 --steps 2000 --out sr', c =>
  c
    .description('trains a sparse super-resolution network (EDSR) from scratch by iterative soft shrinkage')
    .requiredOption('--data <source>', `photographs to learn from: ${source}`)
    .option('--test <source>', 'photographs to measure on; default none')
    .addOption(new Option('--scale <n>', 'enlargement').choices(['2', '3', '4']).argParser(Number).default(2))
    .addOption(
      new Option('--network <name>', 'residual convolutions, or a small transformer on windows of 8 × 8 pixels')
        .choices(['edsr', 'windows'])
        .default('edsr'),
    )
    .option('--width <n>', 'features of the network; default 64 of edsr, 32 of windows', integer(1))
    .option('--blocks <n>', 'residual blocks; default 16 of edsr, 2 of windows', integer(1))
    .option(
      '--sparsity <share>',
      'share of each layer that goes; without it (and an N:M pattern) a dense training',
      share,
    )
    .addOption(
      new Option('--pattern <name>', 'element, 2:4, filter, …')
        .argParser(pattern)
        .default({ kind: 'element' }, 'element'),
    )
    .addOption(
      new Option('--allocation <rule>', 'weights are ranked layer by layer, or all together')
        .choices(['uniform', 'global'])
        .default('uniform'),
    )
    .option('--exclude <layers>', 'layers left dense: names (with *), kinds, first, last; may be repeated', list)
    .addOption(
      new Option('--form <name>', 'shrink unimportant weights, or penalise them (fixed: those of the first time)')
        .choices(['shrink', 'regularize', 'fixed'])
        .default('shrink'),
    )
    .option('--alpha <factor>', 'what unimportant weights are multiplied by, 0 to 1', factor, 0.99)
    .option('--every <n>', 'steps between shrinks (default 1) or increases of the penalty (default 5)', integer(1))
    .option('--increase <rho>', 'of the penalty factor', positive, 1e-4)
    .option('--limit <rho>', 'of the penalty factor', positive, 1)
    .option('--until <share>', 'share of the steps that finds the structure', positive, 0.6)
    .option('--diagnose <n>', 'steps between looks at gradients and unimportant weights, for --json', integer(1))
    .option('--steps <n>', 'optimiser steps', integer(1), 10_000)
    .option('--patch <n>', 'side of a low-resolution patch', integer(4), 24)
    .option('--batch <n>', 'patches of a batch', integer(1), 16)
    .option('--lr <rate>', 'learning rate of Adam', positive, 2e-4)
    .option('--seed <n>', 'seed of everything random', integer(0), 0)
    .option('-o, --out <folder>', 'where metrics, checkpoints and the model go; default nowhere')
    .option('--resume', 'go on with the run in --out')
    .action(run),
);

function factor(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError('Expected a number from 0 to 1.');
  return value;
}

/** Sides of the windows that `windows` attends in. */
const WINDOW = 8;

const task: Task = (model, { inputs, targets }) => ({ loss: l1(model.forward(inputs), targets) });

async function run(options: Options): Promise<void> {
  const { json: _, quiet: __, out, resume = false, ...settings } = options;
  const { scale, patch, batch: batchSize, steps, seed, until, network } = options;
  if (resume && out === undefined) throw new UsageError('--resume goes on with the run in --out: give it');
  if (until > 1) throw new UsageError(`--until ${until}: expected a share of the steps, at most 1`);
  if (network === 'windows' && patch % WINDOW !== 0) {
    throw new UsageError(
      `--patch ${patch}: windows of ${WINDOW} × ${WINDOW} pixels do not fill it; give a multiple of ${WINDOW}`,
    );
  }
  const sparsifier = sparsifierOf(options);
  const output = new Output(options);
  const train = await photographs(options.data, scale);
  const test = options.test === undefined ? [] : await photographs(options.test, scale);
  const data = new PatchDataset(train, { patch, count: steps * batchSize, seed });
  if (out !== undefined) {
    await mkdir(out, { recursive: true });
    await prepareRun(out, settings, resume);
  }
  const random = new Random(seed).fork('model');
  const size = { scale, random, width: options.width, blocks: options.blocks };
  const model = network === 'edsr' ? new EDSR(size) : new WindowTransformer({ ...size, window: WINDOW });
  using progress = await output.progress();
  const { seconds } = await new Trainer({
    model,
    task,
    train: new DataLoader(data, { batchSize, seed }),
    optimizer: new Adam(model.parameters(), { learningRate: options.lr }),
    schedule: step => (step < until * steps ? 1 : step < ((1 + until) / 2) * steps ? 0.5 : 0.25),
    steps,
    seed,
    progress,
    ...(sparsifier && { sparsifiers: [sparsifier] }),
    ...(out !== undefined && { out, resume, checkpointEvery: 500 }),
  }).run();
  const rows: Awaited<ReturnType<typeof compare>>[] = [];
  using bar = progress.start('testing', test.length, { unit: 'images', transient: true });
  for (const [i, pair] of test.entries()) {
    rows.push(await compare(model, pair, network === 'windows' ? WINDOW : 1));
    bar.update(i + 1);
  }
  progress.stop();
  const input = { name: 'inputs', dtype: 'float32', shape: [1, 3, patch, patch] } as const;
  const files = out === undefined ? [] : await writeModel(out, model, input);
  const report = sparsityReport((await modelLayers(model, [input])).layers);
  const mean = (key: 'psnr' | 'ssim' | 'bicubic') => rows.reduce((a, r) => a + r[key], 0) / rows.length;
  const relaxed = sparsifier?.relaxed ?? [];
  const gap = sparsifier?.gap;
  const result = { images: rows, relaxed, gap, looks: sparsifier?.log, files, seconds, ...report };
  output.result(result, () =>
    [
      reportTable(report),
      '',
      `${steps} steps in ${clock(seconds)}`,
      ...(rows.length > 0
        ? [
            `PSNR ${mean('psnr').toFixed(2)} dB, SSIM ${mean('ssim').toFixed(4)} on ${rows.length} images (bicubic ${mean('bicubic').toFixed(2)} dB)`,
          ]
        : []),
      ...(relaxed.length > 0 ? [`a weight for each output is more than asked for in ${relaxed.join(', ')}`] : []),
      ...(gap ? [gapLine(Object.values(gap))] : []),
      ...(files.length > 0 ? [`written: ${files.join(', ')}`] : []),
    ].join('\n'),
  );
}

function sparsifierOf(options: Options): SoftShrinkage | undefined {
  const { sparsity, pattern: granularity, allocation, exclude, form, alpha, every, increase, limit } = options;
  if (sparsity === undefined && granularity.kind !== 'nm') {
    if (granularity.kind === 'element') return undefined;
    throw new UsageError(`--pattern ${formatGranularity(granularity)} needs --sparsity`);
  }
  return new SoftShrinkage({
    sparsity,
    ...{ form, alpha, every, increase, limit },
    until: options.until,
    diagnose: options.diagnose,
    ...(granularity.kind !== 'element' && { granularity }),
    ...(allocation !== 'uniform' && { allocation }),
    ...(exclude && { exclude }),
  });
}

/** How far what stays was from what went when the mask was made: the shrinking has told them apart, or not. */
function gapLine(layers: readonly { readonly kept: number; readonly gone: number }[]): string {
  const ratios = layers.filter(l => l.kept < Infinity).map(({ kept, gone }) => (gone > 0 ? kept / gone : Infinity));
  const least = ratios.reduce((a, b) => Math.min(a, b), Infinity);
  return `when the mask was made, the smallest weight that stays was at least ${least.toPrecision(3)} times the largest that went, in each layer`;
}

async function photographs(text: string, scale: number): Promise<Pair[]> {
  const names = text.split(',').filter(name => name !== '');
  const isSet = (name: string): name is (typeof sets)[number] => (sets as readonly string[]).includes(name);
  if (names.length > 0 && names.every(isSet)) {
    const found = await Promise.all(names.map(async name => (await load(name)).images));
    return found.flat().map(image => degrade(toUnit(image), scale));
  }
  const entries = (await readFolder(text)).filter(({ name }) => /\.(png|jpe?g|webp|tiff?|gif|bmp)$/i.test(name));
  check(entries.length > 0, () => `${text}: no images; expected ${source}`);
  return Promise.all(entries.map(async e => degrade(toUnit(await decodeImage(e.bytes(), {}, e.name)), scale)));
}

/** Quality of an enlarged photograph on its luma, 0…1 clipped, without a border of `scale` pixels. */
async function compare(model: Module, { low, high }: Pair, multiple: number) {
  const [, h, w] = low.shape;
  const scale = high.shape[1] / h;
  const [height, width] = [h, w].map(n => Math.ceil(n / multiple) * multiple);
  const x = tensor(extend(low, [height, width]).data, [1, 3, height, width]);
  const whole = model
    .forward(x)
    .slice(2, 0, h * scale)
    .slice(3, 0, w * scale);
  const y = (await whole.data()) as Float32Array;
  const enlarged: Image = { ...high, data: y };
  const luminance = (image: Image) => luma({ ...image, data: image.data.map(v => Math.min(1, Math.max(0, v))) });
  const [a, b] = [luminance(enlarged), luminance(high)];
  const bicubic = luminance(resizeBicubic(low, [high.shape[1], high.shape[2]]));
  return { psnr: psnr(a, b, scale), ssim: ssim(a, b, scale), bicubic: psnr(bicubic, b, scale) };
}
