import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Option } from 'commander';
import { type ImpPhase, type ImpScore, type ImpState, imp, impLadder, type Rewind } from '../../methods/pruning/imp.ts';
import { impCheckpoint, impState } from '../../methods/pruning/imp-state.ts';
import type { RateSchedule } from '../../optim/index.ts';
import type { PruneOptions } from '../../sparsity/index.ts';
import { lamp, magnitude } from '../../sparsity/score.ts';
import { percent, table } from '../../text.ts';
import { latestCheckpoint, loadCheckpoint, saveCheckpoint } from '../../train/checkpoint.ts';
import { evaluate, type Metrics } from '../../train/evaluate.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { type ClassifierFlags, classifierOptions, openClassifier } from '../classifier.ts';
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
import { prepareRun, schedules, writeModel } from '../train.ts';

interface Options extends CommonOptions, ClassifierFlags {
  readonly sparsity?: number;
  readonly rounds?: number;
  readonly rate?: number;
  readonly rewind: Rewind;
  readonly rewindTo: number;
  readonly epochs: number;
  readonly schedule: string;
  readonly finetuneLr?: number;
  readonly score: keyof typeof scores;
  readonly pattern: PruneOptions['granularity'];
  readonly allocation: NonNullable<PruneOptions['allocation']>;
  readonly exclude?: readonly string[];
  readonly out?: string;
  readonly resume?: boolean;
}

const scores = {
  magnitude: () => l => magnitude(l.values),
  lamp: () => l => lamp(l.values),
} satisfies Record<string, ImpScore>;

/** One line of the result. */
interface Row {
  readonly round: number;
  readonly sparsity: number;
  readonly metrics: Metrics;
}

export const command = define(
  'imp',
  '--model lenet-300-100 --data digits --sparsity 0.9 --rounds 10 --epochs 5 --out tickets',
  c =>
    classifierOptions(
      c
        .description('trains, prunes the smallest weights and rewinds, round after round: a ticket at every sparsity')
        .option('-o, --out <folder>', 'where the models of all rounds go; default nowhere')
        .option('--resume', 'go on with the run in --out')
        .option('--sparsity <share>', 'share of the weights that is gone after the last round', share)
        .option('--rounds <n>', 'rounds; with --sparsity, each takes the same share of what remains', integer(1))
        .option('--rate <share>', 'share of the remaining weights that a round takes (default: 0.2)', share)
        .addOption(
          new Option('--rewind <what>', 'what survivors start from again')
            .choices(['weights', 'learning-rate', 'none'])
            .default('weights'),
        )
        .option('--rewind-to <steps>', 'steps of the dense training before the point to rewind to', integer(0), 0)
        .option('--epochs <n>', 'passes over the data, of the dense training and of each round', integer(1), 10)
        .addOption(
          new Option('--schedule <name>', 'of the learning rate').choices(Object.keys(schedules)).default('cosine'),
        )
        .option('--finetune-lr <rate>', 'constant rate of --rewind none (default: a hundredth of --lr)', positive)
        .addOption(
          new Option('--score <name>', 'what a weight is worth').choices(Object.keys(scores)).default('magnitude'),
        )
        .option('--pattern <name>', 'element, 2:4, block:4x1, filter, …', pattern)
        .addOption(
          new Option('--allocation <rule>', 'how layers share the sparsity')
            .choices(['uniform', 'uniform+', 'er', 'erk', 'global'])
            .default('global'),
        )
        .option('--exclude <layers>', 'left dense: names (with *), kinds, first, last; may be repeated', list),
    ).action(run),
);

async function run(options: Options): Promise<void> {
  const { json: _, quiet: __, out, resume = false, ...settings } = options;
  if (resume && out === undefined) throw new UsageError('--resume goes on with the run in --out: give it');
  if (options.sparsity === undefined && options.rounds === undefined)
    throw new UsageError('give --sparsity or --rounds');
  if (options.rounds !== undefined && options.sparsity !== undefined && options.rate !== undefined) {
    throw new UsageError('--sparsity, --rounds and --rate: two of them decide the third');
  }
  const ladder = impLadder(options);
  const output = new Output(options);
  const classifier = await openClassifier(options);
  const { model, input } = classifier;
  const steps = options.epochs * classifier.train(0).length;
  if (options.rewindTo >= steps) {
    throw new UsageError(`--rewind-to ${options.rewindTo}: the training has ${steps} steps`);
  }
  if (out !== undefined) await prepareRun(out, settings, resume);
  const { state, rows } = await before(out);
  using progress = await output.progress();
  const task = classification();

  const train = async (phase: ImpPhase): Promise<Metrics> => {
    const { round, start, sparsifiers } = phase;
    const finetuneLr = options.finetuneLr ?? options.lr / 100;
    const schedule: RateSchedule = schedules[options.schedule](steps);
    const trainer = new Trainer({
      model,
      task,
      train: classifier.train(round),
      optimizer: classifier.optimizer(start === undefined ? { learningRate: finetuneLr } : {}),
      steps: steps - (start ?? 0),
      ...(start !== undefined && { schedule: step => schedule(step + start) }),
      sparsifiers,
      seed: options.seed,
      progress,
      label: round === 0 ? 'dense' : `round ${round} of ${ladder.length}, ${percent(phase.sparsity)}`,
      ...(out !== undefined && { out: folderOf(out, round), resume: true }),
    });
    await trainer.run();
    return evaluate(model, task, classifier.test);
  };
  const found = imp({
    ...options,
    granularity: options.pattern ?? 'element',
    score: scores[options.score],
    model,
    inputs: [input],
    train,
    ...(state && { from: state }),
  });
  for await (const { round, sparsity, result, state } of found) {
    rows.push({ round, sparsity, metrics: result });
    if (out === undefined) continue;
    await mkdir(folderOf(out, round), { recursive: true });
    await writeModel(folderOf(out, round), model, { name: 'inputs', ...input });
    await saveCheckpoint(out, round, impCheckpoint(state, rows));
  }
  progress.stop();
  const files = out === undefined ? [] : rows.map(r => join(folderOf(out, r.round), 'model.onnx'));
  output.result({ rounds: rows, files }, () =>
    [
      table(
        ['round', 'sparsity', 'test accuracy', 'test loss'],
        rows.map(r => [
          String(r.round),
          percent(r.sparsity, 1),
          percent(r.metrics.accuracy, 2),
          r.metrics.loss.toFixed(4),
        ]),
      ),
      ...(files.length > 0 ? [`written: ${files[0]} … ${files.at(-1)}`] : []),
    ].join('\n'),
  );
}

const folderOf = (out: string, round: number): string => join(out, `round-${String(round).padStart(2, '0')}`);

/** What a run in the folder has done. */
async function before(out: string | undefined): Promise<{ state: ImpState | undefined; rows: Row[] }> {
  const path = out === undefined ? undefined : await latestCheckpoint(out);
  if (path === undefined) return { state: undefined, rows: [] };
  const { state, extra } = impState(await loadCheckpoint(path));
  return { state, rows: extra as Row[] };
}
