// Sparse 1×1 convolutions: networks of the MobileNet kind trained for kernels that skip zeros.
// Elsen, Dukhan, Gale & Simonyan 2020, "Fast Sparse ConvNets", arXiv:1911.09723.

import { check } from '@gossamer/tensor';
import { outputBlock } from '../../sparsity/granularity.ts';
import { type Layer, layoutOf, maskable } from '../../sparsity/layer.ts';
import { ScheduledPruning, type ScheduledPruningOptions } from '../../sparsity/scheduled.ts';
import { type Scorer, scorers } from '../../sparsity/scorers.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'fast-sparse-convnets',
  name: 'Fast sparse ConvNets',
  summary: 'Prunes the 1×1 convolutions of a MobileNet while it trains, in the form that sparse kernels run fastest.',
  paper: 'Fast Sparse ConvNets (Elsen et al. 2020)',
  kind: 'sparsifier',
};

/** Output channels that a sparse kernel computes at a time. */
export type BlockSize = 1 | 2 | 4;

export interface PointwiseOptions {
  /** Output channels M of a 1×1 convolution that keep or lose an input channel together; default 1, unstructured. */
  readonly block?: BlockSize;
  /**
   * Where blocks begin, in the order of the pruned layers; earlier layers are unstructured. The name of a layer or of a
   * module that holds layers (`features.11`), or a place, from the end if negative: −1 is the last. Default 0.
   *
   * The paper's networks: MobileNetV1 with M = 4 in the last block (`block: 4, blockFrom: -1`), MobileNetV2 with M = 2
   * from inverted residual 11 on (`block: 2, blockFrom: 'features.11'`).
   */
  readonly blockFrom?: string | number;
  /** 1×1 convolutions left dense all the same, as in {@link maskable}; default none. */
  readonly exclude?: readonly string[];
  /**
   * Whether the last linear layer is pruned, too (unstructured), as in the paper's EfficientNet; default false, as in its
   * MobileNets.
   */
  readonly classifier?: boolean;
}

export interface FastSparseOptions
  extends PointwiseOptions,
    Pick<
      ScheduledPruningOptions,
      'initial' | 'start' | 'end' | 'window' | 'exponent' | 'overrides' | 'regrow' | 'maskState'
    > {
  /** Final sparsity s_f < 1; the paper's networks have 0.7 to 0.95. */
  readonly sparsity: number;
  /**
   * Steps Δ between mask updates; default 100, or the whole window if that is shorter. Trainings of the length that
   * ImageNet takes afford 2000.
   */
  readonly interval?: number;
  /** `uniform` (default, the paper's): s_f in every pruned layer. `erk` needs one block size for all layers. */
  readonly allocation?: 'uniform' | 'erk';
  /** Default magnitude; `random` is the control that shows what the ranking is worth. */
  readonly score?: Scorer | keyof typeof scorers;
}

/**
 * Gradual magnitude pruning (Zhu & Gupta 2017) of all 1×1 convolutions W [C_out, C_in, 1, 1], nothing else: the first
 * convolution, depthwise convolutions, biases and the classifier stay dense. They are few weights, and no sparse kernel
 * would gain on them.
 *
 * At step t the sparsity is s_t = s_f·(1 − (1 − (t − t₀)/(t₁ − t₀))³), from t₀ at a tenth to t₁ at three quarters of the
 * training by default (`window`; or `start` and `end` in steps). Every Δ steps each layer masks the round(s_t·C_out/M·C_in)
 * blocks of M output × 1 input channel with the smallest Σ|w|. Masks are made from the stored dense weights, so that
 * blocks may return until t₁; then they are frozen.
 *
 * ```ts
 * const pruning = new FastSparseConvNet({ sparsity: 0.9, block: 4, blockFrom: -1 });
 * await new Trainer({ model, task, train, optimizer, epochs: 40, sparsifiers: [pruning] }).run();
 * const onnx = await exportModel(model, { image: { shape: [1, 3, 32, 32], dtype: 'float32' } });
 * await writeOnnx('sparse.onnx', onnx, { sparse: 1 / 3 }); // from two thirds of zeros on
 * ```
 *
 * Throws a GossamerError, when training begins, for a model without 1×1 convolutions, output channels that M does not
 * divide, and options that name a layer of another kind.
 */
export class FastSparseConvNet extends ScheduledPruning {
  static override readonly options: readonly string[] = [
    'sparsity',
    'initial',
    'start',
    'end',
    'window',
    'exponent',
    'interval',
    'allocation',
    'score',
    'block',
    'blockFrom',
    'exclude',
  ] satisfies readonly (keyof FastSparseOptions)[];
  override readonly name = method.slug;

