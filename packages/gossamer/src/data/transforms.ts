import { check, type NDArray, type Random } from '@gossamer/tensor';
import type { Batch } from './dataset.ts';
import { empty } from './rows.ts';

export interface TransformContext {
  /** Which sample of the data set each row of the batch is. */
  readonly indices: ArrayLike<number>;
  readonly epoch: number;
  /** A stream for this transform and epoch. Random transforms draw from it by sample index, not by place in the batch. */
  readonly random: Random;
}

/** A change of a batch on its way to the model. It returns new arrays and leaves the ones it was given alone. */
export type Transform = (batch: Batch, context: TransformContext) => Batch | Promise<Batch>;

interface FieldOption {
  /** The field that is changed, images [n, channels, height, width]; default `inputs`. */
  field?: string;
}

/** Several transforms as one, in order. */
export function compose(...transforms: readonly Transform[]): Transform {
  return async (batch, context) => {
    for (const [place, transform] of transforms.entries()) {
      batch = await transform(batch, { ...context, random: context.random.fork(place) });
    }
    return batch;
  };
}

/** uint8 0…255 as float32 0…1. Other types are converted without scaling. */
export function toFloat({ field = 'inputs' }: FieldOption = {}): Transform {
  return onField(field, 'toFloat', array => {
    const scale = array.dtype === 'uint8' ? 255 : 1;
    return {
      dtype: 'float32',
      shape: array.shape,
      data: Float32Array.from(array.data as Float32Array, v => Number(v) / scale),
    };
  });
}

/**
 * (x − mean) / std by channel, float32. uint8 pixels are divided by 255 first, so mean and std are always those of
 * values 0…1. One number stands for all channels.
 */
export function normalize(
  mean: number | readonly number[],
  std: number | readonly number[],
  options: FieldOption = {},
): Transform {
  let tables: Float32Array[] = [];
  return onField(options.field ?? 'inputs', 'normalize', array => {
    const channels = array.shape[1] ?? 1;
    const [means, stds] = [perChannel(mean, channels, 'mean'), perChannel(std, channels, 'std')];
    const plane = array.shape.slice(2).reduce((n, d) => n * d, 1);
    const data = new Float32Array(array.data.length);
    const bytes = array.dtype === 'uint8';
    // Bytes have 256 values: a table is several times faster than arithmetic.
    if (bytes && tables.length !== channels) {
      tables = means.map((m, c) => Float32Array.from({ length: 256 }, (_, v) => (v / 255 - m) / stds[c]));
    }
    for (let at = 0, c = 0; at < data.length; at += plane, c = (c + 1) % channels) {
      if (bytes) translate(array.data as Uint8Array, tables[c], data, at, at + plane);
      else scale(array.data as Float32Array, means[c], stds[c], data, at, at + plane);
    }
    return { dtype: 'float32', shape: array.shape, data };
  });
}

// Loops of their own, each for one type of array: the engine compiles them once, and well.

function translate(from: Uint8Array, table: Float32Array, to: Float32Array, start: number, end: number): void {
  for (let i = start; i < end; i++) to[i] = table[from[i]];
}

function scale(from: Float32Array, mean: number, std: number, to: Float32Array, start: number, end: number): void {
  for (let i = start; i < end; i++) to[i] = (from[i] - mean) / std;
}

export interface RandomCropOptions extends FieldOption {
  /** Pixels of `fill` added on each side before the crop; default 4. */
  padding?: number;
  /** Side or [height, width] of the crop; default the image's own size. */
  size?: number | readonly [number, number];
  /** Value of the padding; default 0. */
  fill?: number;
}

/** A window at a random place of the padded image, for each sample its own. */
export function randomCrop({ padding = 4, size, fill = 0, field = 'inputs' }: RandomCropOptions = {}): Transform {
  return onImages(field, 'randomCrop', (images, context) => {
    const [, , height, width] = images.shape;
    const [h, w] = size === undefined ? [height, width] : pair(size);
    const [rangeY, rangeX] = [height + 2 * padding - h + 1, width + 2 * padding - w + 1];
    check(rangeY > 0 && rangeX > 0, () => `randomCrop: ${h}×${w} does not fit ${height}×${width} padded by ${padding}`);
    return window(images, h, w, fill, draws(context, 2), (u, v) => [
      Math.floor(u * rangeY) - padding,
      Math.floor(v * rangeX) - padding,
    ]);
  });
}

/** The middle `size` × `size` (or [height, width]) pixels, padded with 0 where the image is smaller. */
export function centerCrop(
  size: number | readonly [number, number],
  { field = 'inputs' }: FieldOption = {},
): Transform {
  const [h, w] = pair(size);
  return onImages(field, 'centerCrop', images => {
    const [count, , height, width] = images.shape;
    const corner: [number, number] = [Math.round((height - h) / 2), Math.round((width - w) / 2)];
    return window(images, h, w, 0, new Float32Array(2 * count), () => corner);
  });
}

/** Mirrors each image left to right with `probability` (default ½). */
export function horizontalFlip({
  probability = 0.5,
  field = 'inputs',
}: FieldOption & { probability?: number } = {}): Transform {
  return onImages(field, 'horizontalFlip', (images, context) => {
    const [count, channels, height, width] = images.shape;
    const coin = draws(context, 1);
    const result = empty(images, images.shape);
    const [source, target] = [images.data as Float32Array, result.data as Float32Array];
    const size = channels * height * width;
    for (let n = 0; n < count; n++) {
      const end = (n + 1) * size;
      if (coin[n] >= probability) target.set(source.subarray(n * size, end), n * size);
      else {
        for (let row = n * size; row < end; row += width) {
          for (let x = 0; x < width; x++) target[row + x] = source[row + width - 1 - x];
        }
      }
    }
    return result;
  });
}

