/**
 * Runs ONNX's own conformance cases and counts, for each operator, those that pass.
 *
 *   node packages/runtime/test/conformance.ts <folder> … [--backend plain] [--only text] [--json]
 *
 * A folder is searched for cases as in `onnx/backend/test/data` of the onnx package: folders with `model.onnx` and
 * `test_data_set_*` of `input_<i>.pb` and `output_<i>.pb` (TensorProto), and `light_*.onnx` with its outputs. Numbers must
 * agree as ONNX's runner asks, to |a − b| ≤ 1e−7 + 1e−3 |b|; integers, strings, types and shapes exactly. Models of what the
 * runtime does not have by design (sequences, 4- and 8-bit floats, training) count as refused when that is the error. Exit
 * code 1 if any case fails.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { UnsupportedError } from '../src/errors.ts';
import type { Graph, Model, ValueInfo } from '../src/load/graph.ts';
import { parseModel } from '../src/load/model.ts';
import { parseTensor } from '../src/load/tensor.ts';
import { widen } from '../src/ops/half.ts';
import { operators } from '../src/ops/index.ts';
import { checkOperators, interpret, subgraphsOf } from '../src/ops/interpret.ts';
import { operatorKey } from '../src/ops/operator.ts';
import { sizeOf, type Value } from '../src/values.ts';

/** Prepares a model; what comes back computes its outputs. */
export type Backend = (model: Model) => (feeds: ReadonlyMap<string, Value>) => Promise<ReadonlyMap<string, Value>>;

export const backends: Readonly<Record<string, Backend>> = {
  plain({ graph }) {
    checkOperators(graph, operators);
    return async feeds => interpret(graph, feeds, operators);
  },
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

const operatorsOf = (graph: Graph): string[] =>
  graph.nodes.flatMap(node => [operatorKey(node), ...subgraphsOf(node).flatMap(operatorsOf)]);

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
export async function runCase(path: string, backend: Backend): Promise<CaseResult> {
  const name = basename(path, '.onnx');
  let used: string[] = [];
  try {
    const model = parseModel(readFileSync(path.endsWith('.onnx') ? path : join(path, 'model.onnx')));
    const { graph } = model;
    used = [...new Set(operatorsOf(graph))];
    const run = backend(model);
    for (const [given, outputs] of dataSets(path, graph)) {
      const results = await run(new Map(graph.inputs.map((input, i) => [input.name, given[i]])));
      for (const [i, expected] of outputs.entries()) {
        const output = graph.outputs[i].name;
        const wrong = difference(results.get(output)!, expected, DRAWS.test(name));
        if (wrong) return { name, outcome: 'failed', message: `${output}: ${wrong}`, operators: used };
      }
    }
    return { name, outcome: 'passed', operators: used };
  } catch (error) {
    const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return { name, outcome: error instanceof UnsupportedError ? 'refused' : 'failed', message, operators: used };
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

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      backend: { type: 'string', default: 'plain' },
      only: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
    },
  });
  const backend = backends[values.backend];
  if (positionals.length === 0 || !backend) {
    console.error(
      `usage: conformance.ts <folder> … [--backend ${Object.keys(backends).join(' | ')}] [--only text] [--json]`,
    );
    process.exit(2);
  }
  const results: CaseResult[] = [];
  for (const folder of positionals.flatMap(findCases).filter(path => basename(path).includes(values.only))) {
    results.push(await runCase(folder, backend));
  }
  const summary = summarise(results);
  const rest = results.filter(result => result.outcome !== 'passed');
  if (values.json) {
    console.log(JSON.stringify({ backend: values.backend, ...summary, operators: byOperator(results), rest }, null, 2));
  } else {
    for (const { name, outcome, message } of rest) console.log(`${outcome} ${name}: ${message}`);
    console.log(`${summary.passed} of ${summary.total} passed, ${summary.failed} failed, ${summary.refused} refused`);
  }
  process.exitCode = summary.failed > 0 ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
