// Writes what the documentation says about methods, measurements, data sets and models from the kept results and from the
// registries; `--check` only compares.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { formatBench, type TrainingBench } from '../packages/gossamer/bench/format.ts';
import { formatSparsifierBench, type SparsifierBench } from '../packages/gossamer/bench/sparsifier-format.ts';
import { type DemoResult, formatDemo } from '../packages/gossamer/src/cli/demo.ts';
import { scoreMethods } from '../packages/gossamer/src/cli/scores.ts';
import { sparsifierClass } from '../packages/gossamer/src/cli/sparsifier.ts';
import { dataSets } from '../packages/gossamer/src/data/registry.ts';
import {
  type Documented,
  evidence,
  fill,
  methodsPage,
  methodsTable,
  resultsPage,
} from '../packages/gossamer/src/experiments/document.ts';
import type { Report } from '../packages/gossamer/src/experiments/run.ts';
import { discoverMethods, type RegisteredMethod } from '../packages/gossamer/src/methods/method.ts';
import { models } from '../packages/gossamer/src/models/registry.ts';
import { percent } from '../packages/gossamer/src/text.ts';
import { formatRuntimeBench, type RuntimeBench } from '../packages/runtime/bench/format.ts';
import type { Compatibility } from '../packages/runtime/test/conformance.ts';

const root = new URL('../', import.meta.url);
const source = new URL('packages/gossamer/src/', root);
const results = new URL('packages/gossamer/results/', root);
const kept = 'packages/gossamer/results';

const read = (path: string): Promise<string> => readFile(new URL(path, root), 'utf8');
const names = async (folder: URL, ending: string): Promise<Set<string>> =>
  new Set((await readdir(folder)).filter(f => f.endsWith(ending)).map(f => f.slice(0, -ending.length)));
const readResult = async <T>(name: string): Promise<T | undefined> =>
  readFile(new URL(`bench/${name}.json`, results), 'utf8').then(
    text => JSON.parse(text) as T,
    () => undefined,
  );
const fenced = (text: string): string => `\`\`\`\n${text}\n\`\`\``;
const measured = <T extends { command: string }>(result: T | undefined, format: (result: T) => string): string =>
  result ? fenced(`$ ${result.command}\n${format(result)}`) : '';

const reports = new Map(
  await Promise.all(
    [...(await names(results, '.json'))].map(
      async name => [name, JSON.parse(await readFile(new URL(`${name}.json`, results), 'utf8')) as Report] as const,
    ),
  ),
);
const procedures = await names(new URL('cli/methods/', source), '.ts');
const experiments = await names(new URL('experiments/', source), '.ts');
const ownPages = await names(new URL('docs/methods/', root), '.md');

/** How `gossamer compress` spells one-shot pruners whose score it has under another name. */
const compress: Readonly<Record<string, string>> = {
  'global-mp': '--method magnitude --allocation global',
  'one-shot-magnitude': '--method magnitude',
};

function useOf(method: RegisteredMethod): string | undefined {
  const { slug, kind } = method;
  const trains = sparsifierClass(method) && `gossamer train --sparsifier ${slug}`;
  if (kind === 'sparsifier' && trains) return trains;
  if (procedures.has(slug)) return `gossamer run ${slug}`;
  const pruning = compress[slug] ?? (slug in scoreMethods ? `--method ${slug}` : undefined);
  return kind === 'one-shot pruner' && pruning ? `gossamer compress model.onnx ${pruning}` : trains;
}

const methods: Documented[] = (await discoverMethods()).map(method => {
  const { module: _, ...info } = method;
  const { slug } = info;
  const [report, use] = [reports.get(slug), useOf(method)];
  return {
    ...info,
    hasExperiment: experiments.has(slug),
    hasPage: ownPages.has(slug),
    ...(report && { report }),
    ...(use && { use }),
  };
});

const [demo, training, runtime, sparsifiers] = await Promise.all([
  readResult<DemoResult>('demo'),
  readResult<TrainingBench>('training'),
  readResult<RuntimeBench>('runtime'),
  readResult<SparsifierBench>('sparsifiers'),
]);
const blocks: Readonly<Record<string, string>> = {
  methods: methodsTable(methods),
  demo: demo ? fenced(formatDemo(demo)) : '',
  runtime: measured(runtime, formatRuntimeBench),
  'runtime-bench': measured(runtime, formatRuntimeBench),
  performance: measured(training, formatBench),
  sparsifiers: measured(sparsifiers, formatSparsifierBench),
  sets: setsTable(),
  models: modelsTable(),
  pretrained: await pretrainedTable(),
};

