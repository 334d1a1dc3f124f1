/** Products and convolutions of quantised numbers: exact in float64, scaled and rounded at the end. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { sizeOf, type Value } from '../values.ts';
import { CONV, convolve, geometry, inferConv } from './conv.ts';
import { multiply, shapeOf } from './matmul.ts';
import { type Floats, floats, need, pack, roundEven } from './numeric.ts';
import type { Inputs, Operators } from './operator.ts';
import { saturate } from './saturate.ts';

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

/** Integers less their zero point: one for all, or one for each row (`axis` −2) or column (−1) of each matrix. */
function centred(value: Value, zeroPoint: Value | undefined, axis: -1 | -2, dims = value.dims): Float64Array {
  const numbers = Float64Array.from(floats(value));
  return zeroPoint ? perLine(dims, numbers, zeroPoint, axis, (x, zero) => x - zero) : numbers;
}

/** A convolution of inputs `at[0]` and `at[1]`, each less the zero point that input `at[2]`, `at[3]` holds. */
function centredConvolution(node: Node, inputs: Inputs, at: readonly number[], bias?: Floats) {
  const [x, w] = [need(node, inputs, at[0]), need(node, inputs, at[1])];
  // One zero point for each map of the weights: rows of a matrix.
  const rows = [w.dims[0], sizeOf(w.dims.slice(1))];
  const [xs, ws] = [centred(x, inputs[at[2]], -2), centred(w, inputs[at[3]], -2, rows)];
  return convolve(node, xs, x.dims, ws, w.dims, bias, length => new Float64Array(length));
}

export const operators: Operators = {
  ConvInteger: {
    attributes: CONV,
    infer: (node, inputs) => [{ type: 'int32', dims: inferConv(node, inputs)[0].dims }],
    run(node, inputs) {
      const { y, dims } = centredConvolution(node, inputs, [0, 1, 2, 3]);
      return [pack('int32', dims, y)];
    },
  },
  QLinearConv: {
    attributes: CONV,
    infer(node, inputs) {
      const { dims } = geometry(node, need(node, inputs, 0).dims, need(node, inputs, 3).dims);
      return [{ type: need(node, inputs, 7).type, dims }];
    },
    run(node, inputs) {
      const zero = need(node, inputs, 7);
      const [xScale, yScale] = [1, 6].map(index => floats(need(node, inputs, index))[0]);
      const wScale = floats(need(node, inputs, 4));
      const bias = inputs[8] && floats(inputs[8]);
      const { y, dims } = centredConvolution(node, inputs, [0, 3, 2, 5], bias);
      const offset = floats(zero)[0];
      const width = sizeOf(dims.slice(2));
      for (let i = 0; i < y.length; i++) {
        const map = Math.floor(i / width) % dims[1];
        const scale = Math.fround((xScale * wScale[wScale.length === 1 ? 0 : map]) / yScale);
        y[i] = roundEven(Math.fround(y[i] * scale)) + offset;
      }
      return [pack(zero.type, dims, saturate(zero.type, y))];
    },
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
};
