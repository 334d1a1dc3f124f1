/**
 * Runs ONNX's own conformance cases and counts, for each operator, those that pass.
 *
 *   node packages/runtime/test/conformance.ts <folder> … [--backend name] [--only text] [--json] [--keep --onnx version]
 *
 * A folder is searched for cases as in `onnx/backend/test/data` of the onnx package: folders with `model.onnx` and
 * `test_data_set_*` of `input_<i>.pb` and `output_<i>.pb` (TensorProto), and `light_*.onnx` with its outputs. Numbers must
 * agree as ONNX's runner asks, to |a − b| ≤ 1e−7 + 1e−3 |b|; integers, strings, types and shapes exactly. Models of what the
 * runtime does not have by design (sequences, 4- and 8-bit floats, training) count as refused when that is the error. Exit
 * code 1 if any case fails.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { UnsupportedError } from '../src/errors.ts';
import type { Graph, ValueInfo } from '../src/load/graph.ts';
import { parseModel } from '../src/load/model.ts';
import { parseTensor } from '../src/load/tensor.ts';
import { widen } from '../src/ops/half.ts';
import { operatorsOf } from '../src/ops/index.ts';
import { InferenceSession, type SessionOptions } from '../src/session.ts';
import { toValue } from '../src/tensor.ts';
import { sizeOf, type Value } from '../src/values.ts';

/** Ways to run a session, by name. */
export const backends: Readonly<Record<string, SessionOptions>> = {
  plain: { kernels: 'plain', threads: 1 },
  simd: { build: 'simd', threads: 1 },
  relaxed: { build: 'relaxed', threads: 1 },
  threads: { threads: 2 },
};

export interface CaseResult {
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'refused';
  /** Why it failed or was refused. */
  readonly message?: string;
  /** Registry keys of the operators in its model; empty when the model could not be read. */
  readonly operators: readonly string[];
}

/** Cases that draw random numbers: only types and shapes can be compared. */
const DRAWS = /^test_(bernoulli|training_dropout(?!.*zero_ratio))/;

/** Undefined when the values agree, else what differs. */
export function difference(actual: Value, expected: Value, shapeOnly = false): string | undefined {
  if (actual.type !== expected.type) return `type ${actual.type}, expected ${expected.type}`;
  if (`${actual.dims}` !== `${expected.dims}`) return `shape [${actual.dims}], expected [${expected.dims}]`;
  if (actual.data.length !== expected.data.length) return `${actual.data.length} elements in shape [${actual.dims}]`;
  if (shapeOnly) return undefined;
  const [a, b] = [widen(actual) as ArrayLike<unknown>, widen(expected) as ArrayLike<unknown>];
  const close = actual.type.includes('float');
  for (let i = 0; i < b.length; i++) {
    if (Object.is(a[i], b[i]) || a[i] === b[i]) continue;
    const [x, y] = [Number(a[i]), Number(b[i])];
    if (close && Number.isFinite(y) && Math.abs(x - y) <= 1e-7 + 1e-3 * Math.abs(y)) continue;
    return `element ${i} of [${actual.dims}] is ${a[i]}, expected ${b[i]}`;
  }
  return undefined;
}

/** Values in numbered files. Some say uint16 where the model says bfloat16: the bits are the same. */
function tensors(path: string, declared: readonly ValueInfo[]): Value[] {
  const out: Value[] = [];
  for (let i = 0; existsSync(`${path}_${i}.pb`); i++) {
    const { value } = parseTensor(readFileSync(`${path}_${i}.pb`));
    out.push(value.type === 'uint16' && declared[i]?.type === 'bfloat16' ? { ...value, type: 'bfloat16' } : value);
  }
  return out;
}

/** What ONNX feeds its "light" models, which come without inputs: 0 … 1 in equal steps. */
function ramp({ dims = [] }: ValueInfo): Value {
  const shape = dims.map(dim => (typeof dim === 'number' ? dim : 1));
  const size = sizeOf(shape);
  return { type: 'float32', dims: shape, data: Float32Array.from({ length: size }, (_, i) => i / size) };
}

/** The data sets of a case: pairs of inputs and expected outputs. */
function* dataSets(path: string, { inputs, outputs }: Graph): Generator<[Value[], Value[]]> {
  if (path.endsWith('.onnx')) {
    yield [inputs.map(ramp), tensors(`${path.slice(0, -'.onnx'.length)}_output`, outputs)];
    return;
  }
  for (const set of readdirSync(path).filter(entry => entry.startsWith('test_data_set_'))) {
    yield [tensors(join(path, set, 'input'), inputs), tensors(join(path, set, 'output'), outputs)];
  }
}

