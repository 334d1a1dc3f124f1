/** Products with constant weights: which kernel computes them, and its steps. */

import { once } from '../kernels/bitmap.ts';
import { gemm } from '../kernels/dense.ts';
import { convolution, convTranspose, type Geometry } from '../kernels/dense-convolution.ts';
import { detect, type Pattern, type Sparsity } from '../kernels/pattern.ts';
import { sparseTokens } from '../kernels/sparse.ts';
import { sparseConvolution } from '../kernels/sparse-convolution.ts';
import { number } from '../ops/operator.ts';
import { sizeOf } from '../values.ts';
import type { Gpu } from '../webgpu/gpu.ts';
import type { Chooser, Work } from './choose.ts';
import type { Lowering } from './lowering.ts';
import { nonzeros } from './nonzeros.ts';
import { windowOf } from './spatial.ts';

/** How products are run. */
export interface Products {
  readonly choose: Chooser;
  /** See `Tuning`. */
  readonly wide?: boolean;
  /** Runs them instead of the kernels. */
  readonly gpu?: Gpu;
}

/** A constant matrix at any strides. */
interface Weights {
  readonly weight: Float32Array;
  readonly rows: number;
  readonly cols: number;
  readonly rowStride: number;
  readonly colStride: number;
}

/** Above this density no sparse kernel is ever the faster one, and its pattern is not looked for. */
const DENSE = 0.75;

/** Density and patterns; only the density where the weights are dense. */
export const inspect = once((matrix): Sparsity => {
  const count = nonzeros(matrix.weight as Float32Array);
  const density = count / Math.max(1, matrix.weight.length);
  return density > DENSE ? { density, nonzeros: count, patterns: [] } : detect(matrix);
});

/** A product on the GPU: the weights go there once, the activations on every run. */
function onGpu(
  l: Lowering,
  gpu: Gpu,
  { weight, rows, cols, rowStride, colStride }: Weights,
  work: Work,
  { patterns, density }: Sparsity,
  bias: Float32Array | undefined,
  shape: { readonly layout: 'columns' | 'rows'; readonly pixels: number; readonly batch: number },
): void {
  const sparse = patterns.find(p => p.kind !== 'csr') ?? patterns[0];
  const pattern =
    !sparse || density > 0.5
      ? 'dense'
      : sparse.kind === 'csr'
        ? 'csr'
        : sparse.kind === 'block'
          ? { block: sparse.rows }
          : sparse;
  let data = weight;
  if (rowStride !== cols || colStride !== 1) {
    data = new Float32Array(rows * cols);
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < cols; c++) data[r * cols + c] = weight[r * rowStride + c * colStride];
  }
  const matrix = gpu.matrix({ data, rows, cols, pattern, bias });
  const [x, y] = [l.x(0), l.y()];
  const residual = l.inputs[3] ? l.x(3) : undefined;
  const { lo, hi } = limits(l);
  const { layout, pixels, batch } = shape;
  l.device(async view => {
    const options = {
      layout,
      batch,
      lo,
      hi,
      residual: residual === undefined ? undefined : view(residual, batch * rows * pixels),
    };
    const result = await matrix.multiply(view(x, batch * cols * pixels), pixels, options);
    view(y, result.length).set(result);
  });
  const kernel = sparse && pattern !== 'dense' ? name(sparse) : 'dense';
  account(l, work, `webgpu ${kernel}`, pattern === 'dense' ? 1 : density);
  l.report.weightBytes = matrix.bytes;
}

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i]);

const limits = ({ node }: Lowering): { lo: number; hi: number } => ({
  lo: (node.attributes.lo as number | undefined) ?? Number.NEGATIVE_INFINITY,
  hi: (node.attributes.hi as number | undefined) ?? Number.POSITIVE_INFINITY,
});

const allFloat = (l: Lowering): boolean => [...l.inputs, ...l.outputs].every(info => !info || info.type === 'float32');

/** Writes down what the node costs. */
function account(l: Lowering, work: Work, kernel: string, done: number): void {
  const flops = 2 * work.uses * work.rows * work.cols;
  Object.assign(l.report, {
    kernel,
    density: work.density,
    flops: Math.round(flops * done),
    skipped: Math.round(flops * (1 - done)),
  });
}

