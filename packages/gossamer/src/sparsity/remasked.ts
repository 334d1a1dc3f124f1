import { Parameter, straightThrough, type Tensor } from '@gossamer/tensor';
import { keepNM, type NM, parseGranularity } from './granularity.ts';
import type { Layer } from './layer.ts';
import { Mask } from './mask.ts';
import { type MaskedOptions, MaskedSparsifier } from './masked.ts';
import { type PruneOptions, prune } from './prune.ts';
import { magnitude } from './score.ts';
import type { Training } from './sparsifier.ts';

export interface RemaskedOptions extends Pick<MaskedOptions, 'exclude'> {
  /**
   * What reaches the stored weight W of the gradient g of the effective weight: `straight-through` all of it, so that
   * pruned weights learn as if they were there; `masked` its own share, (m + (1 − m)·D) ⊙ g.
   */
  readonly gradient: 'straight-through' | 'masked';
  /** λ_W: the gradient of a pruned weight gets λ_W·w more, which pulls it to zero; default 0. */
  readonly regularization?: number;
}

/** Which weights count at a step, and what is left of the others. */
export interface Remasking {
  readonly mask: Mask;
  /** D, 0…1: what pruned weights are multiplied by. */
  readonly decay: number;
}

/**
 * The common part of methods that keep all weights and prune anew at every step: the stored weights W stay dense and
 * learn, and the network computes with W ⊙ (m + (1 − m)·D), where the mask m is that of the weights of the moment.
 * After training the stored weights are the effective ones, with exact zeros.
 */
export abstract class RemaskedSparsifier extends MaskedSparsifier {
  readonly #decay = new Parameter({ dtype: 'float32', shape: [], data: new Float32Array(1) }, { trainable: false });
  readonly #gradient: RemaskedOptions['gradient'];
  readonly #regularization: number;

  constructor({ gradient, regularization = 0, ...options }: RemaskedOptions) {
    super(options);
    this.#gradient = gradient;
    this.#regularization = regularization;
  }

  /** The mask of the weights as they are before step `training.step` (and after the last). */
  protected abstract remask(training: Training): Promise<Remasking>;

  async update(training: Training): Promise<void> {
    const { mask, decay } = await this.remask(training);
    if (mask !== this.mask) this.setMask(mask);
    this.#decay.set(Float32Array.of(decay));
  }

  override effective(parameter: Parameter, value: Tensor): Tensor {
    const kept = super.effective(parameter, value);
    if (kept === value) return value;
    // Exactly W for D = 1 and W ⊙ m for D = 0.
    const decayed = kept.add(value.sub(kept).mul(this.#decay));
    return this.#gradient === 'masked' ? decayed : straightThrough(value, decayed);
  }

  gradient(parameter: Parameter, gradient: Tensor): Tensor {
    if (this.#regularization === 0) return gradient;
    const kept = super.effective(parameter, parameter);
    return kept === parameter ? gradient : gradient.add(parameter.sub(kept).mul(this.#regularization));
  }

  /** Every weight follows the optimiser. */
  override settle(): void {}
}

/**
 * {@link prune} by magnitude, at a third of its cost for an N:M pattern that has its full sparsity: what every step can
 * afford.
 */
export function keepLargest(layers: readonly Layer[], options: PruneOptions): Mask {
  const score = (l: Layer) => magnitude(l.values);
  const { granularity = 'element', sparsity } = options;
  const pattern = typeof granularity === 'string' ? parseGranularity(granularity) : granularity;
  const isFull =
    typeof pattern !== 'function' && pattern.kind === 'nm' && (sparsity === undefined || isOwn(pattern, sparsity));
  if (!isFull) return prune(layers, score, options);
  return new Mask(layers.map(l => [l.name, { shape: l.shape, keep: keepNM(l, score(l), pattern) }] as const));
}

/** Whether a sparsity is what the pattern gives by itself. */
export const isOwn = ({ n, m }: NM, sparsity: PruneOptions['sparsity']): boolean =>
  typeof sparsity === 'number' && Math.abs(sparsity - (1 - n / m)) < 1e-9;
