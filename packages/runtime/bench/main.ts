// This runtime against ONNX Runtime, in turns in one process.
//   npm run bench -w packages/runtime [-- --json --out file.json --rounds 20 --only mobilenet --quick]
// Networks with published weights need GOSSAMER_MODELS=<folder>. `--only load` measures loading alone; `--quick` is for
// seeing that everything works.
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { version } from '@gossamer/runtime';
import { Random, writeFile } from '@gossamer/tensor';
import * as node from 'onnxruntime-node';
import { type Case, cases } from './cases.ts';
import { cores, difference, type Engine, feedsOf, type Loaded, onnxNode, onnxWeb, own } from './engines.ts';
import { type BenchRow, formatRuntimeBench, type Name, type RuntimeBench } from './format.ts';
import { layerTimes } from './layers.ts';
import { loadTimes } from './load.ts';
import { measure } from './measure.ts';
import { imageNetwork, pruned } from './networks.ts';

/** Arguments that decide what is measured. */
const chosen = process.argv.slice(2).filter((arg, i, all) => arg !== '--out' && all[i - 1] !== '--out');

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    out: { type: 'string' },
    rounds: { type: 'string', default: '20' },
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
  },
});
const { quick, only } = values;
const rounds = quick ? 3 : Number(values.rounds);
const effort = { rounds, limit: quick ? 1000 : 2500 };
/** Native code needs less of it. */
const warmUp = (name: Name): number => (quick ? 50 : name.startsWith('node') ? 150 : 500);
const note = (line: string): void => void process.stderr.write(`${line}\n`);

const engines: Record<Exclude<Name, 'nodeFloat'>, Engine> = {
  own: own({ threads: 1 }),
  dense: own({ threads: 1, kernels: 'dense' }),
  // By default: all threads, but one for the smallest models.
  all: own({}),
  node: onnxNode(1),
  nodeAll: onnxNode(cores),
  web: await onnxWeb(),
};

async function race({ group, model, variant, made, base, dense }: Case): Promise<BenchRow> {
  const random = new Random(0);
  const { inputs, initializers } = base.onnx.graph;
  const fed = inputs.filter(({ name }) => !initializers.has(name));
  const feeds = feedsOf(fed, size => random.normal(size));
  const loaded = new Map<Name, Loaded>();
  const refused = (name: Name) => (error: Error) => note(`  ${name} refuses it: ${error.message.split('\n')[0]}`);
  try {
    const entries: [Name, Engine, Uint8Array][] = Object.entries(engines).map(([name, engine]) => [
      name as Name,
      engine,
      made.bytes,
    ]);
    if (dense) entries.push(['nodeFloat', engines.node, dense]);
    for (const [name, engine, bytes] of entries) {
      const entry = await engine(bytes, feeds).catch(refused(name));
      if (!entry) continue;
      // The first run plans and may refuse, too.
      const works = await entry.run().then(() => true, refused(name));
      if (works) loaded.set(name, entry);
      else await entry.release();
    }
    const contenders = [...loaded].map(([name, entry]) => ({ name, warmUp: warmUp(name), run: () => entry.run() }));
    const times = await measure(contenders, effort);
    const [ours, theirs] = [loaded.get('own'), loaded.get('node')];
    const apart = ours && theirs && difference(await ours.run(), await theirs.run());
    const report = ours?.report?.();
    const layers =
      group === 'networks'
        ? await layerTimes(made.bytes, new Set(base.layers.map(l => l.name)), feeds, quick ? 5 : 12).catch(
            refused('own'),
          )
        : undefined;
    return {
      ...{ group, model, variant, sparsity: made.sparsity },
      ms: Object.fromEntries(times),
      ...(layers && { layers }),
      ...(report && {
        memory: { total: report.memoryBytes, weights: report.weightBytes, activations: report.activationBytes },
      }),
      ...(apart !== undefined && { difference: apart }),
    };
  } finally {
    for (const entry of loaded.values()) await entry.release();
  }
}

const begin = performance.now();
const rows: BenchRow[] = [];
for await (const entry of cases({ quick, only, note })) {
  const row = await race(entry);
  rows.push(row);
  const seconds = ((performance.now() - begin) / 1000).toFixed(0);
  const gain = row.ms.own && row.ms.node ? `, ${(row.ms.node / row.ms.own).toFixed(2)}× onnxruntime-node` : '';
  note(`${seconds.padStart(4)} s  ${row.model}, ${row.variant}: ${row.ms.own?.toFixed(2) ?? '–'} ms${gain}`);
}
const wantsLoad = !only || 'load mobilenet-v2'.includes(only);
const load = wantsLoad
  ? await loadTimes(pruned(await imageNetwork('mobilenet-v2'), 0).bytes, quick ? 2 : 7)
  : undefined;

const packageVersion = (name: string): string =>
  JSON.parse(readFileSync(new URL(`../package.json`, import.meta.resolve(name)), 'utf8')).version;
const result: RuntimeBench = {
  command: ['npm run bench -w packages/runtime', ...(chosen.length ? ['--', ...chosen] : [])].join(' '),
  machine: `${cpus().length} × ${cpus()[0].model.trim()}`,
  date: new Date().toISOString().slice(0, 10),
  threads: cores,
  versions: {
    Node: process.versions.node,
    gossamer: version,
    'onnxruntime-node': node.env.versions.node ?? 'unknown',
    'onnxruntime-web': packageVersion('onnxruntime-web'),
  },
  rows,
  ...(load && { load }),
};
if (values.out) await writeFile(values.out, [new TextEncoder().encode(`${JSON.stringify(result, null, 1)}\n`)]);
console.log(values.json ? JSON.stringify(result, null, 1) : formatRuntimeBench(result));
