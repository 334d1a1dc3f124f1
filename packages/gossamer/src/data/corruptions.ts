import { check, type NDArray } from '@gossamer/tensor';
import { empty } from './rows.ts';
import type { Transform, TransformContext } from './transforms.ts';

// Corrupted test images, to see how a model does away from what it was trained on. Hendrycks & Dietterich 2019,
// "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations": three of its kinds, three levels.

/** What each level means: standard deviation of the noise (of 0…1), of the blur in pixels, and the contrast that stays. */
export const corruptions = {
  'gaussian-noise': [0.04, 0.08, 0.12],
  blur: [0.6, 1, 1.5],
  contrast: [0.5, 0.3, 0.15],
} as const;

export type Corruption = keyof typeof corruptions;
export type CorruptionLevel = 1 | 2 | 3;

/**
 * Corrupts images [n, channels, height, width]: uint8 0…255, or floats 0…1 — before they are normalised. The result has
 * the same type and range. Noise depends on the sample and the context's stream alone.
 *
 * ```ts
 * const noisy = new DataLoader(test, { transforms: [corrupt('gaussian-noise', 2), normalize(mean, std)] });
 * ```
 */
export function corrupt(
  kind: Corruption,
  level: CorruptionLevel,
  { field = 'inputs' }: { field?: string } = {},
): Transform {
  check(
    kind in corruptions,
    () => `corrupt: no corruption '${kind}'; there are ${Object.keys(corruptions).join(', ')}`,
  );
  const amount = corruptions[kind][level - 1];
  check(amount !== undefined, () => `corrupt: level ${level}; expected 1, 2 or 3`);
  return (batch, context) => {
    check(field in batch, () => `corrupt: no field '${field}'; the batch has ${Object.keys(batch).join(', ')}`);
    const images = batch[field];
    check(
      images.shape.length === 4 && (images.dtype === 'uint8' || images.dtype === 'float32'),
      () =>
        `corrupt: '${field}' is ${images.dtype} [${images.shape}], expected uint8 or float32 [n, channels, height, width]`,
    );
    return { ...batch, [field]: quantized(images, kinds[kind](unitRange(images), images.shape, amount, context)) };
  };
}

type Change = (x: Float32Array, shape: readonly number[], amount: number, context: TransformContext) => Float32Array;

const kinds: Record<Corruption, Change> = {
  'gaussian-noise': (x, [, channels, height, width], std, { indices, random }) => {
    const size = channels * height * width;
    for (let n = 0; n < indices.length; n++) {
      const noise = random.fork(indices[n]).normal(size, 0, std);
      for (let i = 0; i < size; i++) x[n * size + i] += noise[i];
    }
    return x;
  },
  blur: (x, [count, channels, height, width], sigma) => {
    const kernel = gaussian(sigma);
    const planes = count * channels;
    const rows = convolved(x, planes * height, width, 1, width, kernel);
    // Columns: each plane is `width` interleaved lines.
    const result = new Float32Array(x.length);
    for (let p = 0; p < planes; p++) {
      const plane = rows.subarray(p * height * width, (p + 1) * height * width);
      result.set(convolved(plane, width, height, width, 1, kernel), p * height * width);
    }
    return result;
  },
  contrast: (x, [count, channels, height, width], stays) => {
    const size = height * width;
    for (let p = 0; p < count * channels; p++) {
      const plane = x.subarray(p * size, (p + 1) * size);
      const mean = plane.reduce((sum, v) => sum + v, 0) / size;
      for (let i = 0; i < size; i++) plane[i] = mean + stays * (plane[i] - mean);
    }
    return x;
  },
};

/** Weights of a Gaussian at −r … r with r = ⌈3σ⌉, which add up to 1. */
function gaussian(sigma: number): Float64Array {
  const radius = Math.ceil(3 * sigma);
  const weights = Float64Array.from({ length: 2 * radius + 1 }, (_, i) =>
    Math.exp(-((i - radius) ** 2) / 2 / sigma ** 2),
  );
  const sum = weights.reduce((a, b) => a + b);
  return weights.map(w => w / sum);
}

/** Lines of `length` elements `step` apart, the next one `next` further on; beyond its ends a line goes on unchanged. */
function convolved(
  x: Float32Array,
  lines: number,
  length: number,
  step: number,
  next: number,
  kernel: Float64Array,
): Float32Array {
  const result = new Float32Array(x.length);
  const radius = kernel.length >> 1;
  for (let l = 0; l < lines; l++) {
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (let k = -radius; k <= radius; k++) {
        const from = Math.min(length - 1, Math.max(0, i + k));
        sum += kernel[k + radius] * x[l * next + from * step];
      }
      result[l * next + i * step] = sum;
    }
  }
  return result;
}

/** A copy as floats 0…1. */
function unitRange({ dtype, data }: NDArray): Float32Array {
  if (dtype === 'uint8') return Float32Array.from(data as Uint8Array, v => v / 255);
  const x = Float32Array.from(data as Float32Array);
  const outside = x.find(v => !(v >= 0 && v <= 1));
  check(
    outside === undefined,
    () => `corrupt: a pixel is ${outside}, expected 0…1; corrupt images before they are normalised`,
  );
  return x;
}

/** Cut to 0…1, as the type of `like`. */
function quantized(like: NDArray, x: Float32Array): NDArray {
  const result = empty(like, like.shape);
  const scale = like.dtype === 'uint8' ? 255 : 1;
  const half = like.dtype === 'uint8' ? 0.5 : 0;
  const target = result.data as Float32Array;
  for (let i = 0; i < x.length; i++) target[i] = Math.min(1, Math.max(0, x[i])) * scale + half;
  return result;
}
