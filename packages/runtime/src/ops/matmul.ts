/** Products of matrices, batched and scaled. */
import type { Node } from '../load/graph.ts';
import { arrayOf, type Info, type NumericArray, sizeOf, type Value } from '../values.ts';
import { isBig, isInteger } from './access.ts';
import { broadcastShapes, expandedStrides, forEachRow, offsetsOf } from './broadcast.ts';
import { type Floats, floats, need, pack, product, productTransposed, transposed, workspace } from './numeric.ts';
import { fail, type Inputs, number, type Operators } from './operator.ts';

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

export const shapeOf = (node: Node, inputs: Inputs<Info>, a: number, b: number): MatMulShape =>
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
};
