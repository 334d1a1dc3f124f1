/** Products of matrices, batched, scaled, quantised and in Einstein's notation; determinants. */
import type { Node } from '../load/graph.ts';
import { arrayOf, type Info, type NumericArray, sizeOf, type Value } from '../values.ts';
import { isBig, isInteger } from './access.ts';
import { broadcastShapes, expandedStrides, forEachRow, offsetsOf } from './broadcast.ts';
import {
  type Floats,
  floats,
  need,
  pack,
  product,
  productTransposed,
  roundEven,
  saturate,
  stridesOf,
  transposed,
  workspace,
} from './numeric.ts';
import { fail, type Inputs, number, type Operators, text } from './operator.ts';

export interface MatMulShape {
  readonly dims: readonly number[];
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Broadcast shape of the leading axes, and the matrix of a and b (counted in matrices) for each of its elements. */
  readonly batch: readonly number[];
  readonly a: Int32Array;
  readonly b: Int32Array;
}

/** Shapes of numpy's matmul: vectors become matrices and lose that axis again, leading axes broadcast. */
export function matMulShape(node: Node, a: readonly number[], b: readonly number[]): MatMulShape {
  if (a.length === 0 || b.length === 0) fail(node, `[${a}] × [${b}]: a scalar has no product; use Mul`);
  const left = a.length === 1 ? [1, a[0]] : a;
  const right = b.length === 1 ? [b[0], 1] : b;
  const [m, k] = left.slice(-2);
  const [depth, n] = right.slice(-2);
  if (k !== depth) fail(node, `[${a}] × [${b}]: inner dimensions ${k} and ${depth} differ`);
  const [lead, trail] = [left.slice(0, -2), right.slice(0, -2)];
  const batch = broadcastShapes(node, [lead, trail]);
  return {
    dims: [...batch, ...(a.length === 1 ? [] : [m]), ...(b.length === 1 ? [] : [n])],
    m,
    n,
    k,
    batch,
    a: offsetsOf(batch, expandedStrides(lead, batch)),
    b: offsetsOf(batch, expandedStrides(trail, batch)),
  };
}

/** Batched product of numbers; matrices of `b` used by several of `a` in a row are one product of more rows. */
export function multiply(shape: MatMulShape, a: Floats, b: Floats, y: Floats): Floats {
  const { m, n, k } = shape;
  for (let i = 0, next = 0; i < shape.a.length; i = next) {
    for (next = i + 1; next < shape.a.length; next++)
      if (shape.b[next] !== shape.b[i] || shape.a[next] !== shape.a[i] + next - i) break;
    product((next - i) * m, n, k, a, shape.a[i] * m * k, b, shape.b[i] * k * n, y, i * m * n);
  }
  return y;
}

/** Exact product of 32- and 64-bit integers: wraps as in C. */
function integerProduct(shape: MatMulShape, a: Value, b: Value): Value {
  const { m, n, k } = shape;
  const y = new (arrayOf(a.type as 'int32'))(sizeOf(shape.dims)) as Int32Array | BigInt64Array;
  const [x, w] = [a.data, b.data];
  for (let g = 0, to = 0; g < shape.a.length; g++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++, to++) {
        const row = (shape.a[g] * m + i) * k;
        const column = shape.b[g] * k * n + j;
        if (isBig(a.type)) {
          let sum = 0n;
          for (let p = 0; p < k; p++) sum += (x as BigInt64Array)[row + p] * (w as BigInt64Array)[column + p * n];
          y[to] = sum;
        } else {
          let sum = 0;
          for (let p = 0; p < k; p++)
            sum = (sum + Math.imul((x as Int32Array)[row + p], (w as Int32Array)[column + p * n])) | 0;
          y[to] = sum;
        }
      }
    }
  }
  return { type: a.type, dims: shape.dims, data: y as NumericArray };
}

