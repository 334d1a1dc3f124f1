/** Shorthand for tables of operator cases: values in, elements out. */
import { expect } from 'vitest';
import type { Attribute, Node } from '../src/load/graph.ts';
import { float32ToBfloat16, float32ToFloat16, widen } from '../src/ops/half.ts';
import { loadOperators } from '../src/ops/index.ts';
import { type Inputs, operatorKey } from '../src/ops/operator.ts';
import { arrayOf, type DataType, type Info, type Value } from '../src/values.ts';

const operators = await loadOperators();

/** A value; numbers are converted to what the type is carried in. Without `dims` a vector. */
export function value(type: DataType, items: readonly (number | bigint | string)[], dims = [items.length]): Value {
  if (type === 'string') return { type, dims, data: items as string[] };
  if (type === 'float16') return { type, dims, data: float32ToFloat16(items as number[]) };
  if (type === 'bfloat16') return { type, dims, data: float32ToBfloat16(items as number[]) };
  const data = new (arrayOf(type))(items.length) as unknown as (number | bigint)[];
  items.forEach((item, i) => {
    data[i] = type.endsWith('int64') ? BigInt(item) : Number(item);
  });
  return { type, dims, data: data as unknown as Value['data'] };
}

export const f32 = (items: readonly number[], dims?: number[]): Value => value('float32', items, dims);
export const i64 = (items: readonly (number | bigint)[], dims?: number[]): Value => value('int64', items, dims);
export const scalar = (type: DataType, item: number | bigint | string): Value => value(type, [item], []);

/** 0, 1, 2, … as float32 in a shape. */
export const iota = (...dims: number[]): Value => {
  const size = dims.reduce((a, b) => a * b, 1);
  return f32(
    Array.from({ length: size }, (_, i) => i),
    dims,
  );
};

export interface Settings {
  readonly attributes?: Record<string, Attribute>;
  /** Version of the operator set; 21 when not given. */
  readonly version?: number;
  /** Number of outputs; 1 when not given. */
  readonly outputs?: number;
}

export const nodeOf = (op: string, inputs: Inputs, settings: Settings = {}): Node => ({
  name: 'n',
  op,
  domain: '',
  version: settings.version ?? 21,
  inputs: inputs.map((input, i) => (input ? `x${i}` : '')),
  outputs: Array.from({ length: settings.outputs ?? 1 }, (_, i) => `y${i}`),
  attributes: settings.attributes ?? {},
});

/** Runs an operator, and checks that its shape rule promises what it gives. */
export function run(op: string, inputs: Inputs, settings: Settings = {}): Value[] {
  const node = nodeOf(op, inputs, settings);
  const operator = operators[operatorKey(node)];
  for (const name of Object.keys(node.attributes)) expect(operator.attributes).toContain(name);
  const context = { evaluate: () => expect.fail('no subgraph here') };
  const outputs = operator.run(node, inputs, context);
  const known = inputs.map((input): Info | undefined => input && { type: input.type, dims: input.dims, value: input });
  operator.infer?.(node, known).forEach(({ type, dims, value: constant }, i) => {
    if (!outputs[i]) return;
    expect({ type, dims: [...dims] }).toEqual({ type: outputs[i].type, dims: [...outputs[i].dims] });
    if (constant) expect(constant).toEqual(outputs[i]);
  });
  for (const { type, dims, data } of outputs) {
    expect(data.length).toBe(dims.reduce((a, b) => a * b, 1));
    if (type !== 'string') expect(data).toBeInstanceOf(arrayOf(type));
  }
  return outputs;
}

/** Elements of the first output, 16-bit floats widened, BigInts as they are. */
export const elements = (op: string, inputs: Inputs, settings?: Settings): unknown[] =>
  Array.from(widen(run(op, inputs, settings)[0]) as ArrayLike<unknown>);

/** Shape and elements of the first output. */
export function result(op: string, inputs: Inputs, settings?: Settings): [number[], unknown[]] {
  const [output] = run(op, inputs, settings);
  return [[...output.dims], Array.from(widen(output) as ArrayLike<unknown>)];
}
