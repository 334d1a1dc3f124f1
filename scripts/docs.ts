// Writes docs/methods.md and the README's tables of methods and measurements from the kept results, and the tables of data sets and
// models from their registries; `--check` only compares.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { formatBench, type TrainingBench } from '../packages/gossamer/bench/format.ts';
import { type DemoResult, formatDemo } from '../packages/gossamer/src/cli/demo.ts';
import { dataSets } from '../packages/gossamer/src/data/registry.ts';
import { methodsPage, methodsTable } from '../packages/gossamer/src/experiments/document.ts';
import type { Report } from '../packages/gossamer/src/experiments/run.ts';
import { discoverMethods } from '../packages/gossamer/src/methods/method.ts';
import { models } from '../packages/gossamer/src/models/registry.ts';
import { percent } from '../packages/gossamer/src/text.ts';
import { formatRuntimeBench, type RuntimeBench } from '../packages/runtime/bench/format.ts';
import type { Compatibility } from '../packages/runtime/test/conformance.ts';

const root = new URL('../', import.meta.url);
const results = new URL('packages/gossamer/results/', root);
const files = (await readdir(results)).filter(f => f.endsWith('.json'));
const list = await Promise.all(files.map(async f => JSON.parse(await readFile(new URL(f, results), 'utf8')) as Report));
const reports = new Map(list.map(r => [r.slug, r]));
const methods = await discoverMethods();

const readme = await readFile(new URL('README.md', root), 'utf8');
const readResult = async <T>(name: string): Promise<T | undefined> =>
  readFile(new URL(`bench/${name}.json`, results), 'utf8').then(
    text => JSON.parse(text) as T,
    () => undefined,
  );
const demo = await readResult<DemoResult>('demo');
const bench = await readResult<TrainingBench>('training');
const runtimeBench = await readResult<RuntimeBench>('runtime');
const fenced = (text: string): string => `\`\`\`\n${text}\n\`\`\``;
const parts: Record<string, string> = {
  methods: methodsTable(methods, reports),
  demo: demo ? fenced(formatDemo(demo)) : '',
  runtime: runtimeBench ? fenced(`$ ${runtimeBench.command}\n${formatRuntimeBench(runtimeBench)}`) : '',
  performance: bench ? `${fenced(`$ ${bench.command}\n${formatBench(bench)}`)}` : '',
};
const filled = Object.entries(parts).reduce(
  (text, [name, part]) =>
    text.replace(
      new RegExp(`(<!-- ${name} -->\\n)[\\s\\S]*?(<!-- /${name} -->)`),
      (_, open, close) => `${open}${part}\n${close}`,
    ),
  readme,
);
const dataPage = await readFile(new URL('docs/data.md', root), 'utf8');
const setRows = dataSets().map(
  ({ name, title, automatic }) => `| \`${name}\` | ${title} | ${automatic ? 'yes' : 'no'} |`,
);
const setMarks = /(<!-- sets -->\n)[\s\S]*?(<!-- \/sets -->)/;
const modelsPage = await readFile(new URL('docs/models.md', root), 'utf8');
const modelRows = Object.entries(models).map(
  ([name, { description, input, classes }]) =>
    `| \`${name}\` | ${description} | ${input.dtype} ${input.shape.join('×')} | ${classes ?? '–'} |`,
);
const modelMarks = /(<!-- models -->\n)[\s\S]*?(<!-- \/models -->)/;
const pretrainedMarks = /(<!-- pretrained -->\n)[\s\S]*?(<!-- \/pretrained -->)/;
const pretrained = await readResult<{ network: string; images: string; top1: number; top5: number }[]>('pretrained');
const pretrainedRows = (pretrained ?? []).map(
  ({ network, images, top1, top5 }) => `| ${network} | ${images} | ${percent(top1)} | ${percent(top5)} |`,
);
const runtimePage = await readFile(new URL('docs/runtime.md', root), 'utf8');
const runtimeMarks = /(<!-- runtime-bench -->\n)[\s\S]*?(<!-- \/runtime-bench -->)/;
const runtimeText = runtimeBench ? `${fenced(`$ ${runtimeBench.command}\n${formatRuntimeBench(runtimeBench)}`)}\n` : '';
const pages: [string, string][] = [
  ['docs/runtime.md', runtimePage.replace(runtimeMarks, (_, open, close) => `${open}${runtimeText}${close}`)],
  ['docs/methods.md', methodsPage(methods, reports, '../packages/gossamer/results')],
  ['README.md', filled],
  [
    'docs/models.md',
    modelsPage
      .replace(modelMarks, (_, open, close) =>
        [`${open}| name | what it is | input | classes |`, '| --- | --- | --- | --- |', ...modelRows, close].join('\n'),
      )
      .replace(pretrainedMarks, (_, open, close) =>
        [`${open}| network | images | top-1 | top-5 |`, '| --- | --- | ---: | ---: |', ...pretrainedRows, close].join(
          '\n',
        ),
      ),
  ],
  [
    'docs/data.md',
    dataPage.replace(setMarks, (_, open, close) =>
      [`${open}| name | what it is | fetched |`, '| --- | --- | --- |', ...setRows, close].join('\n'),
    ),
  ],
];
const conformance = await readFile(new URL('packages/runtime/test/conformance.json', root), 'utf8').then(
  text => JSON.parse(text) as Compatibility,
  () => undefined,
);
if (conformance) pages.push(['docs/operators.md', operatorsPage(conformance)]);

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
