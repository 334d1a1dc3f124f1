import { check } from '../errors.ts';
import { formatShape, multiOperator, normalizeAxis } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { unbroadcast } from './elementwise.ts';

interface Normalization {
  /** First of the axes that are normalised together; the others follow to the end. */
  axis: number;
  eps: number;
  /** Whether the mean is taken off first. */
  centred: boolean;
}

/** Inputs x, weight?, bias?; outputs y, 1/σ of every row and, if centred, the mean of every row. */
const normalize = multiOperator<Normalization>({
  name: 'normalize',
  infer: ([x], { axis, centred }) => {
    const row = { shape: x.shape.map((d, i) => (i < axis ? d : 1)), dtype: x.dtype };
    return centred ? [x, row, row] : [x, row];
  },
  gradient: ({ inputs: [x, weight, bias], outputs: [, rstd, mean], grads, attributes, needs, reaches }) => {
    const axes = x.shape.flatMap((_, i) => (i < attributes.axis ? [] : [i]));
    const count = axes.reduce((n, a) => n * x.shape[a], 1);
    const hat = (mean ? x.sub(mean) : x).mul(rstd);
    const [g] = grads;
    let dx: Tensor | undefined;
    if (needs(0)) {
      const parts: Tensor[] = [];
      if (reaches(0)) {
        const d = weight ? g.mul(weight) : g;
        const along = d.sub(hat.mul(d.mul(hat).mean(axes, true)));
        parts.push((mean ? along.sub(d.mean(axes, true)) : along).mul(rstd));
      }
      // Reached only by gradients of this gradient.
      if (reaches(1))
        parts.push(
          hat.mul(
            grads[1]
              .mul(rstd)
              .mul(rstd)
              .mul(-1 / count),
          ),
        );
      if (mean && reaches(2)) parts.push(grads[2].mul(1 / count).expand(x.shape));
      dx = parts.length > 0 ? parts.reduce((a, b) => a.add(b)) : undefined;
    }
    return [
      dx,
      weight && needs(1) && reaches(0) ? unbroadcast(g.mul(hat), weight.shape) : undefined,
      bias && needs(2) && reaches(0) ? unbroadcast(g, bias.shape) : undefined,
    ];
  },
  emit: (b, [x, weight, bias], { attributes: { axis, eps, centred }, inputs: [{ shape, dtype }] }) => {
    if (centred) {
      const scale = weight ?? b.node('Expand', [b.scalar(1, dtype), b.dims(shape.slice(axis))]);
      const [y, mean, rstd] = b.multi('LayerNormalization', [x, scale, bias ?? ''], { axis, epsilon: b.float(eps) }, 3);
      return [y, rstd, mean];
    }
    const axes = shape.flatMap((_, i) => (i < axis ? [] : [i]));
    const square = b.node('ReduceMean', [b.node('Mul', [x, x]), b.dims(axes)], { keepdims: 1 });
    const rstd = b.node('Reciprocal', [b.node('Sqrt', [b.node('Add', [square, b.scalar(eps, dtype)])])]);
    const y = b.node('Mul', [x, rstd]);
    return [weight ? b.node('Mul', [y, weight]) : y, rstd];
  },
});

function checkScale(name: string, what: string, scale: Tensor | undefined, expected: readonly number[]): void {
  check(
    scale === undefined || formatShape(scale.shape) === formatShape(expected),
    () => `${name}: the ${what} is ${formatShape(scale!.shape)}, expected ${formatShape(expected)}`,
  );
}

export interface LayerNormOptions {
  /** First normalised axis; all that follow are normalised together. Default −1: the last axis alone. */
  axis?: number;
  /** Factor, shaped like the normalised axes. */
  weight?: Tensor | undefined;
  /** Summand, shaped like the normalised axes. */
  bias?: Tensor | undefined;
  /** Added to the variance. Default 1e-5. */
  eps?: number;
}

/** (x − mean) / √(variance + eps) · weight + bias over the trailing axes (Ba et al. 2016). */
export function layerNorm(x: Tensor, { axis = -1, weight, bias, eps = 1e-5 }: LayerNormOptions = {}): Tensor {
  const a = normalizeAxis('layerNorm', axis, x.rank);
  checkScale('layerNorm', 'weight', weight, x.shape.slice(a));
  checkScale('layerNorm', 'bias', bias, x.shape.slice(a));
  const fused = weight ? (bias ? [x, weight, bias] : [x, weight]) : [x];
  const [y] = normalize(fused, { axis: a, eps, centred: true });
  return bias && !weight ? y.add(bias) : y;
}

/** x / √(mean x² + eps) · weight over the trailing axes (Zhang & Sennrich 2019). */
export function rmsNorm(x: Tensor, { axis = -1, weight, eps = 1e-5 }: Omit<LayerNormOptions, 'bias'> = {}): Tensor {
  const a = normalizeAxis('rmsNorm', axis, x.rank);
  checkScale('rmsNorm', 'weight', weight, x.shape.slice(a));
  return normalize(weight ? [x, weight] : [x], { axis: a, eps, centred: false })[0];
}

export interface ChannelNormOptions {
  /** Factor of each channel [C]. */
  weight?: Tensor | undefined;
  /** Summand of each channel [C]. */
  bias?: Tensor | undefined;
  /** Added to the variance. Default 1e-5. */
  eps?: number;
}

/** Normalises `x` [N, C, …] over groups of C / groups channels and all positions (Wu & He 2018). */
export function groupNorm(x: Tensor, groups: number, { weight, bias, eps = 1e-5 }: ChannelNormOptions = {}): Tensor {
  const [n, c] = x.shape;
  check(
    x.rank >= 2 && Number.isInteger(groups) && groups > 0 && c % groups === 0,
    () => `groupNorm: ${formatShape(x.shape)} has ${c} channels, which do not form ${groups} equal groups`,
  );
  checkScale('groupNorm', 'weight', weight, [c]);
  checkScale('groupNorm', 'bias', bias, [c]);
  const width = x.shape.slice(1).reduce((p, d) => p * d, 1) / groups;
  let y = layerNorm(x.reshape([n, groups, width]), { eps }).reshape(x.shape);
  const column = [c, ...x.shape.slice(2).map(() => 1)];
  if (weight) y = y.mul(weight.reshape(column));
  return bias ? y.add(bias.reshape(column)) : y;
}

/** Normalises every channel of every sample of `x` [N, C, …] over its positions (Ulyanov et al. 2016). */
export const instanceNorm = (x: Tensor, options: ChannelNormOptions = {}): Tensor => groupNorm(x, x.shape[1], options);
