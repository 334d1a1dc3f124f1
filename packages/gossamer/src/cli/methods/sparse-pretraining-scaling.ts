import { readFile } from 'node:fs/promises';
import { check, FormatError, writeFile } from '@gossamer/tensor';
import { Command, Option } from 'commander';
import { checkedRun, type Run, runSize, type SizeKind, sizeKinds } from '../../methods/sparse-training/run-size.ts';
import { bootstrapLaw, fitLaw, type Law, predict, relativeError } from '../../methods/sparse-training/scaling-law.ts';
import { planPretraining } from '../../methods/sparse-training/scaling-planner.ts';
import { percent, quantity, table } from '../../text.ts';
import {
  type CommonOptions,
  checkOutput,
  command as define,
  integer,
  list,
  nonNegative,
  Output,
  positive,
} from '../command.ts';

const slug = 'sparse-pretraining-scaling';

interface FitFlags extends CommonOptions {
  readonly size: SizeKind;
  readonly delta: number;
  readonly alpha?: number;
  readonly beta?: number;
  readonly bootstrap: number;
  readonly seed: number;
  readonly out?: string;
}

const fit = define(`run ${slug} fit`, 'runs.jsonl -o law.json', c =>
  c
    .name('fit')
    .description('fits L = E + A/N^α + B/D^β to finished runs, dense and sparse')
    .argument(
      '<runs.jsonl>',
      'one run a line: {"name": …, "tokens": D, "loss": L, "active": [[token, parameters], …]}, or "parameters" for a dense run',
    )
    .option('-o, --out <law.json>', 'where the law goes; default nowhere')
    .addOption(new Option('--size <which>', 'what stands for N').choices([...sizeKinds]).default('average'))
    .option('--delta <d>', 'width of the Huber loss on ln L', positive, 1e-3)
    .option('--alpha <a>', 'given instead of fitted', positive)
    .option('--beta <b>', 'given instead of fitted', positive)
    .option('--bootstrap <n>', 'resamplings for the 90 % intervals', integer(10), 200)
    .option('--seed <n>', 'of the resampling', integer(0), 0)
    .action(runFit),
);

interface PlanFlags extends CommonOptions {
  readonly law: string;
  readonly finalSize: number;
  readonly compute: number;
  readonly sparsity?: readonly string[];
  readonly start: number;
  readonly end: number;
  readonly exponent: number;
  readonly of: 'compute' | 'tokens';
}

const plan = define(`run ${slug} plan`, '--law law.json --final-size 1e8 --compute 1e19', c =>
  c
    .name('plan')
    .description(
      'what a compute budget buys: dense start, sparsity and tokens that end at a size, with predicted losses',
    )
    .requiredOption('--law <law.json>', 'written by fit')
    .requiredOption('--final-size <n>', 'parameters that are left at the end, such as 1e8', positive)
    .requiredOption('--compute <C>', 'floating-point operations of the training, such as 1e19', positive)
    .option('--sparsity <shares>', 'final sparsities to look at (default: 0,0.2,0.4,0.6,0.8)', list)
    .option('--start <share>', 'of the training, where pruning begins', nonNegative, 0.25)
    .option('--end <share>', 'of the training, where pruning ends', positive, 0.75)
    .addOption(
      new Option('--of <what>', 'what start and end are shares of').choices(['compute', 'tokens']).default('compute'),
    )
    .option('--exponent <p>', 'of the curve', positive, 3)
    .action(runPlan),
);

interface PredictFlags extends CommonOptions {
  readonly law: string;
  readonly size: number;
  readonly tokens: number;
}

const prediction = define(`run ${slug} predict`, '--law law.json --size 1e8 --tokens 2e9', c =>
  c
    .name('predict')
    .description('the loss of one model')
    .requiredOption('--law <law.json>', 'written by fit')
    .requiredOption(
      '--size <n>',
      'parameters, of a sparse run their average over the tokens (or what fit took for N)',
      positive,
    )
    .requiredOption('--tokens <D>', 'of the training', positive)
    .action(runPredict),
);

/** `gossamer run sparse-pretraining-scaling fit|plan|predict`; the training itself is `gossamer train --sparsifier`. */
export const command = new Command(slug).description(
  'one scaling law for dense and sparse pre-training: fits it to runs, plans with it',
);
for (const part of [fit, plan, prediction]) command.addCommand(part.exitOverride());

