import { check, loadExecutable, writeFile } from '@gossamer/tensor';
import { encodeOnnx, type OnnxModel } from '@gossamer/tensor/onnx';
import { Option } from 'commander';
import type { ChannelScore } from '../../sparsity/channel-scores.ts';
import type { ChannelGroups } from '../../sparsity/groups.ts';
import { Mask } from '../../sparsity/mask.ts';
import { OnnxNetwork } from '../../sparsity/shrink-onnx.ts';
import { fit, grouped, percent, quantity, table } from '../../text.ts';
import type { Progress } from '../../train/progress.ts';
import { accuracy, batches, batching } from '../classification.ts';
import {
  type CommonOptions,
  checkOutput,
  command as define,
  integer,
  Output,
  positive,
  shapes,
  UsageError,
} from '../command.ts';
import { checkDataInput, finetune } from '../compress.ts';
import { dataHelp, type LabelledData, normalizeHelp, openData } from '../data.ts';
import { type ModelFile, modelFile, openModel, type Shapes } from '../model-file.ts';
import { choose, costTarget, feedsFor, milliseconds, type TargetOptions, targetOf } from '../shrink.ts';
import { withWeights } from '../write-back.ts';

interface Options extends CommonOptions, TargetOptions {
  score: ChannelScore;
  aggregate: 'mean' | 'sum' | 'max' | 'min';
  minimum: number;
  multipleOf: number;
  groups: 'offset' | 'whole';
  constant?: 'drop' | 'fold';
  data?: string;
  normalize?: string;
  finetuneEpochs: number;
  lr: number;
  batch: number;
  threads: number;
  seed: number;
  shape?: Shapes;
  out: string;
}

export const command = define('shrink', 'model.onnx --flops 0.5 -o small.onnx', c =>
  c
    .argument('<model.onnx>', 'the model to make smaller')
    .requiredOption('-o, --out <file.onnx>', 'where the result goes')
    .option('--flops <target>', 'FLOPs that may be left: a share such as 0.5, or a number', costTarget)
    .option('--parameters <target>', 'parameters that may be left', costTarget)
    .option('--bytes <target>', 'bytes of weights that may be left', costTarget)
    .option('--milliseconds <ms>', 'time that one run may take, measured here', positive)
    .option('--speedup <factor>', 'how many times faster it has to be, measured here', positive)
    .option(
      '--zeros',
      'or: only what zeros in the weights leave without effect (after training with a mask of filters)',
    )
    .addOption(
      new Option('--score <name>', 'what a channel is worth')
        .choices(['l1', 'l2', 'fpgm', 'gamma', 'random'])
        .default('l1'),
    )
    .addOption(
      new Option('--aggregate <how>', 'how the scores of layers that share channels become one')
        .choices(['mean', 'sum', 'max', 'min'])
        .default('mean'),
    )
    .option('--minimum <n>', 'channels that stay in every group', integer(1), 1)
    .option('--multiple-of <n>', 'channels that stay in a group are a multiple of this, or all', integer(1), 1)
    .addOption(
      new Option('--groups <how>', 'grouped convolutions lose the same channels of each group, or whole groups')
        .choices(['offset', 'whole'])
        .default('offset'),
    )
    .addOption(
      new Option(
        '--constant <how>',
        'constants that removed channels still carry: left out (default), or folded into biases (default with --zeros)',
      ).choices(['drop', 'fold']),
    )
    .option('--data <source>', dataHelp)
    .option('--normalize <how>', normalizeHelp)
    .option('--finetune-epochs <n>', 'epochs of training of the small model; needs --data', integer(0), 0)
    .option('--lr <rate>', 'learning rate of the fine-tuning', positive, 0.01)
    .option('--batch <n>', 'samples of a batch', integer(1), 64)
    .option('--threads <n>', 'threads that times are measured with', integer(1), 1)
    .option('--seed <n>', 'seed of everything random', integer(0), 0)
    .option('--shape <name=sizes>', 'sizes of an input that the file leaves free; may be repeated', shapes)
    .action(run),
);