/** Integers less their zero point: one for all, or one for each row (`axis` −2) or column (−1) of each matrix. */
function centred(value: Value, zeroPoint: Value | undefined, axis: -1 | -2): Float64Array {
  const numbers = Float64Array.from(floats(value));
  return zeroPoint ? perLine(value.dims, numbers, zeroPoint, axis, (x, zero) => x - zero) : numbers;
}

/** Combines numbers with one parameter for all, or with one for each row or column of each matrix. */
function perLine<T extends Floats>(
  dims: readonly number[],
  numbers: T,
  parameter: Value,
  axis: -1 | -2,
  combine: (x: number, p: number) => number,
): T {
  const values = floats(parameter);
  const columns = dims.at(-1)!;
  const rows = dims.at(-2) ?? 1;
  for (let i = 0; i < numbers.length; i++) {
    const matrix = Math.floor(i / (rows * columns));
    const own = axis === -1 ? i % columns : Math.floor(i / columns) % rows;
    const lines = axis === -1 ? columns : rows;
    numbers[i] = combine(
      numbers[i],
      values[values.length === 1 ? 0 : values.length === lines ? own : matrix * lines + own],
    );
  }
  return numbers;
}

function gemmShape(node: Node, a: readonly number[], b: readonly number[]): [m: number, n: number, k: number] {
  if (a.length !== 2 || b.length !== 2) fail(node, `[${a}] × [${b}]: expected two matrices`);
  const [m, k] = number(node, 'transA', 0) ? [a[1], a[0]] : a;
  const [depth, n] = number(node, 'transB', 0) ? [b[1], b[0]] : b;
  if (k !== depth) fail(node, `[${a}] × [${b}] (after transA, transB): inner dimensions ${k} and ${depth} differ`);
  return [m, n, k];
}

/** alpha · A′ · B′ + beta · C. */
export function gemm(node: Node, a: Value, b: Value, c: Value | undefined): Value {
  const [m, n, k] = gemmShape(node, a.dims, b.dims);
  const alpha = number(node, 'alpha', 1);
  const beta = number(node, 'beta', 1);
  const y = workspace(a.type, m * n);
  const x = number(node, 'transA', 0) ? transposed(k, m, floats(a)) : floats(a);
  const w = floats(b);
  if (!number(node, 'transB', 0)) product(m, n, k, x, 0, w, 0, y, 0);
  else if (m < 4) productTransposed(m, n, k, x, 0, w, 0, y, 0);
  else product(m, n, k, x, 0, transposed(n, k, w), 0, y, 0);
  if (alpha !== 1) for (let i = 0; i < y.length; i++) y[i] *= alpha;
  if (c && beta !== 0) {
    const bias = floats(c);
    const dims = [m, n];
    if (String(broadcastShapes(node, [c.dims, dims])) !== String(dims))
      fail(node, `C [${c.dims}] does not broadcast to [${dims}]`);
    forEachRow(dims, [[n, 1], expandedStrides(c.dims, dims)], ([to, from], [, step], length) => {
      for (let i = 0; i < length; i++, from += step) y[to + i] += beta * bias[from];
    });
  }
  return pack(a.type, [m, n], y);
}

/** A value with one label for each axis; a label may repeat (a diagonal). */
interface Labelled {
  readonly labels: readonly string[];
  readonly dims: readonly number[];
  readonly data: Floats;
}

/** Rearranges to `labels`: repeated labels become diagonals, labels that are not asked for are summed. */
function arrange(
  { labels, dims, data }: Labelled,
  wanted: readonly string[],
  sizes: ReadonlyMap<string, number>,
): Labelled {
  if (String(labels) === String(wanted) && dims.every((size, d) => size === sizes.get(labels[d])))
    return { labels, dims, data };
  const all = [...wanted, ...new Set(labels.filter(label => !wanted.includes(label)))];
  const own = stridesOf(dims);
  const to = wanted.map(label => sizes.get(label)!);
  const y = data instanceof Float32Array ? new Float32Array(sizeOf(to)) : new Float64Array(sizeOf(to));
  // An axis of size 1 that broadcasts is walked without moving; one that is summed away is walked once.
  const present = (label: string) => Math.max(...labels.map((each, d) => (each === label ? dims[d] : 1)));
  const walk = all.map(label => (wanted.includes(label) ? sizes.get(label)! : present(label)));
  const from = all.map(label =>
    labels.reduce((sum, each, d) => (each === label && dims[d] !== 1 ? sum + own[d] : sum), 0),
  );
  const target = [...stridesOf(to), ...new Array<number>(all.length - to.length).fill(0)];
  forEachRow(walk, [from, target], ([i, j], [p, q], length) => {
    for (let r = 0; r < length; r++, i += p, j += q) y[j] += data[i];
  });
  return { labels: wanted, dims: to, data: y };
}

