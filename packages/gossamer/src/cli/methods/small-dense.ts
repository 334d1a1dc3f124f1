import { Option } from 'commander';
import { smallDense } from '../../methods/baselines/small-dense.ts';
import { createModel, models } from '../../models/registry.ts';
import { clock, grouped } from '../../text.ts';
import { Trainer } from '../../train/trainer.ts';
import {
  type CommonOptions,
  command as define,
  integer,
  nonNegative,
  Output,
  positive,
  share,
  UsageError,
} from '../command.ts';
import { dataHelp, normalizeHelp } from '../data.ts';
import { fromFlags, inputOf, prepareRun, writeModel } from '../train.ts';

interface Options extends CommonOptions {
  readonly model: string;
  readonly sparsity?: number;
  readonly nonzeros?: number;
  readonly data?: string;
  readonly normalize?: string;
  readonly augment?: boolean;
  readonly epochs: number;
  readonly batch: number;
  readonly lr: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly seed: number;
  readonly out?: string;
}

const scalable = Object.keys(models).filter(name => models[name].scalable !== false);

export const command = define('small-dense', '--model resnet20 --sparsity 0.9 --data cifar-10 --epochs 10 -o run', c =>
  c
    .description('a narrower dense network with as many parameters as a sparse one has weights left')
    .addOption(new Option('--model <name>', 'the full network').choices(scalable).makeOptionMandatory())
    .option('--sparsity <share>', 'share of the weights that the sparse network lacks', share)
    .option('--nonzeros <n>', 'or the parameters it has', integer(1))
    .option('-o, --out <folder>', 'where metrics, checkpoints and the model go; needs --data')
    .option('--seed <n>', 'seed of everything random', integer(0), 0)
    .optionsGroup('Training (with --data; without it the width is all):')
    .option('--data <source>', dataHelp)
    .option('--normalize <how>', normalizeHelp)
    .option('--augment', 'random crops and flips')
    .option('--epochs <n>', 'passes over the data', integer(1), 10)
    .option('--batch <n>', 'samples of a batch', integer(1), 64)
    .option('--lr <rate>', 'learning rate of SGD; falls by a cosine', positive, 0.1)
    .option('--momentum <m>', 'momentum of SGD', share, 0.9)
    .option('--weight-decay <d>', 'weight decay', nonNegative, 0)
    .action(run),
);

async function run(options: Options): Promise<void> {
  const { json: _json, quiet: _quiet, model: name, sparsity, nonzeros, data, seed, out, ...training } = options;
  if ((sparsity === undefined) === (nonzeros === undefined)) throw new UsageError('give --sparsity or --nonzeros');
  if (out !== undefined && data === undefined) throw new UsageError('-o keeps a trained model: give --data');
  const { input, classes } = models[name];
  if (data !== undefined && (input.dtype !== 'float32' || classes === null)) {
    throw new UsageError(`--model ${name}: is no image classifier, which --data can train`);
  }
  const output = new Output(options);
  const common = { pattern: { kind: 'element' }, exclude: [] } as const;
  const flags = {
    ...training,
    ...common,
    model: name,
    seed,
    optimizer: 'sgd',
    schedule: 'cosine',
    warmup: 0,
    labelSmoothing: 0,
  } as const;
  // The number of classes decides the size of the last layer, so that the data are opened first.
  const full = data === undefined ? undefined : await fromFlags({ ...flags, data });
  const own = full && (await inputOf(full.train));
  const outputs = full && (full.model.parameters().at(-1)?.shape[0] as number);
  const small = await smallDense(width => createModel(name, { width, seed, ...(outputs && { classes: outputs }) }), {
    ...(sparsity !== undefined && { sparsity }),
    ...(nonzeros !== undefined && { nonzeros }),
    input: own ?? { dtype: input.dtype, shape: [1, ...input.shape] },
  });
  const { width, parameters, budget, full: size } = small;
  const sizes = { model: name, width, parameters, budget, full: size };
  const text = `${name} at width ×${+width.toFixed(4)}: ${grouped(parameters)} parameters for a budget of ${grouped(budget)} (full width: ${grouped(size)})`;
  if (data === undefined) return output.result(sizes, () => text);

  const made = await fromFlags({ ...flags, data, width });
  if (out !== undefined) await prepareRun(out, { method: 'small-dense', ...sizes, ...training, data, seed }, false);
  using progress = await output.progress();
  const result = await new Trainer({ ...made, progress, ...(out !== undefined && { out, resume: false }) }).run();
  progress.stop();
  const files = out === undefined ? [] : await writeModel(out, made.model, await inputOf(made.train));
  const { metrics, seconds, steps } = result;
  output.result({ ...sizes, metrics, seconds, steps, files }, () =>
    [
      text,
      `${steps} steps in ${clock(seconds)}`,
      ...Object.entries(metrics).map(([metric, value]) => `test ${metric}  ${value.toPrecision(4)}`),
      ...(files.length > 0 ? [`written: ${files.join(', ')}`] : []),
    ].join('\n'),
  );
}