/** Runs one case, a folder or a light model's file, on a backend. */
export async function runCase(path: string, backend: SessionOptions): Promise<CaseResult> {
  const name = basename(path, '.onnx');
  let used: string[] = [];
  let session: InferenceSession | undefined;
  try {
    const bytes = readFileSync(path.endsWith('.onnx') ? path : join(path, 'model.onnx'));
    const { graph } = await parseModel(bytes);
    used = [...operatorsOf(graph)];
    session = await InferenceSession.create(bytes, backend);
    for (const [given, outputs] of dataSets(path, graph)) {
      const results = await session.run(Object.fromEntries(graph.inputs.map((input, i) => [input.name, given[i]])));
      for (const [i, expected] of outputs.entries()) {
        const output = graph.outputs[i].name;
        const wrong = difference(toValue(results[output], output), expected, DRAWS.test(name));
        if (wrong) return { name, outcome: 'failed', message: `${output}: ${wrong}`, operators: used };
      }
    }
    return { name, outcome: 'passed', operators: used };
  } catch (error) {
    const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return { name, outcome: error instanceof UnsupportedError ? 'refused' : 'failed', message, operators: used };
  } finally {
    await session?.release();
  }
}

/** Cases at or below a folder, by name. */
export function findCases(folder: string): string[] {
  if (existsSync(join(folder, 'model.onnx'))) return [folder];
  return readdirSync(folder, { withFileTypes: true })
    .flatMap(entry => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? findCases(path) : /^light_.*\.onnx$/.test(entry.name) ? path : [];
    })
    .sort();
}

export interface Summary {
  readonly passed: number;
  readonly failed: number;
  readonly refused: number;
  readonly total: number;
}

const summarise = (results: readonly CaseResult[]): Summary => {
  const count = (outcome: string) => results.filter(result => result.outcome === outcome).length;
  return { passed: count('passed'), failed: count('failed'), refused: count('refused'), total: results.length };
};

/** For each operator the cases in whose models it occurs; a case counts for every operator that it uses. */
export const byOperator = (results: readonly CaseResult[]): Record<string, Summary> =>
  Object.fromEntries(
    [...new Set(results.flatMap(result => result.operators))]
      .sort()
      .map(key => [key, summarise(results.filter(result => result.operators.includes(key)))]),
  );

/** What is kept: for each operator the cases that pass on each backend, of those that are not refused. */
export interface Compatibility {
  readonly command: string;
  /** Version of the onnx package whose cases were run. */
  readonly onnx: string;
  readonly date: string;
  /** Of all cases. */
  readonly backends: Readonly<Record<string, Summary>>;
  readonly operators: Readonly<
    Record<string, { readonly total: number; readonly passed: Readonly<Record<string, number>> }>
  >;
  /** Cases that fail on some backend, with the reason. */
  readonly failures: Readonly<Record<string, string>>;
}

function compatibility(results: Readonly<Record<string, CaseResult[]>>, onnx: string): Compatibility {
  const tables = Object.fromEntries(Object.entries(results).map(([backend, list]) => [backend, byOperator(list)]));
  const [first] = Object.values(tables);
  const failures = Object.values(results)
    .flat()
    .filter(result => result.outcome === 'failed')
    .map(({ name, message }) => [name, message!]);
  return {
    command: `node packages/runtime/test/conformance.ts <folders> --keep --onnx ${onnx}`,
    onnx,
    date: new Date().toISOString().slice(0, 10),
    backends: Object.fromEntries(Object.entries(results).map(([backend, list]) => [backend, summarise(list)])),
    operators: Object.fromEntries(
      Object.entries(first).map(([key, { total, refused }]) => {
        const passed = Object.entries(tables).map(([backend, table]) => [backend, table[key].passed]);
        return [key, { total: total - refused, passed: Object.fromEntries(passed) }];
      }),
    ),
    failures: Object.fromEntries(failures),
  };
}

/** The kept table, from which docs/operators.md is made. */
export const KEPT = new URL('conformance.json', import.meta.url);

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      backend: { type: 'string' },
      only: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      onnx: { type: 'string', default: 'unknown' },
    },
  });
  const chosen = values.backend ? [values.backend] : Object.keys(backends);
  if (positionals.length === 0 || !chosen.every(name => name in backends)) {
    console.error(
      `usage: conformance.ts <folder> … [--backend ${Object.keys(backends).join(' | ')}] [--only text] [--json] [--keep --onnx version]`,
    );
    process.exit(2);
  }
  const folders = positionals.flatMap(findCases).filter(path => basename(path).includes(values.only));
  const results: Record<string, CaseResult[]> = {};
  for (const name of chosen) {
    results[name] = [];
    for (const folder of folders) results[name].push(await runCase(folder, backends[name]));
    const summary = summarise(results[name]);
    if (values.json) continue;
    for (const { outcome, ...rest } of results[name])
      if (outcome !== 'passed') console.log(`${name}: ${outcome} ${rest.name}: ${rest.message}`);
    console.log(
      `${name}: ${summary.passed} of ${summary.total} passed, ${summary.failed} failed, ${summary.refused} refused`,
    );
  }
  const table = compatibility(results, values.onnx);
  if (values.json) console.log(JSON.stringify(table, null, 1));
  if (values.keep) writeFileSync(KEPT, `${JSON.stringify(table, null, 1)}\n`);
  process.exitCode = Object.values(results).some(list => summarise(list).failed > 0) ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
