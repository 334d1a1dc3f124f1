import { gzipSync } from 'node:zlib';
import { loadExecutable, writeFile } from '@gossamer/tensor';
import { encodeOnnx } from '@gossamer/tensor/onnx';
import { InvalidArgumentError, Option } from 'commander';
import type { Allocation } from '../../sparsity/allocation.ts';
import type { Granularity } from '../../sparsity/granularity.ts';
import type { Mask } from '../../sparsity/mask.ts';
import { reportTable, sparsityReport } from '../../sparsity/report.ts';
import { grouped, percent, quantity } from '../../text.ts';
import { accuracy, batches, batching } from '../classification.ts';
import {
  type CommonOptions,
  checkOutput,
  command as define,
  integer,
  list,
  Output,
  positive,
  shapes,
  share,
  UsageError,
} from '../command.ts';
import { checkDataInput, chooseWeights, type Difference, difference, finetune, pruned } from '../compress.ts';
import { dataHelp, type LabelledData, normalizeHelp, openData } from '../data.ts';
import { type ModelFile, openModel, type Shapes } from '../model-file.ts';
import { pattern } from '../pattern.ts';
import { listScores, scoreMethods } from '../scores.ts';
import { withWeights } from '../write-back.ts';

interface Options extends CommonOptions {
  method: string;
  sparsity?: number;
  pattern: Granularity;
  allocation?: Allocation;
  minimum?: `${number}%` | number;
  exclude?: string[];
  data?: string;
  normalize?: string;
  samples: number;
  finetuneEpochs: number;
  lr: number;
  batch: number;
  seed: number;
  sparse?: boolean;
  shape?: Shapes;
  out: string;
}

export const command = define('compress', 'model.onnx --sparsity 0.9 --allocation erk --sparse -o sparse.onnx', c =>
  c
    .argument('<model.onnx>', 'the model to prune')
    .requiredOption('-o, --out <file.onnx>', 'where the result goes')
    .option('--sparsity <share>', 'share of the weights that go; a pattern such as 2:4 has its own', share)
    .addOption(
      new Option('--method <name>', 'what a weight is worth (below)')
        .choices(Object.keys(scoreMethods))
        .default('magnitude'),
    )
    .addOption(
      new Option('--pattern <name>', '2:4, block:4x1, filter, channel, …')
        .argParser(pattern)
        .default({ kind: 'element' }, 'element'),
    )
    .addOption(
      new Option('--allocation <rule>', 'how layers share the sparsity; the default depends on the method').choices([
        'uniform',
        'uniform+',
        'er',
        'erk',
        'global',
      ]),
    )
    .option('--minimum <weights>', 'what every layer keeps: a number, or a share of all such as 0.05%', minimum)
    .option('--exclude <layers>', 'left dense: names (with *), kinds, first, last; may be repeated', list)
    .option('--data <source>', dataHelp)
    .option('--normalize <how>', normalizeHelp)
    .option('--samples <n>', 'training samples that scores from data look at', integer(1), 512)
    .option('--finetune-epochs <n>', 'epochs of training under the mask; needs --data', integer(0), 0)
    .option('--lr <rate>', 'learning rate of the fine-tuning', positive, 0.01)
    .option('--batch <n>', 'samples of a batch', integer(1), 64)
    .option('--seed <n>', 'seed of everything random', integer(0), 0)
    .option('--sparse', 'write pruned weights as sparse_initializer: smaller from 67 % sparsity on')
    .option('--shape <name=sizes>', 'sizes of an input that the file leaves free; may be repeated', shapes)
    .addHelpText('after', () => `\nMethods:\n${listScores()}`)
    .action(run),
);

