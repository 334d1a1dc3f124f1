import { join } from 'node:path';
import { Random, type Spec, writeOnnx } from '@gossamer/tensor';
import { InvalidArgumentError, Option } from 'commander';
import { DataLoader } from '../../data/loader.ts';
import {
  type CandidateSparsity,
  type Criterion,
  candidateScorers,
  NodeSpace,
  randomSearch,
  type SearchSpace,
  searchVerdict,
  type Trained,
  WeightSpace,
} from '../../methods/architecture-search/random-search.ts';
import { exportModel } from '../../nn/export.ts';
import type { Module } from '../../nn/module.ts';
import { cosineSchedule, SGD } from '../../optim/index.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';
import { percent, table } from '../../text.ts';
import { Curve } from '../../train/curve.ts';
import { evaluate } from '../../train/evaluate.ts';
import type { Progress } from '../../train/progress.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { type Classifier, type ClassifierFlags, classifierOptions, openClassifier } from '../classifier.ts';
import { type CommonOptions, checkOutput, command as define, integer, list, Output, UsageError } from '../command.ts';

interface Options extends CommonOptions, ClassifierFlags {
  readonly sparsities: readonly number[];
  readonly budget: number;
  readonly criterion: Criterion;
  readonly space: 'node' | 'weight';
  readonly sampling: 'layer' | 'global';
  readonly rescale?: boolean;
  readonly exclude?: readonly string[];
  readonly seeds: number;
  readonly draws: number;
  readonly epochs: number;
  readonly samples: number;
  readonly out?: string;
}

export const command = define(
  'random-search',
  '--model lenet-300-100 --data digits --sparsities 0.5,0.9 --budget 100 --seeds 5',
  c =>
    classifierOptions(
      c
        .description('best of many random sub-networks before training, against chance and the whole network')
        .option(
          '--sparsities <shares>',
          'shares of the nodes (or weights) that go, with commas',
          shares,
          [0.5, 0.8, 0.9],
        )
        .option('--budget <n>', 'candidates of each search', integer(1), 100)
        .addOption(
          new Option('--criterion <name>', 'what a candidate is judged by before training')
            .choices(Object.keys(candidateScorers))
            .default('loss'),
        )
        .addOption(new Option('--space <what>', 'what goes').choices(['node', 'weight']).default('node'))
        .addOption(
          new Option('--sampling <how>', 'from every layer the same share, or from all nodes')
            .choices(['layer', 'global'])
            .default('layer'),
        )
        .option('--rescale', 'scale inherited weights up for the nodes that are gone')
        .option('--exclude <layers>', 'layers that stay whole, by name; may be repeated', list)
        .option(
          '--samples <n>',
          'held-out training samples that candidates are judged on; as many others give the learning curves',
          integer(1),
          500,
        )
        .option('--seeds <n>', 'repetitions, each with initial weights and a search of its own', integer(1), 5)
        .option('--draws <n>', 'random counterparts of each found network', integer(1), 1)
        .option('--epochs <n>', 'passes over the data of every training', integer(1), 5)
        .option('-o, --out <folder>', "an existing folder for the first seed's found networks as ONNX"),
    ).action(run),
);

function shares(text: string): number[] {
  const values = text.split(',').map(Number);
  if (values.length === 0 || values.some(v => !(v >= 0 && v < 1))) {
    throw new InvalidArgumentError('Expected numbers from 0 to below 1, such as 0.5,0.9.');
  }
  return values;
}

interface Row {
  readonly sparsity: number;
  readonly seed: number;
  readonly candidate: CandidateSparsity;
  readonly found: Trained;
  readonly random: readonly Trained[];
  readonly target: number;
  readonly deviations: number;
  readonly parent: number;
}

async function run(options: Options): Promise<void> {
  if (options.weights !== undefined && options.seeds > 1) {
    throw new UsageError(
      `--weights: all ${options.seeds} seeds would start from the same weights, which makes their pairs no independent ones; give --seeds 1, or leave --weights out`,
    );
  }
  if (options.space === 'weight' && (options.rescale || options.sampling === 'global')) {
    throw new UsageError('--rescale and --sampling global are about nodes; leave them out with --space weight');
  }
  if (options.out !== undefined) checkOutput(join(options.out, 'found.onnx'));
  const output = new Output(options);
  const first = await openClassifier(options);
  await refuseEarly(options, first);
  using progress = await output.progress();
  const rows: Row[] = [];
  const files: string[] = [];
  using bar = progress.start('seeds', options.seeds);
  for (let i = 0; i < options.seeds; i++) {
    const seed = options.seed + i;
    const classifier = i === 0 ? first : await openClassifier({ ...options, seed });
    const done = await oneSeed(classifier, options, seed, progress);
    rows.push(...done.map(d => d.row));
    if (i === 0 && options.out !== undefined) {
      for (const { row, model } of done) {
        const path = join(options.out, `found-${row.sparsity}.onnx`);
        await writeOnnx(path, await exportModel(model, { inputs: classifier.input }), { sparse: 1 / 3 });
        files.push(path);
      }
    }
    bar.update(i + 1);
  }
  progress.stop();
  const verdicts = options.sparsities.map(sparsity => {
    const own = rows.filter(r => r.sparsity === sparsity);
    return { sparsity, ...own[0].candidate, deviations: mean(own.map(r => r.deviations)), ...searchVerdict(own) };
  });
  const parent = mean(rows.map(r => r.parent));
  output.result({ parent, verdicts, rows, files }, () =>
    [
      table(
        ['nodes gone', 'weights gone', 'found', 'random', 'found below mean by', 'steps to target'],
        verdicts.map(v => {
          const own = rows.filter(r => r.sparsity === v.sparsity);
          return [
            percent(v.nodes),
            percent(v.weights),
            percent(mean(own.map(r => r.found.final)) / 100, 2),
            percent(mean(own.flatMap(r => r.random.map(t => t.final))) / 100, 2),
            `${v.deviations.toFixed(1)} deviations`,
            `${v.steps.found.toFixed(0)} / ${v.steps.random.toFixed(0)}`,
          ];
        }),
      ),
      '',
      `whole network: ${percent(parent / 100, 2)} (test accuracy)`,
      ...verdicts.map(v => `${percent(v.sparsity, 0)}: ${v.line}`),
      ...(files.length > 0 ? [`written: ${files.join(', ')}`] : []),
    ].join('\n'),
  );
}

