/** Steps that only move elements. All arrays are dense and row-major unless strides are given. */
import { check } from '../errors.ts';
import { stridesOf } from '../ops/numeric.ts';
import type { Address, Emitter } from '../plan/emitter.ts';
import { integers } from './dense-window.ts';

/** y[i…] = x[i…] for all indices below `dims`, by strides. */
export interface Copy {
  readonly x: Address;
  readonly y: Address;
  readonly dims: readonly number[];
  /** In elements; x may repeat (0) or run backwards (negative; shift x to its first element). */
  readonly xStrides: readonly number[];
  readonly yStrides: readonly number[];
  /** Bytes of an element: 1, 2, 4 (default) or 8. */
  readonly size?: number;
}

/** Transposes, slices, broadcasts, parts of concatenations: any copy by strides. */
export function copy(e: Emitter, { x, y, dims, xStrides, yStrides, size = 4 }: Copy): void {
  if (dims.includes(0)) return;
  const order = collapse(dims, xStrides, yStrides);
  const [inner = { size: 1, x: 1, y: 1 }, ...outer] = order;
  const column = outer.findIndex(dim => dim.x === 1);
  if (size === 4 && inner.y === 1 && inner.x !== 1 && column >= 0 && inner.size > 1) {
    const [columns] = outer.splice(column, 1);
    const steps = [inner.size, columns.size, inner.x * size, columns.y * size];
    e.step('transpose4', x, y, count(outer), ...steps, strides(e, outer, size));
    return;
  }
  const steps = [inner.size, inner.x * size, inner.y * size, size];
  e.step('strided', x, y, count(outer), ...steps, strides(e, outer, size));
}

interface Dim {
  size: number;
  x: number;
  y: number;
}

const count = (dims: readonly Dim[]): number => dims.reduce((product, dim) => product * dim.size, 1);

const strides = (e: Emitter, dims: readonly Dim[], size: number): Address =>
  integers(e, 'strides', [dims.length, ...dims.flatMap(dim => [dim.size, dim.x * size, dim.y * size])]);

/** Dimensions innermost first; neighbours that both arrays walk as one are one. */
function collapse(dims: readonly number[], xStrides: readonly number[], yStrides: readonly number[]): Dim[] {
  const result: Dim[] = [];
  for (let d = dims.length - 1; d >= 0; d--) {
    if (dims[d] === 1) continue;
    const dim = { size: dims[d], x: xStrides[d], y: yStrides[d] };
    const last = result.at(-1);
    if (last && dim.x === last.x * last.size && dim.y === last.y * last.size) last.size *= dim.size;
    else result.push(dim);
  }
  return result;
}

/** ONNX Transpose: y's dimension d is x's dimension perm[d]. */
export function transpose(
  e: Emitter,
  {
    x,
    y,
    dims,
    perm,
    size,
  }: {
    readonly x: Address;
    readonly y: Address;
    /** Of x. */
    readonly dims: readonly number[];
    readonly perm: readonly number[];
    readonly size?: number;
  },
): void {
  const from = stridesOf(dims);
  const yDims = perm.map(axis => dims[axis]);
  copy(e, { x, y, dims: yDims, xStrides: perm.map(axis => from[axis]), yStrides: stridesOf(yDims), size });
}

/** Copies `blocks` runs of `length` elements: Concat, Split and Slice along one axis, and plain copies. */
export function copyBlocks(
  e: Emitter,
  {
    x,
    y,
    blocks,
    length,
    xStep,
    yStep,
    size,
  }: {
    readonly x: Address;
    readonly y: Address;
    readonly blocks: number;
    readonly length: number;
    /** Elements from one run to the next. */
    readonly xStep: number;
    readonly yStep: number;
    readonly size?: number;
  },
): void {
  copy(e, { x, y, dims: [blocks, length], xStrides: [xStep, 1], yStrides: [yStep, 1], size });
}

/** ONNX DepthToSpace (its modes DCR and CRD) of x[batch, channels, height, width]. */
export function depthToSpace(
  e: Emitter,
  {
    x,
    y,
    dims: [n, c, h, w],
    block: b,
    mode = 'DCR',
  }: {
    readonly x: Address;
    readonly y: Address;
    readonly dims: readonly [number, number, number, number];
    readonly block: number;
    readonly mode?: 'DCR' | 'CRD';
  },
): void {
  const depth = c / (b * b);
  if (mode === 'DCR') transpose(e, { x, y, dims: [n, b, b, depth, h, w], perm: [0, 3, 4, 1, 5, 2] });
  else transpose(e, { x, y, dims: [n, depth, b, b, h, w], perm: [0, 1, 4, 2, 5, 3] });
}

/** ONNX SpaceToDepth of x[batch, channels, height, width]. */
export function spaceToDepth(
  e: Emitter,
  {
    x,
    y,
    dims: [n, c, h, w],
    block: b,
  }: {
    readonly x: Address;
    readonly y: Address;
    readonly dims: readonly [number, number, number, number];
    readonly block: number;
  },
): void {
  transpose(e, { x, y, dims: [n, c, h / b, b, w / b, b], perm: [0, 3, 5, 1, 2, 4] });
}

const PAD = ['constant', 'edge', 'reflect', 'wrap'] as const;

/** Pads the last two axes of float32 x[planes, height, width]; pads are [top, left, bottom, right], not negative. */
export function pad(
  e: Emitter,
  {
    x,
    y,
    planes,
    height,
    width,
    pads,
    mode = 'constant',
    value = 0,
  }: {
    readonly x: Address;
    readonly y: Address;
    readonly planes: number;
    readonly height: number;
    readonly width: number;
    readonly pads: readonly [number, number, number, number];
    readonly mode?: (typeof PAD)[number];
    readonly value?: number;
  },
): void {
  const [rows, columns] = [height + pads[0] + pads[2], width + pads[1] + pads[3]];
  if (planes * rows * columns === 0) return;
  check(
    mode === 'constant' || height * width > 0,
    `pad: ${mode} padding of an empty plane [${height}, ${width}]; only constant padding can fill it`,
  );
  e.step('padPlanes', x, y, planes, height, width, pads[0], pads[1], rows, columns, PAD.indexOf(mode), value);
}

/** ONNX Gather: y[outer, count, inner] = x[outer, indices[count], inner]; out-of-range indices are clamped, not refused. */
export function gather(
  e: Emitter,
  {
    x,
    indices,
    y,
    outer = 1,
    axis,
    inner,
    count,
    wide,
    size = 4,
  }: {
    readonly x: Address;
    readonly indices: Address;
    readonly y: Address;
    /** Default 1. */
    readonly outer?: number;
    /** x's dimension along the axis. */
    readonly axis: number;
    /** Elements after the axis. */
    readonly inner: number;
    /** Number of indices. */
    readonly count: number;
    /** int64 indices, else int32. */
    readonly wide: boolean;
    /** Bytes of an element; default 4. */
    readonly size?: number;
  },
): void {
  if (outer * count * inner > 0) e.step('gather', x, indices, wide ? 1 : 0, y, outer, axis, count, inner * size);
}
