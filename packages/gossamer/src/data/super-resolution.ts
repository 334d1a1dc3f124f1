import { check, formatShape, type NDArray, Random } from '@gossamer/tensor';
import { type Batch, Dataset } from './dataset.ts';

// Single-image super-resolution: the degradation and the measures that its literature shares, and patches to learn from.

/** An image of floats, [channels, height, width]. */
export type Image = NDArray<Float32Array>;

/** uint8 pixels as 0…1. */
export const toUnit = ({ shape, data }: NDArray<Uint8Array>): Image => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from(data, v => v / 255),
});

/** Keys' cubic kernel with a = −½ (1981). */
function cubic(x: number): number {
  const d = Math.abs(x);
  if (d <= 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

/** Where each position of a resized axis reads, and how much. */
function taps(from: number, to: number): { first: number; weights: Float64Array }[] {
  const scale = to / from;
  // Shrinking widens the kernel, which takes away what the smaller image cannot hold (antialiasing).
  const stretch = Math.min(1, scale);
  const width = 4 / stretch;
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) / scale - 0.5;
    const first = Math.floor(centre - width / 2) + 1;
    const weights = Float64Array.from({ length: Math.ceil(width) + 1 }, (_, k) =>
      cubic(stretch * (centre - first - k)),
    );
    const sum = weights.reduce((a, b) => a + b);
    return { first, weights: weights.map(w => w / sum) };
  });
}

/** A position outside of an axis, reflected at its ends (the border pixel twice). */
function reflected(i: number, length: number): number {
  const period = 2 * length;
  const at = ((i % period) + period) % period;
  return at < length ? at : period - 1 - at;
}

/**
 * Bicubic resizing as Matlab's `imresize` does it: kernel a = −½, antialiased when it shrinks, borders reflected. It is
 * what the low-resolution images of the benchmarks are made with; libraries without antialiasing give other numbers.
 */
export function resizeBicubic(image: Image, [height, width]: readonly [number, number]): Image {
  const [channels, fromHeight, fromWidth] = image.shape;
  const [rows, columns] = [taps(fromHeight, height), taps(fromWidth, width)];
  const tall = new Float64Array(channels * height * fromWidth);
  for (let c = 0; c < channels; c++) {
    rows.forEach(({ first, weights }, y) => {
      const to = (c * height + y) * fromWidth;
      weights.forEach((w, k) => {
        const row = (c * fromHeight + reflected(first + k, fromHeight)) * fromWidth;
        for (let x = 0; x < fromWidth; x++) tall[to + x] += w * image.data[row + x];
      });
    });
  }
  const data = new Float32Array(channels * height * width);
  for (let row = 0; row < channels * height; row++) {
    columns.forEach(({ first, weights }, x) => {
      let sum = 0;
      for (let k = 0; k < weights.length; k++)
        sum += weights[k] * tall[row * fromWidth + reflected(first + k, fromWidth)];
      data[row * width + x] = sum;
    });
  }
  return { dtype: 'float32', shape: [channels, height, width], data };
}

/** A photograph and its degraded form, whose sides are `scale` times smaller. */
export interface Pair {
  readonly high: Image;
  readonly low: Image;
}

/** Crops an image to multiples of `scale` and shrinks it by bicubic interpolation, rounded to 256 levels as files are. */
export function degrade(high: Image, scale: number): Pair {
  const [channels, height, width] = high.shape;
  const [h, w] = [Math.floor(height / scale), Math.floor(width / scale)];
  check(h > 0 && w > 0, () => `degrade: an image of ${formatShape(high.shape)} is smaller than the scale ${scale}`);
  const cropped = crop(high, 0, 0, h * scale, w * scale);
  const low = resizeBicubic(cropped, [h, w]);
  check(channels === 3 || channels === 1, () => `degrade: ${channels} channels; expected 1 or 3`);
  return {
    high: cropped,
    low: { ...low, data: low.data.map(v => Math.round(255 * Math.min(1, Math.max(0, v))) / 255) },
  };
}

function crop(
  { shape: [channels, height, width], data }: Image,
  top: number,
  left: number,
  h: number,
  w: number,
): Image {
  const out = new Float32Array(channels * h * w);
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < h; y++) {
      const from = (c * height + top + y) * width + left;
      out.set(data.subarray(from, from + w), (c * h + y) * w);
    }
  }
  return { dtype: 'float32', shape: [channels, h, w], data: out };
}

