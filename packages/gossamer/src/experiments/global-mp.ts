import { Random } from '@gossamer/tensor';
import { ArrayDataset, type Dataset } from '../data/dataset.ts';
import { load } from '../data/registry.ts';
import { normalise, resize } from '../data/transforms.ts';
import { globalMagnitudePruning } from '../methods/pruning/global-mp.ts';
import { LeNet300 } from '../models/lenet.ts';
import { CifarResNet } from '../models/resnet-cifar.ts';
import { Adam, SGD } from '../optim/index.ts';
import { lineChart } from '../plot.ts';
import { type Check, type Context, type Experiment, type Job, type Outcome, statistics, summarize, tableOf } from './experiment.ts';
import { type Arm, baselines, type Problem, PruningBench } from './pruning-bench.ts';
import { NarrowMobileNet, RowReader, SmallLeNet } from './small-models.ts';

export const experiment: Experiment = {
  slug: 'global-mp',
  title: 'Global magnitude pruning',
  claim:
    'One global magnitude threshold beats layer-wise magnitude pruning and matches more complex pruners; a minimum per layer prevents the collapse of narrow networks; the gradual form lowers FLOPs further.',
  version: 1,
  seeds: 3,
  run,
};

/** A problem, at which sparsities what runs on it, and whether weights are used at several places. */
interface Part extends Problem {
  readonly sparsities: readonly number[];
  /** Sparsities of the arms that train from the start, which cost twice as much. */
  readonly fromStart: readonly number[];
  readonly convolutional?: boolean;
}

/** The weights that each layer keeps with MT: the paper's share of all weights. */
const minimum = '0.05%';
const withMinimum: Arm = {
  when: 'after',
  mask: ({ layers }, { sparsity }) => globalMagnitudePruning(layers, { sparsity, minimum }),
};
const arms: Record<string, Arm> = { ...baselines, 'global MP, MT': withMinimum };
const names = Object.keys(arms);
const collapseSparsities = [0.99, 0.995];
const extreme = 0.99;

async function run({ smoke, full, seeds, run: execute }: Context) {
  const parts = await problems(smoke, full);
  const benches = parts.map(p => new PruningBench(p));
  const narrow = new PruningBench(await narrowProblem(smoke, full));
  const jobs: Job[] = [];
  for (const seed of seeds) {
    for (const [i, bench] of benches.entries()) {
      const { name, sparsities, fromStart } = parts[i];
      jobs.push({ arm: 'dense', condition: { problem: name, seed }, run: () => bench.dense(seed) });
      for (const [label, arm] of Object.entries(arms)) {
        for (const sparsity of arm.when === 'after' ? sparsities : fromStart) {
          // The minimum is for extremes.
          if (arm === withMinimum && sparsity < extreme && !smoke) continue;
          const condition = { problem: name, sparsity, seed };
          jobs.push({ arm: label, condition, run: () => bench.run(arm, { sparsity, seed }) });
        }
      }
    }
    for (const label of ['global MP', 'global MP, MT']) {
      for (const sparsity of collapseSparsities) {
        const condition = { problem: narrow.problem.name, sparsity, seed };
        jobs.push({ arm: label, condition, run: () => narrow.run(arms[label], { sparsity, seed }, { inspect: true }) });
      }
    }
  }
  const outcomes = await execute(jobs);
  return {
    tables: [...parts.flatMap(p => tables(p, outcomes)), ...collapseTables(narrow.problem.name, outcomes)],
    checks: [claimAccuracy(parts, outcomes), claimCollapse(narrow.problem.name, outcomes), claimGradual(parts, outcomes)],
    figures: parts.map(p => figure(p, outcomes)),
    notes: [
      `Every arm has the same number of epochs: ${parts.map(p => `${p.epochs} on ${p.name}`).join(', ')}. One-shot arms (uniform MP, ERK MP, global MP) train densely for half of them and fine-tune for the rest; all others train from a random start.`,
      `Training images: ${parts.map(p => `${p.train.length} for ${p.name}`).join(', ')}; tested on ${parts.map(p => p.test.length).join(', ')}. The networks and budgets are small, so accuracies lie below published ones and compare only with each other.`,
      `MT is ${minimum} of all weights, the released default. Weights are ranked as they are, also before batch normalisation.`,
    ],
  };
}

// ---- problems

async function images(name: 'fashion-mnist' | 'cifar-10' | 'digits', train: number, test: number, size: number) {
  const set = await load(name);
  const prepare = async (data: Dataset, count: number) => {
    const context = { indices: [], epoch: 0, random: new Random(0) };
    const batch = await data.take(count).all();
    const shrunk = batch.inputs.shape[2] === size ? batch : await resize(size)(batch, context);
    return new ArrayDataset(await normalise(set.mean, set.std)(shrunk, context));
  };
  return { train: await prepare(set.train, train), test: await prepare(set.test, test) };
}

async function problems(smoke: boolean, full: boolean): Promise<Part[]> {
  const fashion = smoke ? 'digits' : 'fashion-mnist';
  const [count, test] = smoke ? [200, 100] : full ? [50_000, 10_000] : [5000, 5000];
  const small = full ? 28 : 14;
  const grey = await images(fashion, count, test, 28);
  const shrunk = await images(fashion, count, test, small);
  const colour = smoke
    ? await images('digits', 100, 100, 16)
    : await images('cifar-10', full ? 20_000 : 10_000, 4000, full ? 32 : 16);
  const sgd = (model: { parameters(): Parameters<typeof Object>[0] }) => new SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9, weightDecay: 5e-4 });
  const epochs = smoke ? 2 : full ? 16 : 6;
  const all = smoke ? [0.9] : [0.9, 0.95, 0.98, 0.99, 0.995];
  const some = smoke ? [0.9] : full ? all : [0.9, 0.95, 0.99];
  return [];
}