/** The product of two labelled values, with all labels summed that are not in `keep`. */
function contract(a: Labelled, b: Labelled, keep: ReadonlySet<string>, sizes: ReadonlyMap<string, number>): Labelled {
  const [left, right] = [new Set(a.labels), new Set(b.labels)];
  const shared = [...left].filter(label => right.has(label));
  const batch = shared.filter(label => keep.has(label));
  const inner = shared.filter(label => !keep.has(label));
  const rows = [...left].filter(label => keep.has(label) && !right.has(label));
  const columns = [...right].filter(label => keep.has(label) && !left.has(label));
  const size = (labels: readonly string[]) => labels.reduce((total, label) => total * sizes.get(label)!, 1);
  const [m, n, k] = [size(rows), size(columns), size(inner)];
  const x = arrange(a, [...batch, ...rows, ...inner], sizes).data;
  const w = arrange(b, [...batch, ...inner, ...columns], sizes).data;
  const labels = [...batch, ...rows, ...columns];
  const count = size(batch);
  const data = x instanceof Float32Array ? new Float32Array(count * m * n) : new Float64Array(count * m * n);
  for (let g = 0; g < count; g++) product(m, n, k, x, g * m * k, w, g * k * n, data, g * m * n);
  return { labels, dims: labels.map(label => sizes.get(label)!), data };
}

/** Labels of all operands and of the result of an equation. An ellipsis becomes labels `.0`, `.1` … counted from its end. */
export function parseEinsum(node: Node, shapes: readonly (readonly number[])[]) {
  const equation = text(node, 'equation', '').replaceAll(' ', '');
  const [left, right] = equation.split('->');
  const terms = left.split(',');
  if (terms.length !== shapes.length)
    fail(node, `equation '${equation}' has ${terms.length} operands for ${shapes.length} inputs`);
  const dots = (count: number) => Array.from({ length: count }, (_, i) => `.${count - 1 - i}`);
  const sizes = new Map<string, number>();
  let widest = 0;
  const operands = terms.map((term, t) => {
    const [before, after] = term.split('...');
    const hidden = after === undefined ? 0 : shapes[t].length - before.length - after.length;
    const labels = after === undefined ? [...term] : [...before, ...dots(Math.max(0, hidden)), ...after];
    if (hidden < 0 || labels.length !== shapes[t].length)
      fail(node, `equation '${equation}': operand '${term}' for a value [${shapes[t]}]`);
    widest = Math.max(widest, hidden);
    labels.forEach((label, d) => {
      const known = sizes.get(label) ?? 1;
      const size = shapes[t][d];
      if (known !== size && known !== 1 && size !== 1)
        fail(node, `equation '${equation}': '${label}' is both ${known} and ${size}`);
      sizes.set(label, known === 1 ? size : known);
    });
    return labels;
  });
  // Without an arrow: the ellipsis, then the labels that occur once, in alphabetical order.
  const once = [...sizes.keys()].filter(
    label => label[0] !== '.' && operands.flat().filter(each => each === label).length === 1,
  );
  const term = right ?? `...${once.sort().join('')}`;
  const [before, after] = term.split('...');
  const output = after === undefined ? [...term] : [...before, ...dots(widest), ...after];
  const unknown = output.find(label => !sizes.has(label));
  if (unknown !== undefined) fail(node, `equation '${equation}': '${unknown}' is in no operand`);
  return { operands, output, sizes, dims: output.map(label => sizes.get(label)!) };
}

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

