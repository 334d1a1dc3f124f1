/** Geometry that convolutions and pooling share: a window that slides over padded planes. */
import type { Address, Emitter } from '../plan/emitter.ts';

/** All pairs are [vertical, horizontal]; lengths in elements. */
export interface Window {
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  /** [top, left, bottom, right], not negative. */
  readonly pads: readonly [number, number, number, number];
  readonly outHeight: number;
  readonly outWidth: number;
}

/** Rows and columns of the padded plane that the window touches. */
export function extent({ kernel, strides, dilations, outHeight, outWidth }: Window): [rows: number, columns: number] {
  return [
    (outHeight - 1) * strides[0] + (kernel[0] - 1) * dilations[0] + 1,
    (outWidth - 1) * strides[1] + (kernel[1] - 1) * dilations[1] + 1,
  ];
}

/** Constant integers under a key that is their content. */
export const integers = (e: Emitter, name: string, values: readonly number[]): Address =>
  e.constant(`${name} ${values.join()}`, () => Int32Array.from(values));

/** How per-plane kernels lay out and read their padded bands: see `conv-plane.ts` of the assembly. */
export function bands(e: Emitter, window: Window) {
  const { kernel, strides, dilations, outHeight } = window;
  // Slack for stores of whole vectors.
  const pitch = Math.ceil(extent(window)[1] / strides[1]) + 3;
  const taps: number[] = [];
  for (let ky = 0; ky < kernel[0]; ky++) {
    for (let kx = 0; kx < kernel[1]; kx++) {
      const column = kx * dilations[1];
      const inRow = (column % strides[1]) * pitch + Math.floor(column / strides[1]);
      taps.push(4 * (ky * dilations[0] * pitch * strides[1] + inRow));
    }
  }
  const reach = (kernel[0] - 1) * dilations[0] + 1;
  const rowFloats = pitch * strides[1];
  // Two bands should stay in a 48 kB cache beside the outputs; bands of sevens suit the tiles.
  const fitting = Math.floor((4096 / rowFloats - reach) / strides[0] / 7) * 7;
  const band = Math.min(outHeight, Math.max(7, fitting));
  const bytes = Math.ceil((2 * ((band - 1) * strides[0] + reach) * rowFloats * 4 + 160) / 64) * 64;
  return {
    ...{ band, reach, pitch, taps: taps.length, bytes },
    table: integers(e, 'taps', taps),
    scratch: e.scratch(bytes * e.threads),
    /** Whether taps come in threes of neighbours. */
    run: kernel[1] === 3 && strides[1] === 1 && dilations[1] === 1 ? 3 : 1,
  };
}
