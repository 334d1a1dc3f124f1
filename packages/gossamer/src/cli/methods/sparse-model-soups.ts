import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Option } from 'commander';
import { DataLoader } from '../../data/loader.ts';
import type { ImpState } from '../../methods/pruning/imp.ts';
import { impCheckpoint, impState } from '../../methods/pruning/imp-state.ts';
import { interpolate } from '../../methods/pruning/soup-diagnostics.ts';
import type { Retraining, RetrainingSchedule, Vary } from '../../methods/pruning/soup-retraining.ts';
import { recalibrate, type Selector, sparseModelSoups } from '../../methods/pruning/sparse-model-soups.ts';
import { linearSchedule } from '../../optim/index.ts';
import type { PruneOptions } from '../../sparsity/index.ts';
import { percent, table } from '../../text.ts';
import { latestCheckpoint, loadCheckpoint, saveCheckpoint } from '../../train/checkpoint.ts';
import { evaluate } from '../../train/evaluate.ts';
import { restore, snapshot } from '../../train/snapshot.ts';
import { classification } from '../../train/task.ts';
import { Trainer, type TrainerOptions } from '../../train/trainer.ts';
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
import { prepareRun, writeModel } from '../train.ts';

interface Options extends CommonOptions, ClassifierFlags {
  readonly sparsity: number;
  readonly phases: number;
  readonly copies: number;
  readonly vary: Vary;
  readonly selector: Selector;
  readonly soup: 'uniform' | 'greedy';
  readonly schedule: RetrainingSchedule;
  readonly pretrainEpochs: number;
  readonly epochs: number;
  readonly finetuneLr?: number;
  readonly recalibrate: number;
  readonly validation: number;
  readonly pattern: PruneOptions['granularity'];
  readonly exclude?: readonly string[];
  readonly out?: string;
  readonly resume?: boolean;
}

/** Test accuracies, 0…1, of one phase; phase 0 is the dense network. */
interface Row {
  readonly phase: number;
  readonly sparsity: number;
  readonly soup: number;
  readonly candidates: readonly number[];
  /** Halfway between the first two copies; below theirs where a barrier separates them, and averaging fails. */
  readonly halfway?: number;
  readonly chosen: readonly number[];
}

const choice = (flags: string, about: string, choices: readonly string[]): Option =>
  new Option(flags, about).choices(choices).default(choices[0]);

export const command = define(
  'sparse-model-soups',
  '--model lenet-300-100 --data digits --sparsity 0.98 --pretrain-epochs 5 --epochs 2 --out soup',
  c =>
    classifierOptions(
      c
        .description('retrains several copies under one mask, averages them, prunes the average, and so on')
        .option('-o, --out <folder>', 'where the model of each phase goes; default nowhere')
        .option('--resume', 'go on with the run in --out')
        .requiredOption('--sparsity <share>', 'share of the weights that is gone after the last phase', share)
        .option('--phases <n>', 'each removes the same share of what remains', integer(1), 3)
        .option('--copies <m>', 'networks that are averaged', integer(1), 3)
        .addOption(
          choice('--vary <factor>', 'what differs between copies', [
            'seed',
            'weight_decay',
            'retrain_length',
            'retrain_schedule',
          ]),
        )
        .addOption(choice('--selector <name>', 'which weights go', ['global', 'uniform', 'random', 'LAMP']))
        .addOption(choice('--soup <kind>', 'which copies are averaged', ['uniform', 'greedy']))
        .addOption(choice('--schedule <name>', 'learning rate of the retraining', ['LLR', 'ALLR', 'FT', 'LRW']))
        .option(
          '--pretrain-epochs <n>',
          'of the dense training; with --weights, of the one behind them',
          integer(1),
          10,
        )
        .option('--epochs <n>', 'of each retraining', integer(1), 2)
        .option('--finetune-lr <rate>', 'constant rate of --schedule FT (default: a hundredth of --lr)', positive)
        .option('--recalibrate <share>', 'share of the training data that batch norms are measured on', positive, 0.2)
        .option('--validation <share>', 'share of the training data that --soup greedy chooses by', share, 0.1)
        .option('--pattern <name>', 'element, 2:4, block:4x1, filter, …', pattern)
        .option('--exclude <layers>', 'left dense: names (with *), kinds, first, last; may be repeated', list),
    ).action(run),
);