/** A sparsity that cuts the network is found before the first training. */
async function refuseEarly(options: Options, { model, input }: Classifier): Promise<void> {
  const space = await spaceOf(model, input, options);
  for (const sparsity of options.sparsities) space.sample(sparsity, new Random(0));
}

const spaceOf = async (model: Module, input: Spec, options: Options): Promise<SearchSpace<unknown>> =>
  (options.space === 'node'
    ? await NodeSpace.of(model, [input], options)
    : await WeightSpace.of(model, [input], options.exclude)) as SearchSpace<unknown>;

/** Whole network, found and random sub-networks of one initialisation, all trained alike. */
async function oneSeed(classifier: Classifier, options: Options, seed: number, progress: Progress) {
  const { model, input, data, transforms } = classifier;
  const random = new Random(seed).fork('random-search');
  // What judged the candidates would flatter the curve of the one it chose.
  const count = Math.max(1, Math.min(options.samples, data.length >> 2));
  const [judging, watching, train] = await data.split([count, count, data.length - 2 * count], { seed });
  const sample = await new DataLoader(judging, { batchSize: judging.length, transforms }).batchAt(0, 0);
  const validation = new DataLoader(watching, { batchSize: 500, transforms });
  const space = await spaceOf(model, input, options);
  const scorer = candidateScorers[options.criterion]({ space, task, sample });
  const searched: { sparsity: number; found: unknown; others: unknown[]; deviations: number }[] = [];
  for (const sparsity of options.sparsities) {
    const own = random.fork(String(sparsity));
    const { found, deviations } = await randomSearch({
      space,
      sparsity,
      budget: options.budget,
      scorer,
      random: own,
      progress,
    });
    const others = Array.from({ length: options.draws }, (_, r) => space.sample(sparsity, own.fork('random').fork(r)));
    searched.push({ sparsity, found, others, deviations });
  }
  await scorer.dispose?.();

  const fit = async (network: Module, sparsifiers: readonly Sparsifier[], label: string): Promise<Trained> => {
    const loader = classifier.train(0, train);
    const steps = options.epochs * loader.length;
    const curve = new Curve({ task, data: validation, every: Math.max(1, Math.floor(steps / 20)), sparsifiers });
    const { lr: learningRate, momentum, weightDecay } = options;
    await new Trainer({
      model: network,
      task,
      train: loader,
      optimizer: new SGD(network.parameters(), { learningRate, momentum, weightDecay }),
      schedule: cosineSchedule({ steps }),
      steps,
      sparsifiers: [...sparsifiers, curve],
      seed,
      progress,
      label,
    }).run();
    return { curve: curve.points, final: 100 * (await evaluate(network, task, classifier.test)).accuracy };
  };
  const fitCandidate = async (candidate: unknown, label: string) => {
    const { model: network, sparsifiers } = await space.network(candidate);
    return { network, trained: await fit(network, sparsifiers, label) };
  };
  // A copy, so that the space keeps the initial weights: the network with nothing removed.
  const whole = await fitCandidate(space.sample(0, random), 'whole network');
  const target = 0.95 * whole.trained.curve.at(-1)!.accuracy;
  const done: { row: Row; model: Module }[] = [];
  for (const { sparsity, found, others, deviations } of searched) {
    const counterparts: Trained[] = [];
    for (const other of others)
      counterparts.push((await fitCandidate(other, `random ${percent(sparsity, 0)}`)).trained);
    const { network, trained } = await fitCandidate(found, `found ${percent(sparsity, 0)}`);
    const candidate = space.sparsity(found);
    const row = {
      sparsity,
      seed,
      candidate,
      found: trained,
      random: counterparts,
      target,
      deviations,
      parent: whole.trained.final,
    };
    done.push({ row, model: network });
  }
  return done;
}

const task = classification();
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
