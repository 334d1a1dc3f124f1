/** Operators that make values from attributes or a few numbers: constants and ranges. */
import { isSparse, type Node, type SparseValue } from '../load/graph.ts';
import { type DataType, type Info, sizeOf, type Value, zeros } from '../values.ts';
import { contents, isBig } from './access.ts';
import { narrow, room, widen } from './half.ts';
import { need } from './numeric.ts';
import { constant, fail, type Inputs, type Operator, type Operators } from './operator.ts';

/** A sparse constant written out. */
export function dense({ type, dims, indices, values }: SparseValue): Value {
  const data = zeros(type, sizeOf(dims)) as unknown[];
  for (let i = 0; i < indices.length; i++) data[indices[i]] = values.data[i];
  return { type, dims, data: data as unknown as Value['data'] };
}

/** Forms of Constant whose attribute is plain numbers or strings. */
const LITERALS: Readonly<Record<string, DataType>> = {
  value_float: 'float32',
  value_floats: 'float32',
  value_int: 'int64',
  value_ints: 'int64',
  value_string: 'string',
  value_strings: 'string',
};

function constantOf(node: Node): Value {
  const [name, ...more] = Object.keys(node.attributes);
  if (name === undefined || more.length) fail(node, 'expected exactly one attribute with the value');
  const attribute = node.attributes[name];
  const type = LITERALS[name];
  if (!type) {
    if (typeof attribute !== 'object' || !('dims' in attribute)) return fail(node, `attribute ${name} is not a tensor`);
    return isSparse(attribute) ? dense(attribute) : attribute;
  }
  const list = (Array.isArray(attribute) ? attribute : [attribute]) as (number | string)[];
  const dims = Array.isArray(attribute) ? [list.length] : [];
  if (type === 'string') return { type, dims, data: list as string[] };
  return {
    type,
    dims,
    data: type === 'int64' ? BigInt64Array.from(list, BigInt) : Float32Array.from(list as number[]),
  };
}

const constants: Operator = {
  attributes: ['value', 'sparse_value', ...Object.keys(LITERALS)],
  infer(node) {
    const value = constantOf(node);
    return [{ type: value.type, dims: value.dims, value }];
  },
  run: node => [constantOf(node)],
};

const ZERO: Value = { type: 'float32', dims: [1], data: new Float32Array(1) };

const constantOfShape: Operator = {
  attributes: ['value'],
  shapeInputs: [0],
  infer(node, inputs) {
    const dims = contents(node, inputs, 0) ?? fail(node, 'input 0 (shape) is missing');
    if (dims.some(dim => dim < 0)) fail(node, `shape [${dims}] is negative`);
    return [{ type: constant(node, 'value', ZERO).type, dims }];
  },
  run(node, inputs) {
    const [{ type, dims }] = constantOfShape.infer!(node, inputs);
    const data = zeros(type, sizeOf(dims));
    (data as unknown[]).fill(constant(node, 'value', ZERO).data[0]);
    return [{ type, dims, data }];
  },
};

const range: Operator = {
  attributes: [],
  shapeInputs: [0, 1, 2],
  infer(node, inputs: Inputs<Info>) {
    const [start, limit, delta] = [0, 1, 2].map(i => {
      const info = need(node, inputs, i);
      const value = 'data' in info ? (info as Value) : info.value;
      return value === undefined ? contents(node, inputs, i)![0] : Number(widen(value)[0]);
    });
    if (delta === 0) fail(node, 'delta is 0');
    return [{ type: need(node, inputs, 0).type, dims: [Math.max(0, Math.ceil((limit - start) / delta))] }];
  },
  run(node, inputs) {
    const [{ type, dims }] = range.infer!(node, inputs);
    const [start, , delta] = (inputs as Value[]).map(value => widen(value)[0] as number);
    const data = room(type as 'float32', dims[0]) as Float32Array;
    const index = (isBig(type) ? BigInt : Number) as NumberConstructor;
    for (let i = 0; i < data.length; i++) data[i] = start + index(i) * delta;
    return [narrow(type, dims, data)];
  },
};

export const createOperators: Operators = {
  Constant: constants,
  ConstantOfShape: constantOfShape,
  Range: range,
};