async function run(options: Options): Promise<void> {
  const { json: _, quiet: __, out, resume = false, ...settings } = options;
  if (resume && out === undefined) throw new UsageError('--resume goes on with the run in --out: give it');
  if (options.recalibrate > 1) throw new UsageError('--recalibrate is a share of the training data, up to 1');
  const output = new Output(options);
  const { model, input, data, transforms, test, train, optimizer } = await openClassifier(options);
  const greedy = options.soup === 'greedy';
  const [rest, held] = greedy ? await data.split([1 - options.validation, options.validation]) : [data];
  if (out !== undefined) await prepareRun(out, settings, resume);
  const { state, rows } = await before(out);
  using progress = await output.progress();
  const task = classification();
  const accuracy = async (loader = test) => (await evaluate(model, task, loader)).accuracy;
  const fit = (given: Omit<TrainerOptions, 'model' | 'task' | 'progress'>) =>
    new Trainer({ model, task, progress, ...given }).run();
  const keep = async (row: Row, reached: ImpState) => {
    rows.push(row);
    if (out === undefined) return;
    await mkdir(folderOf(out, row.phase), { recursive: true });
    await writeModel(folderOf(out, row.phase), model, { name: 'inputs', ...input });
    await saveCheckpoint(out, row.phase, impCheckpoint(reached, rows));
  };

  let from = state;
  if (!from) {
    if (options.weights === undefined) {
      const loader = train(0, rest);
      const steps = options.pretrainEpochs * loader.length;
      await fit({ train: loader, steps, optimizer: optimizer(), schedule: linearSchedule({ steps }), label: 'dense' });
    }
    from = { round: 0, mask: undefined, weights: await snapshot(model), rewind: undefined };
    await keep({ phase: 0, sparsity: 0, soup: await accuracy(), candidates: [], chosen: [] }, from);
  }
  const retrain = async ({
    phase,
    copy,
    seed,
    epochs,
    schedule,
    sparsifiers,
    learningRate,
    weightDecay,
  }: Retraining) => {
    const loader = train(seed, rest);
    const steps = Math.max(1, Math.round(epochs * loader.length));
    await fit({
      train: loader,
      steps,
      optimizer: optimizer({ learningRate, weightDecay }),
      schedule: schedule(steps),
      sparsifiers,
      label: `phase ${phase} of ${options.phases}, copy ${copy + 1}`,
    });
  };
  const recalibration = {
    data: rest,
    transforms,
    fraction: options.recalibrate,
    batchSize: options.batch,
  };
  const soups = sparseModelSoups({
    ...options,
    granularity: options.pattern ?? 'element',
    model,
    inputs: [input],
    learningRate: options.lr,
    ...(options.finetuneLr !== undefined && { lastLearningRate: options.finetuneLr }),
    recalibration,
    ...(held && { validate: () => accuracy(new DataLoader(held, { batchSize: options.batch, transforms })) }),
    train: retrain,
    from,
  });
  for await (const { phase, sparsity, candidates, chosen, soup, state: reached } of soups) {
    const each: number[] = [];
    for (const { weights } of candidates) {
      restore(model, weights);
      each.push(await accuracy());
    }
    let halfway: number | undefined;
    if (candidates.length > 1) {
      restore(model, interpolate(candidates[0].weights, candidates[1].weights));
      await recalibrate(model, { recalibration, seed: options.seed });
      halfway = await accuracy();
    }
    restore(model, soup.weights);
    const row = { phase, sparsity, soup: await accuracy(), candidates: each, chosen };
    await keep(halfway === undefined ? row : { ...row, halfway }, reached);
  }
  progress.stop();
  const files = out === undefined ? [] : rows.map(r => join(folderOf(out, r.phase), 'model.onnx'));
  output.result({ phases: rows, files }, () =>
    [
      table(
        ['phase', 'sparsity', 'soup', 'halfway', 'copies (test accuracy)'],
        rows.map(r => [
          String(r.phase),
          percent(r.sparsity, 1),
          percent(r.soup, 2),
          r.halfway === undefined ? '–' : percent(r.halfway, 2),
          r.candidates.map((a, i) => `${percent(a, 2)}${r.chosen.includes(i) ? '' : ' (left out)'}`).join(', '),
        ]),
      ),
      ...(files.length > 0 ? [`written: ${files.at(-1)}`] : []),
    ].join('\n'),
  );
}

const folderOf = (out: string, phase: number): string => join(out, `phase-${phase}`);

/** What a run in the folder has done. */
async function before(out: string | undefined): Promise<{ state: ImpState | undefined; rows: Row[] }> {
  const path = out === undefined ? undefined : await latestCheckpoint(out);
  if (path === undefined) return { state: undefined, rows: [] };
  const { state, extra } = impState(await loadCheckpoint(path));
  return { state, rows: extra as Row[] };
}
