/** Resizing of planes, as ONNX Resize does: neighbours and weights are found here, once for each shape. */
import type { Address, Emitter } from '../plan/emitter.ts';

/** Attributes of ONNX Resize that this kernel has; anything else belongs to the plain operator. */
export interface Resize {
  readonly x: Address;
  readonly y: Address;
  readonly planes: number;
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
  /** [vertical, horizontal]; default out / in. Where the model gives scales, they differ from it by rounding. */
  readonly scales?: readonly [number, number];
  readonly mode: 'nearest' | 'linear';
  /** Default half_pixel. */
  readonly coordinates?: 'half_pixel' | 'pytorch_half_pixel' | 'half_pixel_symmetric' | 'align_corners' | 'asymmetric';
  /** Default round_prefer_floor. */
  readonly nearest?: 'round_prefer_floor' | 'round_prefer_ceil' | 'floor' | 'ceil';
}

/** Float32 x[planes, height, width] to y[planes, outHeight, outWidth], bilinear or by nearest neighbours; no antialiasing. */
export function resize(e: Emitter, options: Resize): void {
  const { x, y, planes, height, width, outHeight, outWidth, mode } = options;
  if (planes * outHeight * outWidth === 0) return;
  const scales = options.scales ?? [outHeight / height, outWidth / width];
  const rows = positions(height, outHeight, scales[0], options);
  const columns = positions(width, outWidth, scales[1], options);
  const args = [x, y, planes, height, width, outHeight, outWidth];
  const all = [...rows, ...columns];
  if (mode === 'nearest') {
    const round = NEAREST[options.nearest ?? 'round_prefer_floor'];
    const sizes = [...rows.map(() => height), ...columns.map(() => width)];
    const table = all.map((at, i) => clamp(round(at), sizes[i]));
    e.step(
      'resizeNearest',
      ...args,
      e.constant(`nearest ${table}`, () => Int32Array.from(table)),
    );
    return;
  }
  const make = () => {
    const table = new Int32Array(3 * all.length);
    const weights = new Float32Array(table.buffer);
    for (const [i, at] of all.entries()) {
      const size = i < outHeight ? height : width;
      const inside = Math.min(Math.max(at, 0), size - 1);
      const first = Math.floor(inside);
      table.set([first, clamp(first + 1, size)], 3 * i);
      weights[3 * i + 2] = inside - first;
    }
    return table;
  };
  const bytes = Math.ceil((width * 4 + 16) / 64) * 64;
  e.step(
    'resizeLinear',
    ...args,
    e.constant(`linear ${height} ${width} ${all}`, make),
    e.scratch(bytes * e.threads),
    bytes,
  );
}

const clamp = (index: number, size: number): number => Math.min(Math.max(index, 0), size - 1);

const NEAREST: Record<NonNullable<Resize['nearest']>, (at: number) => number> = {
  round_prefer_floor: at => Math.ceil(at - 0.5),
  round_prefer_ceil: at => Math.floor(at + 0.5),
  floor: Math.floor,
  ceil: Math.ceil,
};

/** Where each output position lies in the input. */
function positions(size: number, out: number, scale: number, { coordinates = 'half_pixel' }: Resize): number[] {
  const length = size * scale;
  const place: Record<NonNullable<Resize['coordinates']>, (i: number) => number> = {
    half_pixel: i => (i + 0.5) / scale - 0.5,
    pytorch_half_pixel: i => (length > 1 ? (i + 0.5) / scale - 0.5 : 0),
    half_pixel_symmetric: i => (size / 2) * (1 - out / length) + (i + 0.5) / scale - 0.5,
    align_corners: i => (length === 1 ? 0 : (i * (size - 1)) / (length - 1)),
    asymmetric: i => i / scale,
  };
  return Array.from({ length: out }, (_, i) => place[coordinates](i));
}
