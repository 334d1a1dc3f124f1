import { readFile } from 'node:fs/promises';
import { check, GossamerError } from '@gossamer/tensor';
import { Option } from 'commander';
import {
  channelsOfMask,
  type MaskRule,
  type MaskSource,
  type MaskSparsityStep,
  maskSparsity,
  sceneOf,
} from '../../methods/structured/masksparsity.ts';
import type { Module } from '../../nn/module.ts';
import { cosineSchedule, SGD } from '../../optim/index.ts';
import type { ScaleMask, ScalePenaltyKind } from '../../sparsity/scale-penalty.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';
import { percent } from '../../text.ts';
import { evaluate, type Metrics } from '../../train/evaluate.ts';
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
  readonly flops?: number;
  readonly parameters?: number;
  readonly channels?: number;
  readonly threshold?: number;
  readonly energy?: number;
  readonly source: MaskSource;
  readonly mask?: string;
  readonly lambda: number;
  readonly penalty: ScalePenaltyKind;
  readonly shifts: boolean;
  readonly residual: 'vote' | 'inner';
  readonly removeBelow?: number;
  readonly constant: 'drop' | 'fold';
  readonly exclude?: readonly string[];
  readonly epochs: number;
  readonly finetuneEpochs: number;
  readonly finetuneLr?: number;
  readonly out: string;
}

const rules = ['flops', 'parameters', 'channels', 'threshold', 'energy'] as const;

export const command = define(
  'masksparsity',
  '--model resnet20 --data cifar-10 --augment --flops 0.5 --epochs 20 --lambda 2e-3 -o small.onnx',
  c =>
    classifierOptions(
      c
        .description('decides which channels go, trains only those towards zero, removes them, fine-tunes')
        .requiredOption('-o, --out <file.onnx>', 'where the small network goes')
        .option('--flops <share>', 'what is to be left of the FLOPs', share)
        .option('--parameters <share>', 'or: of the parameters', share)
        .option('--channels <share>', 'or: of the channels that can go', share)
        .option('--threshold <t>', 'or: channels with a scale below t go', positive)
        .option('--energy <share>', "or: the smallest scales go, up to this share of a layer's sum of squares", share)
        .addOption(
          new Option('--source <what>', 'what decides which channels go')
            .choices(['global-l1', 'uniform', 'l1-norm', 'fpgm'])
            .default('global-l1'),
        )
        .option('--mask <file.json>', 'a mask of your own: {"bn1.weight": [numbers of channels that go], …}')
        .option('--lambda <strength>', 'of the penalty: the shorter the training, the stronger', positive, 5e-4)
        .addOption(new Option('--penalty <kind>', 'on scales').choices(['l1', 'l2', 'smooth-l1']).default('l1'))
        .option('--no-shifts', 'leave the shifts of masked channels without a penalty')
        .addOption(
          new Option('--residual <how>', 'layers of a residual stream vote, or only inner channels go')
            .choices(['vote', 'inner'])
            .default('vote'),
        )
        .option(
          '--remove-below <t>',
          'remove the channels whose scale is below t after training, not those of the mask',
          positive,
        )
        .addOption(
          new Option('--constant <how>', 'what a removed channel still gives')
            .choices(['drop', 'fold'])
            .default('drop'),
        )
        .option('--exclude <layers>', 'whose channels stay: names (with *), kinds, first, last; may be repeated', list)
        .option('--epochs <n>', 'of each training; with --weights there is no first one', integer(1), 10)
        .option('--finetune-epochs <n>', 'of the small network', integer(1), 2)
        .option('--finetune-lr <rate>', 'its learning rate (default: a tenth of --lr)', positive),
    ).action(run),
);

