import { writeFile } from '@gossamer/tensor';
import { InvalidArgumentError, Option } from 'commander';
import { method } from '../../methods/sparse-training/granet.ts';
import {
  type Plasticity,
  type PlasticityStudy,
  pruningPlasticity,
} from '../../methods/sparse-training/pruning-plasticity.ts';
import { SGD } from '../../optim/index.ts';
import { multiStepSchedule } from '../../optim/schedule.ts';
import { lineChart } from '../../plot.ts';
import { percent, table } from '../../text.ts';
import { evaluate } from '../../train/evaluate.ts';
import { restore, snapshot } from '../../train/snapshot.ts';
import { Trainer } from '../../train/trainer.ts';
import { classifiers } from '../classifier.ts';
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
import { dataHelp, normalizeHelp } from '../data.ts';
import { fromFlags, inputOf } from '../train.ts';

interface Options extends CommonOptions {
  readonly model: string;
  readonly data: string;
  readonly normalize?: string;
  readonly width?: number;
  readonly epochs: number;
  readonly batch: number;
  readonly lr: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly at: readonly number[];
  readonly further: number;
  readonly furtherRate: 'schedule' | 'fixed';
  readonly sparsity: readonly number[];
  readonly regenerate: number;
  readonly allocation: 'global' | 'uniform';
  readonly exclude?: readonly string[];
  readonly seed: number;
  readonly out?: string;
}

const shares = (text: string): number[] =>
  text.split(',').map(part => {
    const value = share(part);
    if (value === 0) throw new InvalidArgumentError('Expected numbers above 0 and below 1, such as 0.4,0.75.');
    return value;
  });

export const command = define(
  method.slug,
  '--model resnet20 --data cifar-10 --epochs 12 --at 0.4,0.75 --sparsity 0.9,0.98 -o plasticity.svg',
  c =>
    c
      .description(
        'pruning plasticity: how well a network recovers, by when it is pruned; GraNet itself runs by train --sparsifier granet',
      )
      .addOption(new Option('--model <name>', 'an image classifier').choices(classifiers).makeOptionMandatory())
      .requiredOption('--data <source>', dataHelp)
      .option('--normalize <how>', normalizeHelp)
      .option('--width <factor>', "factor on the model's width", positive)
      .option('--at <shares>', 'when to prune, as shares of the training', shares, [0.4, 0.6, 0.75])
      .option('--further <share>', 'how long networks train on, as a share of the training', share, 0.25)
      .addOption(
        new Option('--further-rate <which>', 'learning rates of it: the rest of the schedule, or that of the pruning')
          .choices(['schedule', 'fixed'])
          .default('schedule'),
      )
      .option('--sparsity <shares>', 'how much goes', shares, [0.9, 0.95, 0.98])
      .option('--regenerate <share>', 'share of the live weights that is regrown by gradient after pruning', share, 0.5)
      .addOption(
        new Option('--allocation <rule>', 'one ranking of all weights, or one in each layer')
          .choices(['global', 'uniform'])
          .default('global'),
      )
      .option('--exclude <layers>', 'left dense: names (with *), kinds, first, last; may be repeated', list)
      .option('--epochs <n>', 'passes over the data of the dense training', integer(1), 10)
      .option('--batch <n>', 'samples of a batch', integer(1), 64)
      .option('--lr <rate>', 'learning rate of SGD; a tenth from 50 %, a hundredth from 75 % on', positive, 0.1)
      .option('--momentum <m>', 'momentum of SGD', share, 0.9)
      .option('--weight-decay <d>', 'weight decay', nonNegative, 5e-4)
      .option('--seed <n>', 'seed of everything random', integer(0), 0)
      .option('-o, --out <file.svg>', 'where the curves go')
      .action(run),
);