/** Repeats the last row and column until an image has this size, which networks with windows ask for. */
export function extend({ shape: [channels, h, w], data }: Image, [height, width]: readonly [number, number]): Image {
  check(
    height >= h && width >= w,
    () => `extend: ${h} × ${w} to ${height} × ${width}; expected a size that is no smaller`,
  );
  const out = new Float32Array(channels * height * width);
  for (let row = 0; row < channels * height; row++) {
    const from = (Math.floor(row / height) * h + Math.min(row % height, h - 1)) * w;
    for (let x = 0; x < width; x++) out[row * width + x] = data[from + Math.min(x, w - 1)];
  }
  return { dtype: 'float32', shape: [channels, height, width], data: out };
}

/** Luma Y of BT.601 in 16/255 … 235/255 from RGB in 0…1, as Matlab's `rgb2ycbcr`: what PSNR is measured on. */
export function luma({ shape: [channels, height, width], data }: Image): Image {
  check(channels === 3, () => `luma: ${channels} channels; expected red, green and blue`);
  const plane = height * width;
  const out = new Float32Array(plane);
  for (let i = 0; i < plane; i++) {
    out[i] = (16 + 65.481 * data[i] + 128.553 * data[plane + i] + 24.966 * data[2 * plane + i]) / 255;
  }
  return { dtype: 'float32', shape: [1, height, width], data: out };
}

function sameShape(name: string, a: Image, b: Image, border: number): void {
  const [, height, width] = a.shape;
  check(
    a.shape.every((n, i) => n === b.shape[i]) && Math.min(height, width) > 2 * border,
    () =>
      `${name}: images of ${formatShape(a.shape)} and ${formatShape(b.shape)}, border ${border}; expected equal shapes, larger than the border`,
  );
}

/** Peak signal-to-noise ratio in dB of values 0…1, without `border` pixels at each side; ∞ for equal images. */
export function psnr(a: Image, b: Image, border = 0): number {
  sameShape('psnr', a, b, border);
  const [channels, height, width] = a.shape;
  let sum = 0;
  for (let c = 0; c < channels; c++) {
    for (let y = border; y < height - border; y++) {
      for (let x = border; x < width - border; x++) {
        const i = (c * height + y) * width + x;
        sum += (a.data[i] - b.data[i]) ** 2;
      }
    }
  }
  const count = channels * (height - 2 * border) * (width - 2 * border);
  return sum === 0 ? Infinity : 10 * Math.log10(count / sum);
}

/**
 * Structural similarity (Wang et al. 2004) of values 0…1: mean over all places of an 11 × 11 Gaussian window (σ 1.5), with
 * K₁ 0.01 and K₂ 0.03, after cutting `border` pixels; the mean over channels.
 */
export function ssim(a: Image, b: Image, border = 0): number {
  sameShape('ssim', a, b, border + 5);
  const [channels, height, width] = a.shape;
  const [h, w] = [height - 2 * border, width - 2 * border];
  const [left, right] = [a, b].map(image => crop(image, border, border, h, w).data);
  const product = (p: Float32Array, q: Float32Array) => p.map((v, i) => v * q[i]);
  const blurred = [left, right, product(left, left), product(right, right), product(left, right)].map(data =>
    gaussian(data, channels, h, w),
  );
  const [ma, mb, aa, bb, ab] = blurred;
  const [c1, c2] = [0.01 ** 2, 0.03 ** 2];
  let sum = 0;
  for (let i = 0; i < ma.length; i++) {
    const [va, vb, covariance] = [aa[i] - ma[i] ** 2, bb[i] - mb[i] ** 2, ab[i] - ma[i] * mb[i]];
    sum += ((2 * ma[i] * mb[i] + c1) * (2 * covariance + c2)) / ((ma[i] ** 2 + mb[i] ** 2 + c1) * (va + vb + c2));
  }
  return sum / ma.length;
}

const window = (() => {
  const raw = Array.from({ length: 11 }, (_, i) => Math.exp(-((i - 5) ** 2) / (2 * 1.5 ** 2)));
  const sum = raw.reduce((x, y) => x + y);
  return raw.map(v => v / sum);
})();

