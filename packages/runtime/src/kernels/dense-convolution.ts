/** Dense convolutions: 1×1 as a product, depthwise by planes, all others as a product with image patches. */
import { check } from '../errors.ts';
import type { Address, Emitter } from '../plan/emitter.ts';
import { B_MODE, type Limits, type Panels, product, type Rows } from './dense.ts';
import { packRows, paddedRows } from './dense-pack.ts';
import { bands, extent, type Window } from './dense-window.ts';
import { binary, unary } from './elementwise.ts';

export interface Geometry extends Window {
  readonly outChannels: number;
  /** Divides channels and outChannels. */
  readonly groups: number;
}

/** Weights [outChannels, channels / groups, kernel height, kernel width]. */
export interface Filters {
  readonly data: Float32Array;
  /** Identifies data and bias. */
  readonly key: string;
  /** One value for each output channel. */
  readonly bias?: Float32Array;
}

/** Feature maps [batch, channels, height, width]. */
export interface Maps extends Limits {
  readonly x: Address;
  /** Not x. */
  readonly y: Address;
  /** Added before the clamp; of y's shape; may be y itself except in depthwise convolutions. */
  readonly residual?: Address;
}

/** y = clamp(x ∗ weight + bias + residual, lo, hi); lo and hi are unlimited by default. A 1-D convolution has height 1. */
export function convolution(e: Emitter, filters: Filters, geometry: Geometry, maps: Maps): void {
  const { channels, outChannels, groups, kernel, strides, pads, outHeight, outWidth, batch } = geometry;
  if (batch * outChannels * outHeight * outWidth === 0) return;
  check(
    channels % groups === 0 && outChannels % groups === 0,
    `convolution ${filters.key}: ${groups} groups divide neither ${channels} nor ${outChannels} channels`,
  );
  if (groups === channels && groups > 1) {
    depthwise(e, filters, geometry, maps);
    return;
  }
  const k = (channels / groups) * kernel[0] * kernel[1];
  const m = outChannels / groups;
  const plain = k === channels / groups && strides[0] * strides[1] === 1 && pads.every(pad => pad === 0);
  const a: Rows = {
    at: packFilters(e, filters, groups, m, k),
    mode: 0,
    ld: 0,
    step: paddedRows(m) * k,
    period: groups,
  };
  const b = plain ? pixels(geometry, maps.x, m) : patches(e, geometry, maps.x);
  const { bias, key } = filters;
  const rowBias = bias && e.constant(`${key} bias`, () => bias);
  const n = outHeight * outWidth;
  const residual = maps.residual === undefined ? undefined : { at: maps.residual };
  product(e, { c: { at: maps.y }, rowBias, residual, lo: maps.lo, hi: maps.hi }, a, b, {
    ...{ m, n, k, batch: batch * groups, alpha: 1 },
  });
}

const packFilters = (e: Emitter, { data, key }: Filters, groups: number, m: number, k: number): Address =>
  e.constant(`${key} filters ${groups} ${m}x${k}`, () => {
    const packed = new Float32Array(groups * paddedRows(m) * k);
    for (let group = 0; group < groups; group++) {
      const source = { data, offset: group * m * k, rowStride: k, columnStride: 1 };
      packed.set(packRows(source, m, k), group * paddedRows(m) * k);
    }
    return packed;
  });

/** A feature map is a matrix [channels, pixels]. */
function pixels({ channels, groups, outHeight, outWidth }: Geometry, x: Address, m: number): Panels {
  const ld = outHeight * outWidth;
  return { at: x, mode: m > 24 ? B_MODE.rows : B_MODE.direct, ld, step: (channels / groups) * ld, table: 0 };
}