async function run(options: Options): Promise<void> {
  const { lr: learningRate, momentum, weightDecay, at, further, furtherRate, regenerate, seed, out } = options;
  if (further === 0) throw new UsageError('--further 0: networks must train on');
  if (at.some((t, i) => t + further > 1 || t <= (at[i - 1] ?? 0))) {
    throw new UsageError(`--at ${at.join(',')}: expected rising shares of at most ${1 - further}, 1 − --further`);
  }
  if (out !== undefined) checkOutput(out);
  const output = new Output(options);
  // What is pruned is not the training's business.
  const { sparsity: _sparsity, allocation: _allocation, ...training } = options;
  const flags = {
    ...training,
    optimizer: 'sgd',
    schedule: 'constant',
    warmup: 0,
    labelSmoothing: 0,
    pattern: { kind: 'element' },
    exclude: [],
  } as const;
  const { model, task, train, validation } = await fromFlags(flags);
  const steps = options.epochs * train.length;
  const rate = multiStepSchedule({ milestones: [Math.round(steps / 2), Math.round(0.75 * steps)] });
  const start = train.state;
  using progress = await output.progress();
  const study: PlasticityStudy = {
    model,
    input: await inputOf(train),
    task,
    batches: [await train.batchAt(0, 0)],
    steps,
    train: async ({ from, to, further: after }, sparsifiers) => {
      // Every part sees the data in the order in which the whole training would.
      train.restore({ ...start, epoch: Math.floor(from / train.length), position: from % train.length });
      await new Trainer({
        model,
        task,
        train,
        optimizer: new SGD(model.parameters(), { learningRate, momentum, weightDecay }),
        steps: to - from,
        schedule: step => rate(after && furtherRate === 'fixed' ? from : from + step),
        sparsifiers,
        seed,
        progress,
        label: `steps ${from} to ${to}`,
      }).run();
    },
    evaluate: async () => 100 * (await evaluate(model, task, validation!)).accuracy,
  };
  const cells = {
    at: at.map(t => Math.round(t * steps)),
    sparsities: options.sparsity,
    delta: Math.max(1, Math.round(further * steps)),
    allocation: options.allocation,
    ...(options.exclude && { exclude: options.exclude }),
  };
  const initial = await snapshot(model);
  const plain = await pruningPlasticity(study, cells);
  restore(model, initial);
  const regrown = regenerate > 0 ? await pruningPlasticity(study, { ...cells, regenerate }) : [];
  progress.stop();

  const places = at.map((t, i) => ({ name: `pruned at ${percent(t)}`, step: cells.at[i] }));
  if (out !== undefined) {
    const curve = (points: readonly Plasticity[], suffix: string) =>
      places.map(({ name, step }) => ({
        name: `${name}${suffix}`,
        points: points.filter(p => p.step === step).map(p => ({ x: 100 * (1 - p.sparsity), mean: p.plasticity })),
      }));
    // A picture holds seven curves.
    const series = [...curve(plain, ''), ...(2 * places.length <= 7 ? curve(regrown, ', regrown') : [])];
    const svg = lineChart({
      title: `Pruning plasticity of ${options.model}`,
      subtitle: 'Test accuracy after further training, against the unpruned network that trained as long',
      x: { label: 'weights left, %', scale: 'log', reverse: true },
      y: { label: 'plasticity, points' },
      series: series.filter(line => line.points.length > 0),
    });
    await writeFile(out, [new TextEncoder().encode(svg)]);
  }
  const points = plain.map((p, i) => ({ ...p, ...(regrown[i] && { regenerated: regrown[i].plasticity }) }));
  const shown = (n: number | undefined) => (n === undefined ? '–' : n.toFixed(2));
  output.result({ model: options.model, steps, delta: cells.delta, points, ...(out !== undefined && { out }) }, () =>
    [
      table(
        ['pruned at step', 'sparsity', 'drop', 'plasticity', 'regenerated'],
        points.map(p => [`${p.step}`, percent(p.sparsity), shown(p.drop), shown(p.plasticity), shown(p.regenerated)]),
      ),
      '',
      `points of test accuracy: drop right after pruning; plasticity after ${cells.delta} more of ${steps} steps, against the unpruned network`,
      ...(out !== undefined ? [`written: ${out}`] : []),
    ].join('\n'),
  );
}