async function run(path: string, options: Options): Promise<void> {
  const target = targetOf(options);
  if (options.finetuneEpochs > 0 && options.data === undefined) throw new UsageError('--finetune-epochs needs --data');
  checkOutput(options.out);
  const output = new Output(options);
  using progress = await output.progress();

  const file = await openModel(path, options.shape);
  check(file.inputs.length > 0, () => `${path}: cannot be followed: ${file.untraced}`);
  const data =
    options.data === undefined
      ? undefined
      : await openData(options.data, options.normalize, checkDataInput(path, file.inputs, file.onnx));
  const network = new OnnxNetwork(file.onnx, file.inputs);
  const { constant = target === 'zeros' ? 'fold' : 'drop' } = options;
  const rules = { groupedConvolutions: options.groups, constant };
  const groups = await network.groups(rules);
  const feeds = feedsFor(file, options.seed);
  const time = (models: readonly OnnxModel[]) => milliseconds(models, feeds, options);
  const shrink = async (remove: readonly number[]) => (await network.shrink({ remove }, rules)).onnx;
  const decision =
    target === 'zeros'
      ? target
      : { remove: await choose(network, groups, { ...options, target, shrink, time, progress }) };
  const { onnx, before, after, removed, dropped } = await network.shrink(decision, rules);
  check(target !== 'zeros' || after.parameters < before.parameters, () => {
    return `${path}: no channel is dead, so that --zeros has nothing to remove; give a target such as --flops 0.5`;
  });
  const tests = await testing(file, onnx, data, options, progress);
  await writeFile(options.out, [encodeOnnx(tests.onnx)]);
  const [msBefore, msAfter] = await time([file.onnx, tests.onnx]);
  progress.stop();

  const rows = describeGroups(groups, removed);
  const summary = {
    parameters: { before: before.parameters, after: after.parameters },
    flops: { before: before.flops, after: after.flops },
    bytes: { before: before.bytes, after: after.bytes },
    milliseconds: { before: msBefore, after: msAfter },
  };
  const result = {
    file: path,
    out: options.out,
    target,
    ...(target !== 'zeros' && { score: options.score }),
    ...summary,
    ...(tests.accuracy && { accuracy: tests.accuracy }),
    groups: rows,
    skipped: groups.fixed,
    dropped,
  };
  output.result(result, () =>
    [
      table(
        ['group', 'channels', 'left', 'share'],
        rows.map(r => [fit(r.name, 50), grouped(r.channels), grouped(r.left), percent(r.left / r.channels)]),
      ),
      '',
      `${path} → ${options.out}: ${grouped(removed.length)} of ${grouped(groups.count)} channels are gone (${target === 'zeros' ? 'dead' : options.score})`,
      ...Object.entries(summary).map(
        ([name, { before, after }]) =>
          `${name.padEnd(13)} ${amount(name, before)} → ${amount(name, after)} (${(before / after).toFixed(2)} times less)`,
      ),
      ...(tests.accuracy ? [`accuracy      ${tests.accuracy.text}`] : []),
      ...groups.fixed.map(({ name, count, reason }) => `stays         ${grouped(count)} of ${name}: ${reason}`),
      ...(dropped.length > 0 ? [`constants that no bias could take over were left out of ${dropped.join(', ')}`] : []),
    ].join('\n'),
  );
}

const amount = (name: string, value: number): string =>
  name === 'milliseconds' ? `${value.toPrecision(3)}` : quantity(value);

function describeGroups({ groups }: ChannelGroups, removed: readonly number[]) {
  const gone = new Set(removed);
  return groups.map(({ name, channels, width }) => {
    const left = channels.filter(id => !gone.has(id)).length;
    return { name, channels: channels.length, left, width };
  });
}

/** Accuracies before, after and, if that is asked for, after fine-tuning; and the file in the end. */
async function testing(
  file: ModelFile,
  small: OnnxModel,
  data: LabelledData | undefined,
  options: Options,
  progress: Progress,
) {
  if (!data) return { onnx: small };
  const test = async (onnx: OnnxModel) => {
    const executable = await loadExecutable(encodeOnnx(onnx));
    try {
      const batch = batching(onnx, file.inputs[0], options.batch);
      return await accuracy(executable, batches(data, 'test', batch), progress);
    } finally {
      await executable.release();
    }
  };
  const [before, shrunk] = [await test(file.onnx), await test(small)];
  const text = `${percent(before.share, 2)} → ${percent(shrunk.share, 2)} smaller`;
  const found = { data: data.name, samples: before.samples, before: before.share, shrunk: shrunk.share };
  if (options.finetuneEpochs === 0) return { onnx: small, accuracy: { ...found, text } };
  const { length } = encodeOnnx(small);
  const trained = await modelFile({ path: file.path, bytes: length, onnx: small }, options.shape);
  const values = await finetune(trained, Mask.ones(trained.layers), data, {
    ...options,
    epochs: options.finetuneEpochs,
    progress,
  });
  const onnx = withWeights(small, values);
  const finetuned = await test(onnx);
  const full = `${text} → ${percent(finetuned.share, 2)} fine-tuned`;
  return { onnx, accuracy: { ...found, finetuned: finetuned.share, text: full } };
}