/** Conv with constant weights, alone or with a fused residual and clamp. */
export const conv =
  ({ choose, gpu, wide }: Products) =>
  (l: Lowering): boolean => {
    const [x, w, , residual] = l.inputs;
    const weight = l.weight(1);
    const bias = l.weight(2);
    const [out] = l.outputs;
    const rank = x!.dims.length;
    if (!weight || !allFloat(l) || (rank !== 3 && rank !== 4) || (l.inputs[2] && !bias)) return false;
    if (residual && !same(residual.dims, out.dims)) return false;
    const window = windowOf(l, w!.dims.slice(2))!;
    const { batch, channels, outHeight, outWidth } = window;
    const outChannels = w!.dims[0];
    const groups = number(l.node, 'group', 1);
    const geometry: Geometry = { ...window, outChannels, groups };
    const cols = sizeOf(w!.dims.slice(1));
    const unit =
      [...window.kernel, ...window.strides].every(k => k === 1) && window.pads.every(p => p === 0) && groups === 1;
    const matrix = { weight: weight.data, rows: outChannels, cols, rowStride: cols, colStride: 1, bias: bias?.data };
    const found = inspect(matrix);
    const work: Work = {
      kind: unit ? 'pixels' : groups === channels && groups > 1 ? 'depthwise' : 'window',
      rows: outChannels,
      cols,
      uses: batch * outHeight * outWidth,
      density: found.density,
      nonzeros: found.nonzeros,
    };
    if (gpu && unit) {
      onGpu(l, gpu, matrix, work, found, bias?.data, { layout: 'columns', pixels: outHeight * outWidth, batch });
      return true;
    }
    const { lo, hi } = limits(l);
    const maps = { x: l.x(0), y: l.y(), residual: residual && l.x(3), lo, hi };
    const pattern = choose(work, found);
    const key = [weight.key, bias?.key].join('+');
    if (pattern) {
      sparseConvolution(l.emitter, { ...matrix, pattern, key, wide }, { ...maps, geometry });
      account(l, work, name(pattern), found.density);
      return true;
    }
    convolution(l.emitter, { data: weight.data, key, bias: bias?.data }, geometry, maps);
    account(l, work, work.kind === 'depthwise' ? 'depthwise' : 'dense', 1);
    return true;
  };

/** ConvTranspose with constant weights and pads given as numbers. */
export function transposedConv(l: Lowering): boolean {
  const [x, w] = l.inputs;
  const [out] = l.outputs;
  const weight = l.weight(1);
  const bias = l.weight(2);
  const given = l.node.attributes;
  if (!weight || !allFloat(l) || (l.inputs[2] && !bias) || x!.dims.length !== 4) return false;
  if (given.output_shape || (given.auto_pad ?? 'NOTSET') !== 'NOTSET') return false;
  const two = (name: string): [number, number] => (given[name] as [number, number] | undefined) ?? [1, 1];
  const groups = number(l.node, 'group', 1);
  const [batch, channels, height, width] = x!.dims;
  const geometry: Geometry = {
    ...{ batch, channels, height, width, groups },
    outChannels: w!.dims[1] * groups,
    kernel: [w!.dims[2], w!.dims[3]],
    strides: two('strides'),
    dilations: two('dilations'),
    pads: (given.pads as [number, number, number, number] | undefined) ?? [0, 0, 0, 0],
    outHeight: out.dims[2],
    outWidth: out.dims[3],
  };
  convTranspose(l.emitter, { data: weight.data, key: [weight.key, bias?.key].join('+'), bias: bias?.data }, geometry, {
    x: l.x(0),
    y: l.y(),
  });
  Object.assign(l.report, { kernel: 'dense', density: 1, flops: 2 * height * width * batch * weight.data.length });
  return true;
}

/** `csr`, `block 4`, `2:4`: how reports name a sparse kernel. */
export const name = (pattern: Pattern): string =>
  pattern.kind === 'csr' ? 'csr' : pattern.kind === 'block' ? `block ${pattern.rows}×1` : `${pattern.n}:${pattern.m}`;

/** The 8-bit form of input 1's constant, when its scales are those of the `n` outputs (on `axis`) or a single one. */
function integers(l: Lowering, axis: number, n: number) {
  const origin = l.quantized(1);
  if (!origin) return undefined;
  const { data, scale, zeroPoint } = origin;
  if (scale.length !== 1 && (scale.length !== n || (origin.axis + 2) % 2 !== axis)) return undefined;
  const zero = zeroPoint?.some(z => z !== 0) ? zeroPoint : undefined;
  return { data, scale, zero, key: `${l.node.inputs[1]} int8` };
}