async function run(path: string, options: Options): Promise<void> {
  const { method, sparsity, data: source, finetuneEpochs: epochs } = options;
  if (sparsity === undefined && options.pattern.kind !== 'nm') throw new UsageError('give --sparsity, such as 0.9');
  if (scoreMethods[method].data && !source) throw new UsageError(`--method ${method} needs --data`);
  if (epochs > 0 && !source) throw new UsageError('--finetune-epochs needs --data');
  checkOutput(options.out);
  const output = new Output(options);
  using progress = await output.progress();

  const file = await openModel(path, options.shape);
  const data =
    source === undefined
      ? undefined
      : await openData(source, options.normalize, checkDataInput(path, file.inputs, file.onnx));
  const chosen = await chooseWeights(file, { exclude: [], ...options, granularity: options.pattern, progress }, data);
  const { mask } = chosen;

  const before = encodeOnnx(file.onnx);
  let values = pruned(file.layers, mask);
  const encode = () => encodeOnnx(withWeights(file.onnx, values), sparseRule(options.sparse, mask));
  let after = encode();
  const accuracies: Record<string, number> = {};
  let tested = 0;
  const test = async (name: string, bytes: Uint8Array) => {
    if (!data) return;
    const { share, samples } = await accuracyOf(bytes, file, data, options.batch, progress);
    accuracies[name] = share;
    tested = samples;
  };
  await test('before', before);
  await test('pruned', after);
  if (data && epochs > 0) {
    values = await finetune(file, mask, data, { ...options, epochs, progress });
    after = encode();
    await test('finetuned', after);
  }
  const apart = data || file.inputs.length === 0 ? undefined : await compare(before, after, file, options.seed);
  await writeFile(options.out, [after]);
  progress.stop();

  const layers = file.layers.map(l => ({ ...l, values: values.get(l.name) ?? l.values }));
  const report = sparsityReport(layers, { mask });
  const bytes = { before: sizes(before), after: sizes(after) };
  const settings = {
    method,
    pattern: options.pattern,
    allocation: options.allocation ?? scoreMethods[method].allocation,
  };
  const result = {
    file: path,
    out: options.out,
    ...settings,
    sparsity: mask.sparsity(),
    excluded: chosen.excluded,
    excludedShare: chosen.excludedShare,
    bytes,
    ...(data && { accuracy: { data: data.name, samples: tested, ...accuracies } }),
    ...(apart && { outputs: apart }),
    ...(file.untraced !== undefined && { note: file.untraced }),
    ...report,
  };
  output.result(result, () =>
    [
      reportTable(report, { flops: file.untraced === undefined }),
      '',
      `${path} → ${options.out}: ${percent(mask.sparsity(), 2)} of ${grouped(mask.size())} weights are gone (${method}, ${settings.allocation})`,
      ...(chosen.excluded.length > 0
        ? [`dense     ${some(chosen.excluded)} (${percent(chosen.excludedShare)} of the weights)`]
        : []),
      `file      ${formatSizes(bytes.before)} → ${formatSizes(bytes.after)}`,
      ...(data ? [`accuracy  ${formatAccuracies(accuracies)} (${grouped(tested)} test samples of ${data.name})`] : []),
      ...(apart ? [formatDifference(apart)] : []),
      ...(file.untraced !== undefined ? [`FLOPs are not known: ${file.untraced}`] : []),
    ].join('\n'),
  );
}

const some = (names: readonly string[]): string =>
  names.length <= 6 ? names.join(', ') : `${names.slice(0, 5).join(', ')} and ${names.length - 5} more layers`;

function minimum(text: string): number | `${number}%` {
  if (!/^\d+$|^\d*\.?\d+%$/.test(text)) throw new InvalidArgumentError("Expected a number of weights, or '0.05%'.");
  return text.endsWith('%') ? (text as `${number}%`) : Number(text);
}

/** What was sparse in the file stays so; with --sparse, all that was pruned becomes so. */
const sparseRule = (sparse: boolean | undefined, mask: Mask) =>
  sparse ? { sparse: (name: string, t: { sparse?: boolean }) => t.sparse === true || mask.has(name) } : {};

async function accuracyOf(
  bytes: Uint8Array,
  { onnx, inputs }: ModelFile,
  data: LabelledData,
  batch: number,
  progress: Awaited<ReturnType<Output['progress']>>,
): Promise<{ share: number; samples: number }> {
  const executable = await loadExecutable(bytes);
  try {
    return await accuracy(executable, batches(data, 'test', batching(onnx, inputs[0], batch)), progress);
  } finally {
    await executable.release();
  }
}

async function compare(
  before: Uint8Array,
  after: Uint8Array,
  { inputs }: ModelFile,
  seed: number,
): Promise<Difference> {
  const pair = [await loadExecutable(before), await loadExecutable(after)];
  try {
    return await difference(pair, inputs, { seed });
  } finally {
    for (const executable of pair) await executable.release();
  }
}

/** Compressing a larger file would take longer than all the rest. */
const largestGzip = 2 ** 26;

const sizes = (bytes: Uint8Array) => ({
  raw: bytes.length,
  ...(bytes.length <= largestGzip && { gzip: gzipSync(bytes).length }),
});

const formatSizes = ({ raw, gzip }: { raw: number; gzip?: number }): string =>
  `${quantity(raw)}B${gzip === undefined ? '' : ` (gzip ${quantity(gzip)}B)`}`;

const formatAccuracies = ({ before, pruned, finetuned }: Record<string, number>): string =>
  `${percent(before, 2)} → ${percent(pruned, 2)} pruned${finetuned === undefined ? '' : ` → ${percent(finetuned, 2)} fine-tuned`}`;

const formatDifference = ({ inputs, difference, output }: Difference): string =>
  `outputs   differ by at most ${difference.toPrecision(3)} (largest output ${output.toPrecision(3)}; ${inputs} random inputs)`;