const shapeOf = (node: Node, inputs: Inputs<Info>, a: number, b: number): MatMulShape =>
  matMulShape(node, need(node, inputs, a).dims, need(node, inputs, b).dims);

export const matmulOperators: Operators = {
  MatMul: {
    attributes: [],
    infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: shapeOf(node, inputs, 0, 1).dims }],
    run(node, inputs) {
      const [a, b] = [need(node, inputs, 0), need(node, inputs, 1)];
      const shape = shapeOf(node, inputs, 0, 1);
      if (isInteger(a.type)) return [integerProduct(shape, a, b)];
      return [pack(a.type, shape.dims, multiply(shape, floats(a), floats(b), workspace(a.type, sizeOf(shape.dims))))];
    },
  },
  Gemm: {
    attributes: ['alpha', 'beta', 'transA', 'transB', 'broadcast'],
    infer(node, inputs) {
      const a = need(node, inputs, 0);
      const [m, n] = gemmShape(node, a.dims, need(node, inputs, 1).dims);
      return [{ type: a.type, dims: [m, n] }];
    },
    run: (node, inputs) => [gemm(node, need(node, inputs, 0), need(node, inputs, 1), inputs[2])],
  },
  MatMulInteger: {
    attributes: [],
    infer: (node, inputs) => [{ type: 'int32', dims: shapeOf(node, inputs, 0, 1).dims }],
    run(node, inputs) {
      const shape = shapeOf(node, inputs, 0, 1);
      const a = centred(need(node, inputs, 0), inputs[2], -2);
      const b = centred(need(node, inputs, 1), inputs[3], -1);
      return [pack('int32', shape.dims, multiply(shape, a, b, new Float64Array(sizeOf(shape.dims))))];
    },
  },
  QLinearMatMul: {
    attributes: [],
    infer: (node, inputs) => [{ type: need(node, inputs, 7).type, dims: shapeOf(node, inputs, 0, 3).dims }],
    run(node, inputs) {
      const shape = shapeOf(node, inputs, 0, 3);
      const a = centred(need(node, inputs, 0), inputs[2], -2);
      const b = centred(need(node, inputs, 3), inputs[5], -1);
      const zero = need(node, inputs, 7);
      // Vectors stay matrices here, so that scales meet rows and columns.
      const dims = [...shape.batch, shape.m, shape.n];
      const y = multiply(shape, a, b, new Float64Array(sizeOf(dims)));
      perLine(dims, y, need(node, inputs, 1), -2, (x, scale) => x * scale);
      perLine(dims, y, need(node, inputs, 4), -1, (x, scale) => x * scale);
      perLine(dims, y, need(node, inputs, 6), -2, (x, scale) => roundEven(Math.fround(x / scale)));
      perLine(dims, y, zero, -2, (x, offset) => x + offset);
      return [pack(zero.type, shape.dims, saturate(zero.type, y))];
    },
  },
  Einsum: {
    attributes: ['equation'],
    infer: (node, inputs) => [
      {
        type: need(node, inputs, 0).type,
        dims: parseEinsum(
          node,
          inputs.map((_, i) => need(node, inputs, i).dims),
        ).dims,
      },
    ],
    run(node, inputs) {
      const values = inputs.map((_, i) => need(node, inputs, i));
      const { operands, output, sizes, dims } = parseEinsum(
        node,
        values.map(value => value.dims),
      );
      const terms = values.map(
        (value, i): Labelled => ({ labels: operands[i], dims: value.dims, data: floats(value) }),
      );
      let result = terms[0];
      for (let i = 1; i < terms.length; i++)
        result = contract(result, terms[i], new Set([...output, ...operands.slice(i + 1).flat()]), sizes);
      return [pack(values[0].type, dims, arrange(result, output, sizes).data)];
    },
  },
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
};
