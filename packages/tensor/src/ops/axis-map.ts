import { type Tensor, tensor } from '../tensor.ts';

/** A linear map of one axis, `rows` = new length, `columns` = old length, row-major. */
export interface AxisMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float32Array;
}

export function axisMatrix(rows: number, columns: number): AxisMatrix {
  return { rows, columns, data: new Float32Array(rows * columns) };
}

export function transposed({ rows, columns, data }: AxisMatrix): AxisMatrix {
  const out = axisMatrix(columns, rows);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out.data[c * rows + r] = data[r * columns + c];
  return out;
}

/**
 * Applies one matrix to each spatial axis of x [batch, channels, ...space]. Interpolation and average pooling are such
 * maps, and so are their gradients, with the matrices transposed; as products they run at the speed of memory.
 */
export function mapAxes(x: Tensor, matrices: readonly AxisMatrix[]): Tensor {
  // The last axis first: that one is a single large product.
  return matrices.reduceRight((y, m, i) => mapAxis(y, i + 2, m), x);
}

function mapAxis(x: Tensor, axis: number, m: AxisMatrix): Tensor {
  const shape = x.shape.map((d, i) => (i === axis ? m.rows : d));
  if (axis === x.rank - 1) {
    const t = transposed(m);
    return x.matmul(tensor(t.data, [t.rows, t.columns]));
  }
  const tail = x.shape.slice(axis + 1).reduce((n, d) => n * d, 1);
  const middle = x.shape.slice(1, axis).reduce((n, d) => n * d, 1);
  const columns = x.reshape([x.shape[0], middle, m.columns, tail]);
  return tensor(m.data, [m.rows, m.columns]).matmul(columns).reshape(shape);
}