async function runFit(path: string, options: FitFlags): Promise<void> {
  if (options.out !== undefined) checkOutput(options.out);
  const output = new Output(options);
  const runs = await readRuns(path);
  const { size, delta, alpha, beta, bootstrap: samples, seed } = options;
  const fixed = { ...(alpha !== undefined && { alpha }), ...(beta !== undefined && { beta }) };
  const settings = { size, delta, fixed };
  using progress = await output.progress();
  const bar = progress.start('fit', 2, { unit: 'steps', transient: true });
  const { law, objective } = fitLaw(runs, settings);
  bar.update(1);
  const { intervals, undetermined } = bootstrapLaw(runs, { ...settings, samples, seed });
  bar.stop();
  progress.stop();
  for (const name of undetermined) {
    output.note(`${name} is hardly determined by these runs; give --${name} or runs over a wider range`);
  }
  const rows = runs.map((run, i) => ({
    name: run.name ?? String(i + 1),
    parameters: runSize(run, size),
    final: runSize(run, 'final'),
    tokens: run.tokens,
    loss: run.loss,
    predicted: predict(law, runSize(run, size), run.tokens),
  }));
  const error = relativeError(law, runs, size);
  const result = { law, size, fixed, intervals, undetermined, objective, relativeError: error, runs: rows };
  if (options.out !== undefined) {
    await writeFile(options.out, [new TextEncoder().encode(`${JSON.stringify({ law, size, intervals }, null, 2)}\n`)]);
  }
  output.result(result, () =>
    [
      formatLaw(law),
      `90 %  ${Object.entries(intervals)
        .map(([name, { low, high }]) => `${name} ${low.toPrecision(3)}…${high.toPrecision(3)}`)
        .join('  ')}`,
      `mean relative error ${percent(error, 2)} on ${runs.length} runs, N by ${size} count`,
      '',
      table(
        ['run', 'N', 'final', 'tokens', 'loss', 'predicted'],
        rows.map(r => [
          r.name,
          quantity(r.parameters),
          quantity(r.final),
          quantity(r.tokens),
          r.loss.toFixed(4),
          r.predicted.toFixed(4),
        ]),
      ),
      ...(options.out === undefined ? [] : ['', `written: ${options.out}`]),
    ].join('\n'),
  );
}

async function runPlan(options: PlanFlags): Promise<void> {
  const { law: path, finalSize, compute, start, end, exponent, of, sparsity } = options;
  const { law, size } = await readLaw(path);
  check(
    size === 'average',
    () => `${path}: its N is the ${size} count; a plan predicts by the average one: fit again with --size average`,
  );
  const sparsities = sparsity?.map(Number);
  const curve = { start, end, exponent, of };
  const rows = planPretraining(law, { finalSize, compute, ...curve, ...(sparsities && { sparsities }) });
  new Output(options).result({ law, finalSize, compute, ...curve, options: rows }, () =>
    [
      formatLaw(law),
      `${quantity(compute)} operations, ${quantity(finalSize)} parameters at the end, ${quantity(2 * finalSize)} operations a token at inference`,
      '',
      table(
        ['sparsity', 'dense start', 'average', 'tokens', 'loss', 'dense equal at inference'],
        rows.map(r => [
          percent(r.sparsity, 0),
          quantity(r.initialSize),
          quantity(r.averageSize),
          quantity(r.tokens),
          r.loss.toFixed(4),
          `${(r.denseInference / r.inference).toFixed(2)} ×`,
        ]),
      ),
      '',
      'A dense model of the average size, trained with the same compute, has the same predicted loss; the last column is its cost.',
    ].join('\n'),
  );
}

async function runPredict(options: PredictFlags): Promise<void> {
  const { law } = await readLaw(options.law);
  const { size, tokens } = options;
  const loss = predict(law, size, tokens);
  new Output(options).result({ law, size, tokens, loss, compute: 6 * size * tokens }, () => loss.toFixed(4));
}

const formatLaw = ({ E, A, alpha, B, beta }: Law): string =>
  `L = ${E.toPrecision(4)} + ${A.toPrecision(4)} / N^${alpha.toPrecision(3)} + ${B.toPrecision(4)} / D^${beta.toPrecision(3)}`;

function parsed(text: string, where: string): Record<string, unknown> {
  try {
    const value = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new FormatError(`${where}: is no JSON object`);
}

async function readRuns(path: string): Promise<Run[]> {
  const lines = (await readFile(path, 'utf8')).split('\n');
  return lines.flatMap((line, i) => {
    if (line.trim() === '') return [];
    const where = `${path}, line ${i + 1}`;
    const { parameters, ...run } = parsed(line, where);
    const active = run.active ?? (typeof parameters === 'number' ? [[0, parameters]] : undefined);
    return [checkedRun({ ...run, active } as unknown as Run, where)];
  });
}

async function readLaw(path: string): Promise<{ readonly law: Law; readonly size: SizeKind }> {
  const file = parsed(await readFile(path, 'utf8'), path);
  const law = file.law as Law | undefined;
  const keys = ['E', 'A', 'alpha', 'B', 'beta'] as const;
  check(
    law && keys.every(key => typeof law[key] === 'number' && law[key] >= 0),
    () => `${path}: has no law with ${keys.join(', ')}; write one with \`gossamer run ${slug} fit … -o law.json\``,
  );
  return { law, size: (file.size as SizeKind | undefined) ?? 'average' };
}