/** Gaussian means at the places where the whole window lies inside. */
function gaussian(data: Float32Array, channels: number, height: number, width: number): Float64Array {
  const [h, w] = [height - 10, width - 10];
  const rows = new Float64Array(channels * height * w);
  for (let row = 0; row < channels * height; row++) {
    for (let x = 0; x < w; x++) {
      let sum = 0;
      for (let k = 0; k < 11; k++) sum += window[k] * data[row * width + x + k];
      rows[row * w + x] = sum;
    }
  }
  const out = new Float64Array(channels * h * w);
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        let sum = 0;
        for (let k = 0; k < 11; k++) sum += window[k] * rows[(c * height + y + k) * w + x];
        out[(c * h + y) * w + x] = sum;
      }
    }
  }
  return out;
}

/**
 * Patches of photographs: `inputs` [n, channels, patch, patch] and `targets` [n, channels, patch·scale, patch·scale],
 * float32 0…1. Sample i is always the same patch: its photograph (in proportion to area), place, and one of the eight
 * flips and turns are drawn from the seed and i.
 */
export class PatchDataset extends Dataset {
  readonly length: number;
  readonly #pairs: readonly Pair[];
  readonly #patch: number;
  readonly #scale: number;
  readonly #random: Random;

  /**
   * @param patch height and width of a low-resolution patch
   * @param count number of different patches
   */
  constructor(pairs: readonly Pair[], { patch, count, seed = 0 }: { patch: number; count: number; seed?: number }) {
    super();
    check(pairs.length > 0, 'PatchDataset: no photographs');
    const [{ high, low }] = pairs;
    this.#scale = high.shape[1] / low.shape[1];
    for (const { high, low } of pairs) {
      check(
        [1, 2].every(axis => high.shape[axis] === this.#scale * low.shape[axis]),
        () => `PatchDataset: ${formatShape(low.shape)} is not ${formatShape(high.shape)} shrunk ${this.#scale} times`,
      );
      check(
        Math.min(low.shape[1], low.shape[2]) >= patch,
        () => `PatchDataset: an image of ${formatShape(low.shape)} is smaller than a patch of ${patch} × ${patch}`,
      );
    }
    this.#pairs = pairs;
    this.#patch = patch;
    this.length = count;
    this.#random = new Random(seed).fork('patches');
  }

  override async batch(indices: ArrayLike<number>): Promise<Batch> {
    const chosen = Array.from(indices, i => this.#at(i));
    const stack = (images: readonly Image[]): NDArray => {
      const size = images[0].data.length;
      const data = new Float32Array(images.length * size);
      for (const [i, image] of images.entries()) data.set(image.data, i * size);
      return { dtype: 'float32', shape: [images.length, ...images[0].shape], data };
    };
    return { inputs: stack(chosen.map(p => p.low)), targets: stack(chosen.map(p => p.high)) };
  }

  #at(index: number): Pair {
    const [which, y, x, turn] = this.#random.fork(index).uniform(4);
    const areas = this.#pairs.map(({ low }) => low.shape[1] * low.shape[2]);
    let left = which * areas.reduce((a, b) => a + b);
    const found = areas.findIndex(area => (left -= area) < 0);
    const { high, low } = this.#pairs[found < 0 ? areas.length - 1 : found];
    const [patch, scale] = [this.#patch, this.#scale];
    const top = Math.floor(y * (low.shape[1] - patch + 1));
    const side = Math.floor(x * (low.shape[2] - patch + 1));
    const kind = Math.floor(8 * turn);
    return {
      low: turned(crop(low, top, side, patch, patch), kind),
      high: turned(crop(high, top * scale, side * scale, patch * scale, patch * scale), kind),
    };
  }
}

/** One of the eight symmetries of a square image: bits for mirroring x, mirroring y, and exchanging the two. */
function turned({ shape, data }: Image, kind: number): Image {
  const [channels, size] = shape;
  const out = new Float32Array(data.length);
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        let [v, u] = kind & 4 ? [x, y] : [y, x];
        if (kind & 1) u = size - 1 - u;
        if (kind & 2) v = size - 1 - v;
        out[(c * size + y) * size + x] = data[(c * size + v) * size + u];
      }
    }
  }
  return { dtype: 'float32', shape, data: out };
}