/** The matrix of patches is never written: its panels are gathered from the padded image. */
function patches(e: Emitter, geometry: Geometry, x: Address): Panels {
  const { batch, channels, groups, height, width, kernel, strides, dilations, pads, outWidth } = geometry;
  let [rows, columns] = extent(geometry);
  let image = x;
  if (pads[0] === 0 && pads[1] === 0 && rows <= height && columns <= width) {
    [rows, columns] = [height, width];
  } else {
    const planes = batch * channels;
    image = e.scratch(planes * rows * columns * 4);
    e.step('padPlanes', x, image, planes, height, width, pads[0], pads[1], rows, columns, 0, 0);
  }
  const table = [outWidth, strides[1], strides[0] * columns * 4];
  for (let c = 0; c < channels / groups; c++) {
    for (let ky = 0; ky < kernel[0]; ky++) {
      for (let kx = 0; kx < kernel[1]; kx++) {
        table.push(4 * ((c * rows + ky * dilations[0]) * columns + kx * dilations[1]));
      }
    }
  }
  const key = `patches ${[channels / groups, kernel, dilations, rows, columns, strides, outWidth]}`;
  return {
    at: image,
    mode: B_MODE.patches,
    ld: 0,
    step: (channels / groups) * rows * columns,
    table: e.constant(key, () => Int32Array.from(table)),
  };
}

function depthwise(e: Emitter, { data, key, bias }: Filters, geometry: Geometry, maps: Maps): void {
  const { batch, channels, outChannels, height, width, strides, pads, outHeight, outWidth } = geometry;
  const { x, y, residual, lo = -Infinity, hi = Infinity } = maps;
  const { band, reach, pitch, run, table, taps, scratch, bytes } = bands(e, geometry);
  const filters = e.constant(`${key} depthwise`, () => data);
  const biases = bias ? e.constant(`${key} bias`, () => bias) : 0;
  const separate = residual !== undefined;
  e.step(
    'depthwise',
    ...[x, y, filters, biases, batch * outChannels, outChannels, outChannels / channels, height, width],
    ...[outHeight, outWidth, pads[0], pads[1], band, reach, pitch, strides[1], strides[0], table, taps, run],
    ...[separate ? -Infinity : lo, separate ? Infinity : hi, scratch, bytes],
  );
  if (residual === undefined) return;
  const dims = [batch * outChannels * outHeight * outWidth];
  binary(e, 'add', { a: y, b: residual, y, aDims: dims, bDims: dims, yDims: dims });
  if (lo !== -Infinity || hi !== Infinity) unary(e, 'clip', { x: y, y, size: dims[0], alpha: lo, beta: hi });
}

/**
 * The transpose of a convolution, ONNX ConvTranspose: weights are [channels, outChannels / groups, kernel height, kernel
 * width]; pads are taken away from the output, whose size the caller gives. y = clamp(… + bias, lo, hi).
 */
export function convTranspose(
  e: Emitter,
  { data, key, bias }: Filters,
  geometry: Geometry,
  { x, y, lo = -Infinity, hi = Infinity }: Omit<Maps, 'residual'>,
): void {
  const { batch, channels, height, width, outChannels, groups, kernel, strides, dilations, pads } = geometry;
  const { outHeight, outWidth } = geometry;
  if (batch * outChannels * outHeight * outWidth === 0) return;
  const k = channels / groups;
  const m = (outChannels / groups) * kernel[0] * kernel[1];
  const packed = e.constant(`${key} transposed filters ${groups} ${m}x${k}`, () => {
    const all = new Float32Array(groups * paddedRows(m) * k);
    for (let group = 0; group < groups; group++) {
      const source = { data, offset: group * m * k, rowStride: 1, columnStride: m };
      all.set(packRows(source, m, k), group * paddedRows(m) * k);
    }
    return all;
  });
  const n = height * width;
  const columns = e.scratch(batch * groups * m * n * 4);
  const a: Rows = { at: packed, mode: 0, ld: 0, step: paddedRows(m) * k, period: groups };
  const b: Panels = { at: x, mode: m > 24 ? B_MODE.rows : B_MODE.direct, ld: n, step: k * n, table: 0 };
  product(e, { c: { at: columns } }, a, b, { m, n, k, batch: batch * groups, alpha: 1 });
  e.step(
    'foldColumns',
    ...[columns, y, batch * outChannels, outChannels, height, width, outHeight, outWidth, ...kernel],
    ...[...strides, ...dilations, pads[0], pads[1], bias ? e.constant(`${key} bias`, () => bias) : 0, lo, hi],
  );
}
