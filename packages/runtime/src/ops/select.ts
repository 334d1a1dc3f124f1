/** Selections of elements: one-hot vectors, non-zeros, chosen and distinct entries. */
import './common.ts';
import { sizeOf, type Value, zeros } from '../values.ts';
import { contents } from './access.ts';
import { take } from './broadcast.ts';
import { axisAttribute, flat } from './gather.ts';
import { widen } from './half.ts';
import { need, split, stridesOf } from './numeric.ts';
import { fail, number, type Operator, type Operators } from './operator.ts';

const oneHot: Operator = {
  attributes: ['axis'],
  shapeInputs: [1],
  infer(node, inputs) {
    const { dims } = need(node, inputs, 0);
    const [depth] = contents(node, inputs, 1) ?? fail(node, 'input 1 (depth) is missing');
    const axis = axisAttribute(node, dims.length + 1, -1);
    return [
      { type: need(node, inputs, 2).type, dims: [...dims.slice(0, axis), Math.trunc(depth), ...dims.slice(axis)] },
    ];
  },
  run(node, inputs) {
    const [{ type, dims }] = oneHot.infer!(node, inputs);
    const [indices, values] = [need(node, inputs, 0), need(node, inputs, 2)];
    const [, depth, inner] = split(dims, axisAttribute(node, dims.length, -1));
    const [off, on] = values.data as unknown[];
    const data = zeros(type, sizeOf(dims));
    const out = data as unknown[];
    if (off) out.fill(off);
    const at = widen(indices);
    for (let i = 0; i < at.length; i++) {
      const index = Math.trunc(Number(at[i]));
      if (index < -depth || index >= depth) continue;
      out[(Math.floor(i / inner) * depth + (index < 0 ? index + depth : index)) * inner + (i % inner)] = on;
    }
    return [{ type, dims, data }];
  },
};

const nonZero: Operator = {
  attributes: [],
  dynamic: true,
  run(node, inputs) {
    const value = need(node, inputs, 0);
    const x = widen(value) as ArrayLike<unknown>;
    // biome-ignore lint/suspicious/noDoubleEquals: zero of a number or of a BigInt
    const found = Array.from({ length: x.length }, (_, i) => i).filter(i => x[i] != 0 && x[i] !== '');
    const dims = value.dims.length ? value.dims : [1];
    const strides = stridesOf(dims);
    const data = new BigInt64Array(dims.length * found.length);
    let at = 0;
    dims.forEach((dim, axis) => {
      for (const i of found) data[at++] = BigInt(Math.floor(i / strides[axis]) % dim);
    });
    return [{ type: 'int64', dims: [dims.length, found.length], data }];
  },
};

const compress: Operator = {
  attributes: ['axis'],
  dynamic: true,
  run(node, inputs) {
    const [value, condition] = [need(node, inputs, 0), need(node, inputs, 1)];
    const whole = number(node, 'axis') === undefined;
    const source = whole ? flat(value) : value;
    const axis = whole ? 0 : axisAttribute(node, value.dims.length);
    const chosen = (condition.data as Uint8Array).subarray(0, source.dims[axis]);
    return [
      take(
        source,
        axis,
        [...chosen.keys()].filter(i => chosen[i]),
      ),
    ];
  },
};

/** Order of two elements; NaN comes last and equals itself. */
const order = (a: unknown, b: unknown): number =>
  (a as number) < (b as number)
    ? -1
    : (a as number) > (b as number)
      ? 1
      : a === b
        ? 0
        : Number(Number.isNaN(a)) - Number(Number.isNaN(b));

const unique: Operator = {
  attributes: ['axis', 'sorted'],
  dynamic: true,
  run(node, inputs) {
    const value = need(node, inputs, 0);
    const whole = number(node, 'axis') === undefined;
    const source = whole ? flat(value) : value;
    const axis = whole ? 0 : axisAttribute(node, value.dims.length);
    const [outer, length, inner] = split(source.dims, axis);
    const keys = widen(source) as ArrayLike<unknown>;
    const compare = (i: number, j: number) => {
      for (let o = 0; o < outer; o++) {
        const [a, b] = [(o * length + i) * inner, (o * length + j) * inner];
        for (let r = 0; r < inner; r++) {
          const sign = order(keys[a + r], keys[b + r]);
          if (sign) return sign;
        }
      }
      return 0;
    };
    // A stable sort, so that each run of equal entries starts with the one that occurs first.
    const sorted = Array.from({ length }, (_, i) => i).sort(compare);
    const groups: number[][] = [];
    for (const i of sorted) {
      if (groups.length && compare(groups.at(-1)![0], i) === 0) groups.at(-1)!.push(i);
      else groups.push([i]);
    }
    if (!number(node, 'sorted', 1)) groups.sort((a, b) => a[0] - b[0]);
    const inverse = new Array<number>(length);
    groups.forEach((group, g) => {
      for (const i of group) inverse[i] = g;
    });
    const firsts = groups.map(group => group[0]);
    const int64 = (items: number[]): Value => ({
      type: 'int64',
      dims: [items.length],
      data: BigInt64Array.from(items, BigInt),
    });
    return [take(source, axis, firsts), int64(firsts), int64(inverse), int64(groups.map(group => group.length))];
  },
};

export const operators: Operators = {
  OneHot: oneHot,
  NonZero: nonZero,
  Compress: compress,
  Unique: unique,
};
