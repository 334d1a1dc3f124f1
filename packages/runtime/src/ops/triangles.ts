/** Diagonals and triangles of matrices. */
import './common.ts';
import { arrayOf, type DataType, type Info, sizeOf } from '../values.ts';
import { contents, isBig } from './access.ts';
import { typeAttribute } from './cast.ts';
import { narrow, room } from './half.ts';
import { need } from './numeric.ts';
import { fail, type Inputs, number, type Operator, type Operators } from './operator.ts';

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

export const triangleOperators: Operators = {
  EyeLike: eyeLike,
  Trilu: trilu,
};
