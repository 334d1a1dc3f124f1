import { Option } from 'commander';
import { WGSEF, type WGSEFOptions } from '../../methods/structured/wgsef.ts';
import type { Module } from '../../nn/module.ts';
import { cosineSchedule, SGD } from '../../optim/index.ts';
import { deadChannels } from '../../sparsity/partition.ts';
import { shrink } from '../../sparsity/shrink.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';
import { percent } from '../../text.ts';
import { evaluate } from '../../train/evaluate.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { type ClassifierFlags, classifierOptions, openClassifier } from '../classifier.ts';
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
import { formatSizes, sizesOf, writeNetwork } from '../shrunk.ts';

interface Options extends CommonOptions, ClassifierFlags {
  readonly sparsity?: number;
  readonly k?: number;
  readonly lambda: number;
  readonly costs: NonNullable<WGSEFOptions['weights']>;
  readonly allocation: 'global' | 'uniform';
  readonly warmup: number;
  readonly continuation: number;
  readonly until: number;
  readonly exclude?: readonly string[];
  readonly epochs: number;
  readonly finetuneEpochs: number;
  readonly finetuneLr?: number;
  readonly out: string;
}

export const command = define(
  'wgsef',
  '--model lenet-5 --data digits --lr 0.05 --sparsity 0.75 --lambda 0.1 --epochs 10 -o small.onnx',
  c =>
    classifierOptions(
      c
        .description('trains until exactly k channels live, removes the others and writes the smaller network')
        .requiredOption('-o, --out <file.onnx>', 'where the small network goes')
        .option('--sparsity <share>', 'share of the channels that go', share)
        .option('--k <n>', 'or: channels that live in the end', integer(1))
        .option('--lambda <strength>', 'of the regulariser', positive, 0.01)
        .addOption(
          new Option('--costs <what>', 'what a channel counts as').choices(['one', 'size', 'flops']).default('one'),
        )
        .addOption(
          new Option('--allocation <rule>', 'one number for all layers, or the same share in each')
            .choices(['global', 'uniform'])
            .default('global'),
        )
        .option('--warmup <share>', 'share of the training in which lambda rises from 0', share, 0)
        .option('--continuation <share>', 'share of the training in which k falls to its value', share, 0)
        .option('--until <share>', 'share of the training after which dead channels stay dead', positive, 0.9)
        .option('--exclude <layers>', 'left alone: names (with *), kinds, first, last; may be repeated', list)
        .option('--epochs <n>', 'passes over the data', integer(1), 10)
        .option('--finetune-epochs <n>', 'of the small network', integer(0), 1)
        .option('--finetune-lr <rate>', 'its learning rate (default: a tenth of --lr)', positive),
    ).action(run),
);

async function run(options: Options): Promise<void> {
  const { sparsity, k, lr, momentum, weightDecay, seed, finetuneLr = lr / 10, out } = options;
  if ((sparsity === undefined) === (k === undefined)) throw new UsageError('give --sparsity or --k');
  checkOutput(out);
  const { lambda, costs: weights, allocation, warmup, continuation, until, exclude } = options;
  const wgsef = new WGSEF({
    ...(sparsity === undefined ? { k } : { sparsity }),
    ...{ lambda, weights, allocation, warmup, continuation, until },
    ...(exclude && { exclude }),
  });
  const output = new Output(options);
  const classifier = await openClassifier(options);
  const { model, input, test } = classifier;
  using progress = await output.progress();
  const task = classification();
  const train = async (
    network: Module,
    order: number,
    epochs: number,
    learningRate: number,
    label: string,
    sparsifiers: Sparsifier[],
  ) => {
    const data = classifier.train(order);
    const schedule = cosineSchedule({ steps: epochs * data.length });
    const optimizer = new SGD(network.parameters(), { learningRate, momentum, weightDecay });
    await new Trainer({
      model: network,
      task,
      train: data,
      optimizer,
      epochs,
      schedule,
      sparsifiers,
      seed,
      progress,
      label,
    }).run();
    return evaluate(network, task, test);
  };
  const trained = await train(model, 0, options.epochs, lr, 'training', [wgsef]);
  const { partition, alive } = wgsef;
  const shrunk = await shrink(model, [input], { remove: deadChannels(partition, alive) });
  const pruned = await evaluate(shrunk.model, task, test);
  const fine = options.finetuneEpochs;
  const finetuned = fine === 0 ? undefined : await train(shrunk.model, 1, fine, finetuneLr, 'fine-tuning', []);
  await writeNetwork(out, shrunk.model, input);
  progress.stop();

  const layers = partition.scopes.map(({ name, start, end }) => {
    return { name, channels: end - start, live: alive.subarray(start, end).reduce((a, b) => a + b, 0) };
  });
  const outcome = wgsef.outcome!;
  const sizes = await sizesOf(model, shrunk, input);
  output.result({ out, metrics: { trained, pruned, finetuned }, groups: outcome, layers, ...sizes }, () =>
    [
      ...layers.map(l => `${l.name.padEnd(32)} ${String(l.live).padStart(5)} of ${l.channels} channels live`),
      '',
      `${outcome.live} of ${outcome.groups} channels lived after ${percent(until)} of the training; ${outcome.projected} were set to zero to leave ${outcome.k}`,
      ...formatSizes(sizes),
      `accuracy    ${percent(trained.accuracy, 2)} trained, ${percent(pruned.accuracy, 2)} removed${finetuned ? `, ${percent(finetuned.accuracy, 2)} fine-tuned` : ''}`,
      `written: ${out}`,
    ].join('\n'),
  );
}
