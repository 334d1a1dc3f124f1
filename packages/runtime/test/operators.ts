/** Values of noise, nodes and checked runs, for tests that compare plain operators with their definitions. */
import type { Attribute, Graph, Node } from '../src/load/graph.ts';
import { loadOperators } from '../src/ops/index.ts';
import { type Context, operatorKey } from '../src/ops/operator.ts';
import { arrayOf, type DataType, sizeOf, type Value } from '../src/values.ts';

const operators = await loadOperators();

/** A numeric value; `numbers` repeats when it is shorter than the shape. 16-bit floats are given by their bits. */
export function value(type: Exclude<DataType, 'string'>, dims: readonly number[], numbers: ArrayLike<number>): Value {
  const data = new (arrayOf(type))(sizeOf(dims));
  for (let i = 0; i < data.length; i++) {
    const number = numbers[i % numbers.length];
    data[i] = data instanceof BigInt64Array || data instanceof BigUint64Array ? BigInt(number) : number;
  }
  return { type, dims, data };
}

export const f32 = (dims: readonly number[], numbers: ArrayLike<number>): Value => value('float32', dims, numbers);
export const i64 = (dims: readonly number[], numbers: ArrayLike<number>): Value => value('int64', dims, numbers);

/** A float32 value of uniform numbers in [−1, 1), the same for the same seed. */
export function random(dims: readonly number[], seed: number): Value {
  let state = seed >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  return f32(dims, Array.from({ length: sizeOf(dims) }, next));
}

export interface Options {
  readonly attributes?: Record<string, Attribute>;
  /** Version of the operator set; 21 unless given. */
  readonly version?: number;
  /** How many outputs the node asks for; 1 unless given. */
  readonly outputs?: number;
  readonly domain?: string;
  /** Runs a subgraph. */
  readonly evaluate?: (graph: Graph, inputs: readonly Value[]) => Value[];
}

export const nodeOf = (op: string, inputs: readonly (Value | undefined)[], options: Options = {}): Node => ({
  name: `${op}_0`,
  op,
  domain: options.domain ?? '',
  version: options.version ?? 21,
  inputs: inputs.map((input, i) => (input ? `x${i}` : '')),
  outputs: Array.from({ length: options.outputs ?? 1 }, (_, i) => `y${i}`),
  attributes: options.attributes ?? {},
});

/**
 * Runs an operator, and checks what every run must satisfy: its attributes are listed, its shape rule agrees with its
 * outputs, the data fill the shapes, and the inputs are left as they were.
 */
export function run(op: string, inputs: readonly (Value | undefined)[], options: Options = {}): Value[] {
  const node = nodeOf(op, inputs, options);
  const operator = operators[operatorKey(node)];
  for (const name of Object.keys(node.attributes))
    if (!operator.attributes.includes(name)) throw new Error(`${op} does not list its attribute ${name}`);
  const before = inputs.map(input => input?.data.slice());
  const context: Context = { evaluate: options.evaluate ?? (() => []) };
  const outputs = operator.run(node, inputs, context);
  const describe = (values: readonly { type: DataType; dims: readonly number[] }[]) =>
    values.map(({ type, dims }) => `${type}[${dims}]`).join(' ');
  if (operator.infer) {
    const inferred = operator.infer(
      node,
      inputs.map(input => input && { ...input, value: input }),
    );
    if (describe(inferred) !== describe(outputs))
      throw new Error(`${op} infers ${describe(inferred)}, gives ${describe(outputs)}`);
  }
  for (const { dims, data } of outputs)
    if (sizeOf(dims) !== data.length) throw new Error(`${op} gives ${data.length} elements for [${dims}]`);
  inputs.forEach((input, i) => {
    if (input && String(input.data) !== String(before[i])) throw new Error(`${op} changed its input ${i}`);
  });
  return outputs;
}

/** Numbers of the only (or first) output. */
export const numbers = ([value]: readonly Value[]): number[] => Array.from(value.data as ArrayLike<number>, Number);

/** The greatest absolute difference of two lists of numbers; Infinity when their lengths differ or one is NaN. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Object.is(a[i], b[i]) ? 0 : Math.abs(a[i] - b[i]);
    if (!(difference <= most)) most = Number.isNaN(difference) ? Infinity : difference;
  }
  return most;
}