/** A page with all its blocks filled. */
const filled = async (path: string): Promise<[string, string]> => [
  path,
  Object.entries(blocks).reduce((page, [name, content]) => fill(page, name, content), await read(path)),
];

const pages: [string, string][] = [
  ...(await Promise.all(
    ['README.md', 'docs/runtime.md', 'docs/training.md', 'docs/models.md', 'docs/data.md'].map(filled),
  )),
  ['docs/methods.md', methodsPage(methods)],
  ['docs/results.md', resultsPage(methods, reports.get('leaderboard'), `../${kept}`)],
];
for (const method of methods.filter(m => m.hasPage)) {
  const path = `docs/methods/${method.slug}.md`;
  pages.push([path, fill(await read(path), 'evidence', evidence(method, `../../${kept}`))]);
}
const conformance = await read('packages/runtime/test/conformance.json').then(
  text => JSON.parse(text) as Compatibility,
  () => undefined,
);
if (conformance) pages.push(['docs/operators.md', operatorsPage(conformance)]);

function setsTable(): string {
  const rows = dataSets().map(
    ({ name, title, automatic }) => `| \`${name}\` | ${title} | ${automatic ? 'yes' : 'no'} |`,
  );
  return ['| name | what it is | fetched |', '| --- | --- | --- |', ...rows].join('\n');
}

function modelsTable(): string {
  const rows = Object.entries(models).map(
    ([name, { description, input, classes }]) =>
      `| \`${name}\` | ${description} | ${input.dtype} ${input.shape.join('×')} | ${classes ?? '–'} |`,
  );
  return ['| name | what it is | input | classes |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

async function pretrainedTable(): Promise<string> {
  const found = await readResult<{ network: string; images: string; top1: number; top5: number }[]>('pretrained');
  const rows = (found ?? []).map(
    ({ network, images, top1, top5 }) => `| ${network} | ${images} | ${percent(top1)} | ${percent(top5)} |`,
  );
  return ['| network | images | top-1 | top-5 |', '| --- | --- | ---: | ---: |', ...rows].join('\n');
}

/** Which ONNX operators the runtime has, and how many of ONNX's own cases each passes on every backend. */
function operatorsPage({ command, onnx, date, backends, operators, failures }: Compatibility): string {
  const names = Object.keys(backends);
  const counts = Object.entries(backends).map(
    ([name, { passed, refused, total }]) => `${name} ${passed} of ${total - refused}`,
  );
  const rows = Object.entries(operators)
    .filter(([, { total }]) => total > 0)
    .map(([name, { total, passed }]) => {
      const cells = names.map(backend => (passed[backend] === total ? '✓' : `${passed[backend]}`));
      return `| ${name} | ${total} | ${cells.join(' | ')} |`;
    });
  const reasons = Object.entries(failures).map(([name, why]) => `- \`${name}\`: ${why}`);
  return `# Operators of the runtime

ONNX's own conformance cases, by the operators in their models; a case counts for every operator in it. ✓: all cases pass; a number: so
many do. \`plain\` is the reference implementation in TypeScript, \`simd\` and \`relaxed\` are the two builds of the kernels, \`threads\`
is \`relaxed\` on two threads.

Cases that pass, of those that are not refused by design (4- and 8-bit floats, 4-bit values outside constants, sequences, optionals, training):
${counts.join(', ')}. Cases of onnx ${onnx}, run on ${date}:

\`\`\`
${command}
\`\`\`

| operator | cases | ${names.join(' | ')} |
| --- | ---: | ${names.map(() => '---: |').join(' ')}
${rows.join('\n')}

## Cases that fail

${reasons.length ? reasons.join('\n') : 'None.'}
`;
}

let stale = 0;
for (const [path, text] of pages) {
  const before = await readFile(new URL(path, root), 'utf8').catch(() => '');
  if (before === text) continue;
  if (process.argv.includes('--check')) {
    console.error(`${path} is not what the kept results give; run \`npm run docs\``);
    stale++;
  } else {
    await writeFile(new URL(path, root), text);
    console.log(`wrote ${path}`);
  }
}
process.exitCode = stale > 0 ? 1 : 0;