async function run(options: Options): Promise<void> {
  const { lr, momentum, weightDecay, seed, finetuneLr = lr / 10, out } = options;
  const given = rules.filter(name => options[name] !== undefined);
  if (options.mask === undefined && given.length !== 1) {
    throw new UsageError(`give one of ${rules.map(r => `--${r}`).join(', ')}, or --mask`);
  }
  if (options.mask !== undefined && given.length > 0) throw new UsageError(`--mask decides itself about --${given[0]}`);
  checkOutput(out);
  const mask = options.mask === undefined ? undefined : await readMask(options.mask);
  const output = new Output(options);
  const classifier = await openClassifier(options);
  const { model, input, test } = classifier;
  const { source, lambda, penalty, shifts, residual, constant, exclude } = options;
  // What cannot be pruned is refused before any training.
  const scene = await sceneOf(model, [input], { residual, ...(exclude && { exclude }) });
  const own = mask && sized(mask, model);
  if (own) channelsOfMask(scene, own);
  using progress = await output.progress();
  const task = classification();
  let order = 0;
  const train = async (network: Module, label: string, sparsifiers: readonly Sparsifier[] = []): Promise<void> => {
    const fine = label === 'fine-tuning';
    const data = classifier.train(order++);
    const epochs = fine ? options.finetuneEpochs : options.epochs;
    await new Trainer({
      model: network,
      task,
      train: data,
      // Weight decay on scales would be a penalty on all of them.
      optimizer: new SGD(network.parameters(), {
        learningRate: fine ? finetuneLr : lr,
        momentum,
        weightDecay,
        decayVectors: false,
      }),
      epochs,
      schedule: cosineSchedule({ steps: epochs * data.length }),
      sparsifiers,
      seed,
      progress,
      label,
    }).run();
  };

  if (options.weights === undefined) await train(model, 'baseline');
  const metrics: Record<string, Metrics> = { baseline: await evaluate(model, task, test) };
  const steps = maskSparsity(model, [input], {
    rule: mask ? { channels: 1 } : ({ [given[0]]: options[given[0]] } as unknown as MaskRule),
    source: own ?? source,
    ...{ lambda, penalty, shifts, residual, constant },
    ...(options.removeBelow !== undefined && { remove: { threshold: options.removeBelow } }),
    ...(exclude && { exclude }),
    train: (network, phase, sparsifiers) => train(network, phase, sparsifiers),
  });
  let last: MaskSparsityStep | undefined;
  for await (const step of steps) {
    metrics[step.stage] = await evaluate(step.model, task, test);
    last = step;
  }
  const { shrunk, removed } = last!;
  await writeNetwork(out, shrunk!.model, input);
  progress.stop();

  const gone = new Set(removed);
  const groups = scene.electorate.groups.map(({ group, voters }) => {
    const left = group.channels.filter(id => !gone.has(id)).length;
    return { layers: voters.map(v => v.layer), channels: group.channels.length, left };
  });
  const { skipped } = scene.electorate;
  const sizes = await sizesOf(model, shrunk!, input);
  output.result({ out, metrics, groups, skipped, ...sizes }, () =>
    [
      ...groups.map(g => `${some(g.layers).padEnd(48)} ${g.left} of ${g.channels} channels left`),
      ...skipped.map(s => `${s.name.padEnd(48)} untouched: ${s.reason}`),
      '',
      ...formatSizes(sizes),
      ...Object.entries(metrics).map(([stage, m]) => `${stage.padEnd(12)}${percent(m.accuracy, 2).padStart(10)}`),
      `written: ${out}`,
    ].join('\n'),
  );
}

const some = (names: readonly string[]): string =>
  names.length === 1 ? names[0] : `${names[0]} and ${names.length - 1} more`;

/** Numbers of the channels that go, by the name of the scale. */
async function readMask(path: string): Promise<Map<string, readonly number[]>> {
  const text = await readFile(path, 'utf8');
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (cause) {
    throw new GossamerError(`${path}: is no JSON: ${(cause as Error).message}`, { cause });
  }
  const entries = Object.entries((found ?? {}) as object);
  const valid = entries.every(([, v]) => Array.isArray(v) && v.every(n => Number.isInteger(n) && n >= 0));
  check(valid && entries.length > 0, `${path}: expected {"bn1.weight": [0, 3, …], …}, the channels that go by scale`);
  return new Map(entries as [string, number[]][]);
}

/** The mask as zeros and ones. */
function sized(mask: ReadonlyMap<string, readonly number[]>, model: Module): ScaleMask {
  const parameters = model.stateDict();
  return new Map(
    Array.from(mask, ([name, channels]) => {
      const parameter = parameters.get(name);
      check(parameter, () => `--mask: the model has no ${name}; it has ${[...parameters.keys()].join(', ')}`);
      const goes = new Uint8Array(parameter.size);
      for (const c of channels) {
        check(c < goes.length, () => `--mask: ${name} has no channel ${c}; it has ${goes.length}`);
        goes[c] = 1;
      }
      return [name, goes] as const;
    }),
  );
}
