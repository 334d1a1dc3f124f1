/** Determinants. */
import './common.ts';
import { sizeOf } from '../values.ts';
import { floats, need, pack, workspace } from './numeric.ts';
import { fail, type Operators } from './operator.ts';

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

export const detOperators: Operators = {
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
