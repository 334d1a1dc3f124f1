import { type NDArray, Parameter, type Tensor } from '@gossamer/tensor';
import type { Optimizer } from '../optim/index.ts';
import { type Layer, maskable, type Selection } from './layer.ts';
import { Mask } from './mask.ts';
import { refreshLayers } from './model.ts';
import type { Sparsifier, SparsifierState, Training, TrainingCalibration } from './sparsifier.ts';

export interface MaskedOptions {
  /**
   * Layers left dense: names, kinds, `first`, `last`, wildcards (see {@link maskable}), or a function that says so when
   * the layers are known. Default none.
   */
  readonly exclude?: readonly string[] | ((layers: readonly Layer[]) => readonly string[]);
  /**
   * What a masked weight's stored value does. `kept` (default): it stays as it was when it was masked, so that it can
   * return with that value. `zero`: it is set to zero at every step, so that it returns as zero.
   */
  readonly stored?: 'kept' | 'zero';
  /** Whether the optimiser's state (momentum …) of masked weights is set to zero. Default true. */
  readonly maskState?: boolean;
}

/**
 * The common part of methods that train under a mask: the model computes with w ⊙ m, masked weights get no update —
 * from the gradient, momentum or weight decay — and a method decides in `update` which weights live, by `setMask`.
 */
export abstract class MaskedSparsifier implements Sparsifier {
  abstract readonly name: string;
  readonly #options: Required<MaskedOptions>;
  readonly #masks = new Map<Parameter, Parameter>();
  #names = new Map<string, Parameter>();
  #selection: Selection | undefined;
  #mask: Mask | undefined;

  constructor({ exclude = [], stored = 'kept', maskState = true }: MaskedOptions = {}) {
    this.#options = { exclude, stored, maskState };
  }

  get mask(): Mask | undefined {
    return this.#mask;
  }

  get selection(): Selection | undefined {
    return this.#selection;
  }

  /** Starts from dense masks. A method that starts sparse overrides this, calls it first and then `setMask`. */
  async prepare({ layers }: Training): Promise<void> {
    const { exclude } = this.#options;
    this.#selection = maskable(layers.layers, typeof exclude === 'function' ? exclude(layers.layers) : exclude);
    const chosen = this.#selection.layers;
    this.#masks.clear();
    this.#names = new Map();
    for (const { name, shape, values } of chosen) {
      const data = new Float32Array(values.length).fill(1);
      const mask = new Parameter({ dtype: 'float32', shape, data }, { name: `mask.${name}`, trainable: false });
      const parameter = layers.parameters.get(name)!;
      this.#masks.set(parameter, mask);
      this.#names.set(name, mask);
    }
    this.#mask = Mask.ones(chosen);
  }

  /** The masked layers with their stored values of the moment. */
  async maskedLayers({ layers }: Training): Promise<Layer[]> {
    return (await refreshLayers(layers)).filter(l => this.#names.has(l.name));
  }

  setMask(mask: Mask): void {
    for (const [name, parameter] of this.#names) parameter.set(new Float32Array(mask.get(name)));
    this.#mask = mask;
  }

  effective(parameter: Parameter, value: Tensor): Tensor {
    const mask = this.#masks.get(parameter);
    return mask ? value.mul(mask) : value;
  }

  settle(parameter: Parameter, before: Tensor, optimizer: Optimizer): void {
    const mask = this.#masks.get(parameter);
    if (!mask) return;
    // Selecting rather than multiplying keeps masked values bit for bit.
    const stays = this.#options.stored === 'kept' ? before : 0;
    parameter.assign(mask.gt(0).where(parameter, stays));
    if (!this.#options.maskState) return;
    for (const state of optimizer.stateOf(parameter)) {
      if (state.size === parameter.size) state.assign(state.mul(mask));
    }
  }

  state(): SparsifierState {
    const arrays: Record<string, NDArray> = {};
    if (this.#mask) for (const [name, array] of this.#mask.toArrays()) arrays[name] = array;
    return { arrays, json: null };
  }

  restore({ arrays }: SparsifierState): void {
    this.setMask(Mask.fromArrays(Object.entries(arrays)));
  }
}

/** Finds a mask before the first step — from the weights, a mini-batch, or a graph — and trains under it. */
export abstract class PruneAtStart extends MaskedSparsifier {
  readonly #find: (calibration: TrainingCalibration) => Promise<Mask>;

  /** @param find the mask of the layers that `exclude` leaves, given the network and the first mini-batch */
  constructor(find: (calibration: TrainingCalibration) => Promise<Mask>, options: MaskedOptions = {}) {
    super({ stored: 'zero', ...(options.exclude && { exclude: options.exclude }) });
    this.#find = find;
  }

  async update({ step, calibrate }: Training): Promise<void> {
    if (step === 0) this.setMask(await calibrate(this.#find));
  }
}

/** Trains under a mask that never changes: fine-tuning after one-shot pruning, pruning at initialisation. */
export class StaticMask extends MaskedSparsifier {
  readonly name = 'static-mask';
  readonly #fixed: Mask;

  /** Layers of the model that `mask` does not have stay dense. */
  constructor(mask: Mask, options: Omit<MaskedOptions, 'exclude'> = {}) {
    super({ stored: 'zero', ...options });
    this.#fixed = mask;
  }

  override async prepare(training: Training): Promise<void> {
    const { layers } = training.layers;
    const inside = { ...training.layers, layers: layers.filter(l => this.#fixed.has(l.name)) };
    await super.prepare({ ...training, layers: inside });
    this.setMask(this.#fixed);
  }
}