/** x [.., m, k] times a matrix: MatMul and Gemm, alone or fused with bias, residual and clamp. */
export const linear =
  ({ choose, gpu, wide }: Products) =>
  (l: Lowering): boolean => {
    const [a, b, c, residual] = l.inputs;
    const [out] = l.outputs;
    const isGemm = l.node.op === 'Gemm';
    if (!allFloat(l) || (residual && !same(residual.dims, out.dims))) return false;
    const [transA, transB] = isGemm ? [number(l.node, 'transA', 0), number(l.node, 'transB', 0)] : [0, 0];
    const alpha = isGemm ? number(l.node, 'alpha', 1) : 1;
    const beta = isGemm ? number(l.node, 'beta', 1) : 1;
    const weight = b!.dims.length === 2 ? l.weight(1) : undefined;
    const n = out.dims.at(-1)!;
    if (a!.dims.length < 2 || b!.dims.length < 2) return false;
    // A bias along the columns; any other form of Gemm's C is left to the plain operator.
    if (c && (sizeOf(c.dims) !== n || c.dims.at(-1) !== n || beta !== 1)) return false;
    const { lo, hi } = limits(l);
    if (weight && !transA) {
      const k = a!.dims.at(-1)!;
      const m = sizeOf(a!.dims) / k;
      const [rowStride, colStride] = transB ? [k, 1] : [1, n];
      const matrix = { weight: weight.data, rows: n, cols: k, rowStride, colStride };
      const found = inspect(matrix);
      const work: Work = {
        kind: m === 1 ? 'vector' : 'tokens',
        rows: n,
        cols: k,
        uses: m,
        density: found.density,
        nonzeros: found.nonzeros,
      };
      const bias = l.weight(2);
      if (gpu && alpha === 1 && (!c || bias)) {
        onGpu(l, gpu, matrix, work, found, bias?.data, { layout: 'rows', pixels: m, batch: 1 });
        return true;
      }
      const epilogue = { residual: residual && l.x(3), lo, hi };
      const origin = integers(l, transB ? 0 : 1, n);
      const pattern = alpha === 1 && (!c || bias) ? choose(work, found) : undefined;
      if (pattern) {
        const int8 = origin?.data instanceof Int8Array && !origin.zero;
        const key = [weight.key, bias?.key, int8 ? 'int8' : ''].join('+');
        const values = int8 ? { weight: origin.data as Int8Array, scale: Float32Array.from(origin.scale) } : {};
        sparseTokens(
          l.emitter,
          { ...matrix, ...values, bias: bias?.data, pattern, key, wide },
          { x: l.x(0), y: l.y(), tokens: m, ...epilogue },
        );
        account(l, work, `${name(pattern)}${int8 ? ' int8' : ''}`, found.density);
        return true;
      }
      gemm(l.emitter, {
        m,
        n,
        k,
        a: { at: l.x(0) },
        b: { data: weight.data, key: weight.key, transposed: transB !== 0, ...origin },
        c: { at: l.y() },
        alpha,
        columnBias: c && l.x(2),
        ...epilogue,
        residual: residual && { at: l.x(3) },
      });
      account(l, work, origin ? 'dense int8' : 'dense', 1);
      return true;
    }
    // Two activations: one product for each item of the batch, whose strides must be uniform.
    const [m, k] = transA ? [a!.dims.at(-1)!, a!.dims.at(-2)!] : [a!.dims.at(-2)!, a!.dims.at(-1)!];
    const batch = sizeOf(out.dims.slice(0, -2));
    const step = (dims: readonly number[]): number | undefined => {
      const items = sizeOf(dims.slice(0, -2));
      return items === batch ? dims.at(-1)! * dims.at(-2)! : items === 1 ? 0 : undefined;
    };
    const [aStep, bStep] = [step(a!.dims), step(b!.dims)];
    if (aStep === undefined || bStep === undefined) return false;
    gemm(l.emitter, {
      m,
      n,
      k,
      batch,
      a: { at: l.x(0), transposed: transA !== 0, step: aStep },
      b: { at: l.x(1), transposed: transB !== 0, step: bStep },
      c: { at: l.y() },
      alpha,
      columnBias: c && l.x(2),
      residual: residual && { at: l.x(3) },
      lo,
      hi,
    });
    Object.assign(l.report, { kernel: 'gemm', flops: 2 * m * n * k * batch });
    return true;
  };