export interface CutoutOptions extends FieldOption {
  /** Side of the square in pixels. */
  size: number;
  /** Its value; default 0 (the mean, after `normalize`). */
  fill?: number;
}

/** Blanks a square whose centre lies anywhere in the image, clipped at the border (DeVries & Taylor, arXiv:1708.04552). */
export function cutout({ size, fill = 0, field = 'inputs' }: CutoutOptions): Transform {
  return onImages(field, 'cutout', (images, context) => {
    const [count, channels, height, width] = images.shape;
    const centre = draws(context, 2);
    const result = { ...images, data: images.data.slice() };
    for (let n = 0; n < count; n++) {
      const top = Math.floor(centre[2 * n] * height) - (size >> 1);
      const left = Math.floor(centre[2 * n + 1] * width) - (size >> 1);
      const [start, stop] = [Math.max(left, 0), Math.min(left + size, width)];
      for (let c = 0; c < channels; c++) {
        for (let y = Math.max(top, 0); y < Math.min(top + size, height); y++) {
          const row = ((n * channels + c) * height + y) * width;
          (result.data as Float32Array).fill(fill, row + start, row + stop);
        }
      }
    }
    return result;
  });
}

/** Scales images to `size` × `size` (or [height, width]): bilinear, pixel centres at ½, no low-pass filter. */
export function resize(size: number | readonly [number, number], { field = 'inputs' }: FieldOption = {}): Transform {
  const [h, w] = pair(size);
  return onImages(field, 'resize', images => {
    const [count, channels, height, width] = images.shape;
    const result = empty(images, [count, channels, h, w]);
    const [ys, xs] = [taps(height, h), taps(width, w)];
    const source = images.data as Float32Array;
    const target = result.data as Float32Array;
    // Integer arrays truncate on assignment; +½ makes that rounding.
    const half = images.dtype.startsWith('float') ? 0 : 0.5;
    for (let plane = 0, at = 0; plane < count * channels; plane++) {
      for (let y = 0; y < h; y++) {
        const [upper, lower] = [(plane * height + ys.low[y]) * width, (plane * height + ys.high[y]) * width];
        for (let x = 0; x < w; x++, at++) {
          const [l, r, f] = [xs.low[x], xs.high[x], xs.weight[x]];
          const top = source[upper + l] + f * (source[upper + r] - source[upper + l]);
          const bottom = source[lower + l] + f * (source[lower + r] - source[lower + l]);
          target[at] = top + ys.weight[y] * (bottom - top) + half;
        }
      }
    }
    return result;
  });
}

/** The two source pixels of each target pixel along one axis, and the weight of the second. */
function taps(from: number, to: number) {
  const centres = Float64Array.from({ length: to }, (_, i) =>
    Math.min(Math.max(((i + 0.5) * from) / to - 0.5, 0), from - 1),
  );
  const low = Int32Array.from(centres, Math.floor);
  return { low, high: low.map(i => Math.min(i + 1, from - 1)), weight: centres.map((c, i) => c - low[i]) };
}

/** Cuts an h×w window from each image, its corner by sample; outside the image lies `fill`. */
function window(
  images: NDArray,
  h: number,
  w: number,
  fill: number,
  uniforms: Float32Array,
  corner: (u: number, v: number) => [top: number, left: number],
): NDArray {
  const [count, channels, height, width] = images.shape;
  const result = empty(images, [count, channels, h, w]);
  const [source, target] = [images.data as Float32Array, result.data as Float32Array];
  if (fill !== 0) target.fill(fill);
  for (let n = 0; n < count; n++) {
    const [top, left] = corner(uniforms[2 * n], uniforms[2 * n + 1]);
    const [start, stop] = [Math.max(0, -left), Math.min(w, width - left)];
    if (start >= stop) continue;
    for (let c = 0; c < channels; c++) {
      const [from, to] = [(n * channels + c) * height, (n * channels + c) * h];
      for (let y = Math.max(0, -top); y < Math.min(h, height - top); y++) {
        const row = (from + top + y) * width + left;
        target.set(source.subarray(row + start, row + stop), (to + y) * w + start);
      }
    }
  }
  return result;
}

/** `perSample` uniform numbers for each row, which depend on the sample and the context's stream alone. */
function draws({ indices, random }: TransformContext, perSample: number): Float32Array {
  const result = new Float32Array(indices.length * perSample);
  for (let n = 0; n < indices.length; n++) {
    random.counter = indices[n] * Math.ceil(perSample / 2);
    random.uniform(result.subarray(n * perSample, (n + 1) * perSample));
  }
  return result;
}

function onField(
  field: string,
  name: string,
  change: (array: NDArray, context: TransformContext) => NDArray,
): Transform {
  return (batch, context) => {
    check(field in batch, () => `${name}: no field '${field}'; the batch has ${Object.keys(batch).join(', ')}`);
    return { ...batch, [field]: change(batch[field], context) };
  };
}

function onImages(
  field: string,
  name: string,
  change: (images: NDArray, context: TransformContext) => NDArray,
): Transform {
  return onField(field, name, (images, context) => {
    check(
      images.shape.length === 4,
      () => `${name}: '${field}' is [${images.shape}], expected [n, channels, height, width]`,
    );
    return change(images, context);
  });
}

const pair = (size: number | readonly [number, number]): readonly [number, number] =>
  typeof size === 'number' ? [size, size] : size;

function perChannel(value: number | readonly number[], channels: number, name: string): number[] {
  const list = typeof value === 'number' ? new Array<number>(channels).fill(value) : [...value];
  check(list.length === channels, () => `normalize: ${name} has ${list.length} values for ${channels} channels`);
  return list;
}
