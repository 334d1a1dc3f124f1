/** Operators on the bits of elements. */
import './common.ts';
import { arrayOf, bytesOf, type NumericArray } from '../values.ts';
import { isBig, isInteger } from './access.ts';
import { typeAttribute } from './cast.ts';
import { type Binary, big, binary, unary } from './elements.ts';
import { and, or } from './elementwise.ts';
import { need } from './numeric.ts';
import { fail, type Operator, type Operators, text } from './operator.ts';

const bitwise = (f: Binary): Operator => binary(type => (isInteger(type) ? f : undefined));

/** Shifts of unsigned integers; shifting by the width or more gives 0. */
const bitShift = binary(
  (type, node) => {
    if (!type.startsWith('uint')) return undefined;
    const left = text(node, 'direction') === 'LEFT';
    if (isBig(type)) return big(left ? (x, y) => (y > 63n ? 0n : x << y) : (x, y) => x >> y);
    return left ? (x, y) => (y > 31 ? 0 : x << y) : (x, y) => (y > 31 ? 0 : x >>> y);
  },
  ['direction'],
);

const bitCast: Operator = {
  attributes: ['to'],
  infer: (node, inputs) => [{ type: typeAttribute(node, 'to', 'string'), dims: need(node, inputs, 0).dims }],
  run(node, inputs) {
    const x = need(node, inputs, 0);
    const type = typeAttribute(node, 'to', 'string');
    if (type === 'string' || x.type === 'string' || bytesOf(type) !== bytesOf(x.type)) {
      fail(node, `cannot read the bits of ${x.type} as ${type}`);
    }
    const { buffer, byteOffset } = x.data as NumericArray;
    const Kind = arrayOf(type as 'int8') as unknown as new (
      buffer: ArrayBufferLike,
      at: number,
      length: number,
    ) => NumericArray;
    return [{ type, dims: x.dims, data: new Kind(buffer, byteOffset, x.data.length) }];
  },
};

export const operators: Operators = {
  BitwiseAnd: bitwise(and),
  BitwiseOr: bitwise(or),
  BitwiseXor: bitwise((x, y) => x ^ y),
  BitwiseNot: unary(type => (isInteger(type) ? x => ~x : undefined)),
  BitShift: bitShift,
  BitCast: bitCast,
};
