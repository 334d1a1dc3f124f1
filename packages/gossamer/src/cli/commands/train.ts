import { Option } from 'commander';
import { modelLayers } from '../../sparsity/model.ts';
import { reportTable, sparsityReport } from '../../sparsity/report.ts';
import { scheduleKinds } from '../../sparsity/schedule.ts';
import { scorers } from '../../sparsity/scorers.ts';
import { clock } from '../../text.ts';
import { Trainer } from '../../train/trainer.ts';
import { classifiers } from '../classifier.ts';
import {
  type CommonOptions,
  command as define,
  integer,
  list,
  nonNegative,
  Output,
  positive,
  share,
  UsageError,
} from '../command.ts';
import { dataHelp, normalizeHelp } from '../data.ts';
import { pattern } from '../pattern.ts';
import { setting } from '../sparsifier.ts';
import {
  fromFlags,
  fromRecipe,
  inputOf,
  optimizers,
  prepareRun,
  schedules,
  type TrainFlags,
  writeModel,
} from '../train.ts';

interface Options extends CommonOptions, Partial<Omit<TrainFlags, 'seed'>> {
  readonly seed: number;
  readonly out?: string;
  readonly resume?: boolean;
}

const defaults = {
  batch: 64,
  epochs: 10,
  optimizer: 'sgd',
  lr: 0.1,
  momentum: 0.9,
  weightDecay: 0,
  schedule: 'cosine',
  warmup: 0,
  labelSmoothing: 0,
  pattern: { kind: 'element' },
  exclude: [],
} as const;

export const command = define(
  'train',
  '--model resnet20 --data cifar-10 --augment --epochs 10 --sparsity 0.9 --out run',
  c =>
    c
      .argument(
        '[recipe.ts]',
        'a file whose default export is a recipe: options of a Trainer, or a function that gives them',
      )
      .option('-o, --out <folder>', 'where metrics, checkpoints and the model go; default nowhere')
      .option('--resume', 'go on with the run in --out')
      .option('--seed <n>', 'seed of everything random', integer(0), 0)
      .option('--epochs <n>', `passes over the data (default: ${defaults.epochs}, or the recipe's)`, integer(1))
      .optionsGroup('Without a recipe:')
      .addOption(new Option('--model <name>', 'an image classifier').choices(classifiers))
      .option('--data <source>', dataHelp)
      .option('--normalize <how>', normalizeHelp)
      .option('--weights <file.safetensors>', 'weights to start from, such as those of a dense training')
      .option('--width <factor>', "factor on the model's width", positive)
      .option('--augment', 'random crops and flips')
      .option('--batch <n>', `samples of a batch (default: ${defaults.batch})`, integer(1))
      .addOption(new Option('--optimizer <name>', `default: ${defaults.optimizer}`).choices(Object.keys(optimizers)))
      .option('--lr <rate>', `learning rate (default: ${defaults.lr})`, positive)
      .option('--momentum <m>', `of sgd (default: ${defaults.momentum})`, share)
      .option('--weight-decay <d>', `default: ${defaults.weightDecay}`, nonNegative)
      .addOption(new Option('--schedule <name>', `default: ${defaults.schedule}`).choices(Object.keys(schedules)))
      .option('--warmup <steps>', `steps in which the rate rises from 0 (default: ${defaults.warmup})`, integer(0))
      .option('--label-smoothing <share>', `default: ${defaults.labelSmoothing}`, share)
      .option(
        '--sparsifier <method>',
        'as `gossamer methods` lists it (default with --sparsity: gradual-magnitude-pruning)',
      )
      .option('--sparsity <share>', 'share of the weights that go; a pattern such as 2:4 has its own', share)
      .option('--pattern <name>', 'element, 2:4, block:4x1, filter, …', pattern)
      .option('--allocation <rule>', 'how layers share the sparsity: uniform, erk, … as the method knows it')
      .option('--exclude <layers>', 'left dense: names (with *), kinds, first, last; may be repeated', list)
      .addOption(
        new Option(
          '--score <name>',
          'what a weight is worth (default with it: --sparsifier scheduled-pruning)',
        ).choices(Object.keys(scorers)),
      )
      .addOption(new Option('--sparsity-schedule <kind>', 'how the sparsity grows').choices([...scheduleKinds]))
      .option('--set <name=value>', 'another option of the method, such as interval=50; may be repeated', setting)
      .action(run),
);

async function run(path: string | undefined, options: Options): Promise<void> {
  const { json: _, quiet: __, out, resume = false, ...settings } = options;
  if (resume && out === undefined) throw new UsageError('--resume goes on with the run in --out: give it');
  if (path === undefined && !(options.model && options.data))
    throw new UsageError('give a recipe, or --model and --data');
  const flags = Object.keys(settings).filter(key => !['seed', 'epochs', 'debug'].includes(key));
  if (path !== undefined && flags.length > 0) throw new UsageError(`a recipe decides itself about ${flags.join(', ')}`);

  const output = new Output(options);
  const made =
    path === undefined
      ? await fromFlags({ ...defaults, ...settings } as TrainFlags)
      : await fromRecipe(path, { seed: options.seed, epochs: options.epochs });
  const length = options.epochs === undefined ? {} : { epochs: options.epochs, steps: undefined };
  if (out !== undefined) await prepareRun(out, { recipe: path, ...settings }, resume);
  using progress = await output.progress();
  const training = { ...made, ...length, progress, ...(out !== undefined && { out, resume }) };
  const result = await new Trainer(training).run();
  progress.stop();

  const input = await inputOf(made.train);
  const files = out === undefined ? [] : await writeModel(out, made.model, input);
  const { layers } = await modelLayers(made.model, [input]);
  const report = sparsityReport(layers);
  const { spent: _spent, ...numbers } = result;
  output.result({ ...numbers, files, ...report }, () =>
    [
      reportTable(report),
      '',
      `${result.steps} steps in ${clock(result.seconds)}${result.stoppedEarly ? ', stopped early' : ''}`,
      ...Object.entries(result.metrics).map(([name, value]) => `test ${name}  ${value.toPrecision(4)}`),
      ...(files.length > 0 ? [`written: ${files.join(', ')}`] : []),
    ].join('\n'),
  );
}
