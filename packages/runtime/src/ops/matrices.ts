/** Matrices: determinants, diagonals and triangles. */
import './common.ts';
import { arrayOf, type DataType, type Info, sizeOf } from '../values.ts';
import { contents, isBig } from './access.ts';
import { typeAttribute } from './cast.ts';
import { narrow, room } from './half.ts';
import { floats, need, pack, workspace } from './numeric.ts';
import { fail, type Inputs, number, type Operator, type Operators } from './operator.ts';

/** Determinant of the n × n matrix at `at`, by elimination with row pivots; destroys it. */
function determinant(x: Float64Array, at: number, n: number): number {
  let result = 1;
  for (let c = 0; c < n; c++) {
    let pivot = c;
    for (let r = c + 1; r < n; r++) if (Math.abs(x[at + r * n + c]) > Math.abs(x[at + pivot * n + c])) pivot = r;
    const value = x[at + pivot * n + c];
    if (value === 0) return 0;
    if (pivot !== c) {
      result = -result;
      for (let j = c; j < n; j++)
        [x[at + c * n + j], x[at + pivot * n + j]] = [x[at + pivot * n + j], x[at + c * n + j]];
    }
    result *= value;
    for (let r = c + 1; r < n; r++) {
      const factor = x[at + r * n + c] / value;
      for (let j = c; j < n; j++) x[at + r * n + j] -= factor * x[at + c * n + j];
    }
  }
  return result;
}

const eyeLike: Operator = {
  attributes: ['dtype', 'k'],
  infer: (node, inputs) => {
    const { type, dims } = need(node, inputs, 0);
    return [{ type: typeAttribute(node, 'dtype', type), dims }];
  },
  run(node, inputs) {
    const [{ type, dims }] = eyeLike.infer!(node, inputs);
    if (dims.length !== 2 || type === 'string') return fail(node, `input has shape [${dims}], expected a matrix`);
    const data = room(type, sizeOf(dims)) as Float32Array;
    const one = (isBig(type) ? 1n : 1) as number;
    const k = number(node, 'k', 0);
    const [rows, columns] = dims;
    for (let i = 0; i < rows; i++) if (i + k >= 0 && i + k < columns) data[i * columns + i + k] = one;
    return [narrow(type, dims, data)];
  },
};

const trilu: Operator = {
  attributes: ['upper'],
  infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: need(node, inputs, 0).dims }],
  run(node, inputs) {
    const { type, dims, data: source } = need(node, inputs, 0);
    if (dims.length < 2 || type === 'string')
      fail(node, `input is ${type} of shape [${dims}], expected matrices of numbers`);
    const [k] = contents(node, inputs as Inputs<Info>, 1) ?? [0];
    const upper = number(node, 'upper', 1) !== 0;
    const [rows, columns] = dims.slice(-2);
    const data = new (arrayOf(type as Exclude<DataType, 'string'>))(source.length) as Int8Array;
    const from = source as Int8Array;
    for (let at = 0, row = 0; at < data.length; at += columns, row = (row + 1) % rows) {
      const edge = Math.max(0, Math.min(columns, row + k + (upper ? 0 : 1)));
      const [start, end] = upper ? [edge, columns] : [0, edge];
      data.set(from.subarray(at + start, at + end), at + start);
    }
    return [{ type, dims, data }];
  },
};

export const operators: Operators = {
  Det: {
    attributes: [],
    infer(node, inputs) {
      const { type, dims } = need(node, inputs, 0);
      return [{ type, dims: dims.slice(0, -2) }];
    },
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const [rows, n] = x.dims.slice(-2);
      if (x.dims.length < 2 || rows !== n) fail(node, `input [${x.dims}] does not end in square matrices`);
      const copy = Float64Array.from(floats(x));
      const dims = x.dims.slice(0, -2);
      const y = workspace(x.type, sizeOf(dims));
      for (let i = 0; i < y.length; i++) y[i] = determinant(copy, i * n * n, n);
      return [pack(x.type, dims, y)];
    },
  },
  EyeLike: eyeLike,
  Trilu: trilu,
};
