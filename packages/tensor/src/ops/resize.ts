import { check } from '../errors.ts';
import { formatShape, operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { type AxisMatrix, axisMatrix, mapAxes, transposed } from './axis-map.ts';
import { perAxis } from './window.ts';

/** How output positions map to input positions; ONNX's names. */
export type Coordinates = 'half_pixel' | 'half_pixel_symmetric' | 'pytorch_half_pixel' | 'align_corners' | 'asymmetric';

export type NearestRounding = 'round_prefer_floor' | 'round_prefer_ceil' | 'floor' | 'ceil';

export interface ResizeOptions {
  /** Spatial size of the result, one number or one for each spatial axis. Either this or `scale`. */
  size?: number | readonly number[];
  /** Factor of each spatial axis; the result has ⌊size·scale⌋ positions. */
  scale?: number | readonly number[];
  /** `linear` is bilinear on images, trilinear on volumes; `cubic` is for images only. Default `nearest`. */
  mode?: 'nearest' | 'linear' | 'cubic';
  /** Default `asymmetric` for nearest and `half_pixel` otherwise, as PyTorch's `interpolate`. */
  coordinates?: Coordinates;
  /** For nearest. Default `floor`. */
  rounding?: NearestRounding;
  /** Coefficient a of the cubic kernel. Default −0.75. */
  cubicCoefficient?: number;
  /** Cubic: leave taps outside of the image out, instead of repeating the border. Default false. */
  excludeOutside?: boolean;
}

interface Resize {
  readonly size: readonly number[];
  /** Absent when the size was given: then size ratios are the scales. */
  readonly scale?: readonly number[];
  readonly mode: 'nearest' | 'linear' | 'cubic';
  readonly coordinates: Coordinates;
  readonly rounding: NearestRounding;
  readonly cubicCoefficient: number;
  readonly excludeOutside: boolean;
}

function sourcePosition(o: number, n: number, out: number, scale: number, coordinates: Coordinates): number {
  switch (coordinates) {
    case 'half_pixel':
      return (o + 0.5) / scale - 0.5;
    case 'half_pixel_symmetric':
      return (n / 2) * (1 - out / (scale * n)) + (o + 0.5) / scale - 0.5;
    case 'pytorch_half_pixel':
      return out > 1 ? (o + 0.5) / scale - 0.5 : 0;
    case 'align_corners':
      return out > 1 ? (o * (n - 1)) / (out - 1) : 0;
    case 'asymmetric':
      return o / scale;
  }
}

const ROUND: Record<NearestRounding, (x: number) => number> = {
  round_prefer_floor: x => Math.ceil(x - 0.5),
  round_prefer_ceil: x => Math.floor(x + 0.5),
  floor: Math.floor,
  ceil: Math.ceil,
};

/** Keys' cubic convolution kernel (1981) at distance d. */
function cubicWeight(d: number, a: number): number {
  const x = Math.abs(d);
  if (x <= 1) return (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1;
  return x < 2 ? a * (x ** 3 - 5 * x ** 2 + 8 * x - 4) : 0;
}

/** Interpolation along one axis from `n` to `out` positions. */
function interpolation(n: number, out: number, scale: number, r: Resize): AxisMatrix {
  const m = axisMatrix(out, n);
  const clip = (p: number) => Math.min(n - 1, Math.max(0, p));
  for (let o = 0; o < out; o++) {
    const at = sourcePosition(o, n, out, scale, r.coordinates);
    const put = (p: number, weight: number) => {
      m.data[o * n + clip(p)] += weight;
    };
    if (r.mode === 'nearest') {
      put(ROUND[r.rounding](at), 1);
    } else if (r.mode === 'linear') {
      const inside = clip(at);
      const low = Math.floor(inside);
      put(low, 1 - (inside - low));
      put(low + 1, inside - low);
    } else {
      const low = Math.floor(at);
      const taps = [low - 1, low, low + 1, low + 2].filter(p => !r.excludeOutside || (p >= 0 && p < n));
      const weights = taps.map(p => cubicWeight(at - p, r.cubicCoefficient));
      const total = r.excludeOutside ? weights.reduce((s, w) => s + w, 0) : 1;
      taps.forEach((p, i) => {
        put(p, weights[i] / total);
      });
    }
  }
  return m;
}

const resizeOp = operator<Resize>({
  name: 'resize',
  infer: ([x], { size }) => ({ shape: [x.shape[0], x.shape[1], ...size], dtype: x.dtype }),
  gradient: ({ inputs: [x], grads: [g], attributes: a }) => {
    const matrices = x.shape.slice(2).map((n, i) => interpolation(n, a.size[i], a.scale?.[i] ?? a.size[i] / n, a));
    return [mapAxes(g, matrices.map(transposed))];
  },
  emit: (b, [x], { attributes: a, outputs: [{ shape }] }) => {
    const scales =
      a.scale && b.constant({ dtype: 'float32', shape: [2 + a.scale.length], data: Float32Array.of(1, 1, ...a.scale) });
    return b.node('Resize', [x, '', scales ?? '', scales ? '' : b.dims(shape)], {
      mode: a.mode,
      coordinate_transformation_mode: a.coordinates,
      ...(a.mode === 'nearest' && { nearest_mode: a.rounding }),
      ...(a.mode === 'cubic' && {
        cubic_coeff_a: b.float(a.cubicCoefficient),
        exclude_outside: Number(a.excludeOutside),
      }),
    });
  },
});

/**
 * Interpolates the spatial axes to another size (ONNX `Resize`, PyTorch `interpolate`). Outside of the input the border
 * repeats; shrinking does not smooth.
 *
 * @param x [batch, channels, ...space]
 */
export function resize(x: Tensor, options: ResizeOptions): Tensor {
  const { mode = 'nearest', size, scale } = options;
  const axes = x.rank - 2;
  check(
    axes >= 1 && axes <= 3 && (mode !== 'cubic' || axes === 2),
    () =>
      `resize: input ${formatShape(x.shape)}, mode ${mode}: expected [batch, channels, ...space] with ${mode === 'cubic' ? '2' : '1 to 3'} spatial axes`,
  );
  check((size === undefined) !== (scale === undefined), 'resize: give either size or scale');
  const scales =
    scale === undefined ? undefined : typeof scale === 'number' ? new Array<number>(axes).fill(scale) : [...scale];
  check(
    !scales || (scales.length === axes && scales.every(s => s > 0 && Number.isFinite(s))),
    () =>
      `resize: scale ${JSON.stringify(scale)}: expected positive numbers, one or one for each of ${axes} spatial axes`,
  );
  const target = scales
    ? scales.map((s, i) => Math.floor(x.shape[i + 2] * s))
    : perAxis('resize', 'size', size!, axes, 1);
  check(
    target.every(d => d > 0),
    () => `resize: scale ${JSON.stringify(scale)} leaves nothing of ${formatShape(x.shape)}`,
  );
  const coordinates = options.coordinates ?? (mode === 'nearest' ? 'asymmetric' : 'half_pixel');
  // The two differ only where a scale does not give whole positions; ONNX Runtime rounds half_pixel more exactly.
  const whole = !scales || scales.every((s, i) => Math.abs(x.shape[i + 2] * s - target[i]) < 1e-4);
  const attributes: Resize = {
    size: target,
    ...(scales && { scale: scales }),
    mode,
    coordinates: coordinates === 'half_pixel_symmetric' && whole ? 'half_pixel' : coordinates,
    rounding: options.rounding ?? 'floor',
    cubicCoefficient: options.cubicCoefficient ?? -0.75,
    excludeOutside: options.excludeOutside ?? false,
  };
  if (axes > 1) return resizeOp([x], attributes);
  // ONNX Runtime interpolates lines as images of one row.
  const image = { ...attributes, size: [1, ...target], ...(scales && { scale: [1, ...scales] }) };
  return resizeOp([x.unsqueeze(2)], image).squeeze(2);
}

/** Enlarges the spatial axes `factor` times. */
export const upsample = (
  x: Tensor,
  factor: number | readonly number[],
  mode: 'nearest' | 'linear' = 'nearest',
): Tensor => resize(x, { scale: factor, mode });

/**
 * [batch, channels·r², height, width] → [batch, channels, height·r, width·r] (Shi et al. 2016); output pixel (i, j) of
 * each r×r tile comes from channel offset i·r + j. ONNX `DepthToSpace` in mode CRD.
 */
export function pixelShuffle(x: Tensor, r: number): Tensor {
  check(
    x.rank === 4 && Number.isInteger(r) && r > 0 && x.shape[1] % (r * r) === 0,
    () => `pixelShuffle: input ${formatShape(x.shape)}, factor ${r}: expected [batch, channels·${r}², height, width]`,
  );
  const [n, channels, h, w] = x.shape;
  const c = channels / (r * r);
  // One axis at a time: ONNX Runtime's Transpose and DepthToSpace are several times slower on both at once.
  const rows = x.reshape([n, c * r, r, h * w]).transpose([0, 1, 3, 2]);
  return rows
    .reshape([n, c, r, h, w * r])
    .transpose([0, 1, 3, 2, 4])
    .reshape([n, c, h * r, w * r]);
}

/** The inverse of {@link pixelShuffle}: [batch, channels, height·r, width·r] → [batch, channels·r², height, width]. */
export function pixelUnshuffle(x: Tensor, r: number): Tensor {
  check(
    x.rank === 4 && Number.isInteger(r) && r > 0 && x.shape[2] % r === 0 && x.shape[3] % r === 0,
    () =>
      `pixelUnshuffle: input ${formatShape(x.shape)}, factor ${r}: expected [batch, channels, height·${r}, width·${r}]`,
  );
  const [n, c, height, width] = x.shape;
  const [h, w] = [height / r, width / r];
  const rows = x.reshape([n, c, h, r, width]).transpose([0, 1, 3, 2, 4]);
  return rows
    .reshape([n, c * r, h * w, r])
    .transpose([0, 1, 3, 2])
    .reshape([n, c * r * r, h, w]);
}
