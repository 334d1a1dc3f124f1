/** Pooling by sliding windows. Global pooling is a reduction: see `reduce`. */
import type { Address, Emitter } from '../plan/emitter.ts';
import { bands, type Window } from './dense-window.ts';

/**
 * y[batch, channels, outHeight, outWidth] from x[batch, channels, height, width]. With ceil_mode, outHeight and outWidth say
 * so. The average divides by the cells inside the image, or inside image and pads with `countIncludePad`.
 */
export function pool(
  e: Emitter,
  kind: 'max' | 'average',
  window: Window & { readonly countIncludePad?: boolean },
  { x, y }: { readonly x: Address; readonly y: Address },
): void {
  const { batch, channels, height, width, strides, pads, outHeight, outWidth } = window;
  if (batch * channels * outHeight * outWidth === 0) return;
  const { band, reach, pitch, table, taps, scratch, bytes } = bands(e, window);
  const counts = kind === 'max' ? [] : [0, 1].flatMap(axis => countAlong(window, axis as 0 | 1));
  const average = kind === 'max' ? 0 : 1;
  e.step(
    'pool',
    ...[x, y, batch * channels, height, width, outHeight, outWidth, pads[0], pads[1], band, reach, pitch],
    ...[strides[1], strides[0], table, taps, average],
    ...[average ? e.constant(`counts ${counts}`, () => Float32Array.from(counts)) : 0, scratch, bytes],
  );
}

/** Cells that count, for every output position along an axis. */
function countAlong(window: Window & { readonly countIncludePad?: boolean }, axis: 0 | 1): number[] {
  const { kernel, strides, dilations, pads, countIncludePad = false } = window;
  const size = axis ? window.width : window.height;
  const [from, to] = countIncludePad ? [-pads[axis], size + pads[axis + 2]] : [0, size];
  return Array.from({ length: axis ? window.outWidth : window.outHeight }, (_, i) => {
    let count = 0;
    for (let tap = 0; tap < kernel[axis]; tap++) {
      const at = i * strides[axis] + tap * dilations[axis] - pads[axis];
      if (at >= from && at < to) count++;
    }
    return count;
  });
}