  constructor(options: FastSparseOptions) {
    const { sparsity, window = [0.1, 0.75], interval, score = 'magnitude', overrides = {} } = options;
    check(sparsity >= 0 && sparsity < 1, () => `${method.slug}: sparsity ${sparsity}; expected 0 ≤ s < 1`);
    // The command line hands it to every sparsifier.
    check(!('granularity' in options), `${method.slug}: its granularity is blocks of output channels; give \`block\``);
    let blocks: ReadonlyMap<string, BlockSize> = new Map();
    super({
      initial: options.initial,
      start: options.start,
      end: options.end,
      exponent: options.exponent,
      regrow: options.regrow,
      maskState: options.maskState,
      sparsity,
      overrides,
      window,
      kind: 'cubic',
      ...(interval !== undefined && { every: interval }),
      exclude: layers => {
        blocks = pointwiseBlocks(layers, options);
        for (const l of layers) if (l.name in overrides && !blocks.has(l.name)) refuse(l);
        return layers.filter(l => !blocks.has(l.name)).map(l => l.name);
      },
      granularity: l => outputBlock(blocks.get(l.name)!),
      norm: 'l1',
      allocation: options.allocation ?? 'uniform',
      score: typeof score === 'string' ? scorers[score] : score,
    });
  }
}

/**
 * The layers that are pruned, in the model's order, with the block size M of each. Refuses a model without any, and output
 * channels that are no multiple of M.
 */
export function pointwiseBlocks(
  layers: readonly Layer[],
  { block = 1, blockFrom = 0, exclude = [], classifier = false }: PointwiseOptions = {},
): Map<string, BlockSize> {
  check([1, 2, 4].includes(block), () => `${method.slug}: blocks of ${block} output channels; expected 1, 2 or 4`);
  const last = layers.findLast(l => l.kind === 'linear');
  check(!classifier || last, () => `${method.slug}: classifier: the model has no linear layer`);
  const chosen = maskable(layers, exclude).layers.filter(l => isPointwise(l) || (classifier && l === last));
  const convolutions = chosen.filter(isPointwise);
  check(
    convolutions.length > 0,
    () =>
      `${method.slug}: no 1×1 convolution to prune among ${layers.map(l => `${l.name} (${describe(l)})`).join(', ')}; use gradual-magnitude-pruning for other layers`,
  );
  const first = firstBlocked(convolutions, blockFrom);
  const sizes = new Map<string, BlockSize>();
  for (const l of chosen) {
    const at = convolutions.indexOf(l);
    const size = at >= first ? block : 1;
    const outputs = l.shape[l.outAxis];
    check(
      outputs % size === 0,
      () =>
        `layer ${l.name}: its ${outputs} output channels are not a multiple of the block size ${size}; exclude the layer, start blocks later with \`blockFrom\`, or use a smaller \`block\``,
    );
    sizes.set(l.name, size);
  }
  return sizes;
}

/** Whether a layer is a 1×1 convolution over all input channels: a matrix product at every pixel. */
export const isPointwise = (l: Layer): boolean =>
  l.kind === 'conv' && l.groups === 1 && l.shape.length > 2 && layoutOf(l).kernel === 1;

/** Place of the first convolution with blocks. */
function firstBlocked(convolutions: readonly Layer[], from: string | number): number {
  const at =
    typeof from === 'string'
      ? convolutions.findIndex(l => l.name === from || l.name.startsWith(`${from}.`))
      : from < 0
        ? convolutions.length + from
        : from;
  check(
    Number.isInteger(at) && at >= 0 && at < convolutions.length,
    () =>
      `${method.slug}: blockFrom ${from}: no such 1×1 convolution; the ${convolutions.length} are ${convolutions.map(l => l.name).join(', ')}`,
  );
  return at;
}

function refuse(l: Layer): never {
  check(
    false,
    () =>
      `${method.slug}: override of ${l.name}, a ${describe(l)}: only 1×1 convolutions of one group are pruned that are not excluded`,
  );
}

function describe(l: Layer): string {
  if (l.kind !== 'conv') return l.kind;
  const window = l.shape.filter((_, axis) => axis !== l.outAxis && axis !== l.inAxis).join('×');
  return `${window} convolution${l.groups > 1 ? ` of ${l.groups} groups` : ''}`;
}
