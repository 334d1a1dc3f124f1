// Whole kernels go in groups of output channels that read the same inputs, after channels that want the same inputs were
// made neighbours everywhere in the network.
// Xu et al. 2023, "SparseByteNN: A Novel Mobile Inference Acceleration Framework Based on Fine-Grained Group Sparsity".

import { check, type Random, type Spec, type Tensor } from '@gossamer/tensor';
import { klDivergence } from '../../nn/loss.ts';
import { Lambda, type Module } from '../../nn/module.ts';
import { type KernelGroupOptions, kernelGroupMask } from '../../sparsity/kernel-groups.ts';
import { type Layer, maskable } from '../../sparsity/layer.ts';
import { type MaskedOptions, MaskedSparsifier } from '../../sparsity/masked.ts';
import type { Model } from '../../sparsity/model.ts';
import { type FollowingNorm, followingNorms, normScales } from '../../sparsity/norm-scales.ts';
import { type Rearrangement, rearrange } from '../../sparsity/rearrange.ts';
import type { MaskUpdate } from '../../sparsity/rules.ts';
import { type SparsitySchedule, sparsitySchedule } from '../../sparsity/schedule.ts';
import type { SparsifierState, Training } from '../../sparsity/sparsifier.ts';
import type { Task } from '../../train/task.ts';
import type { MethodInfo } from '../method.ts';

export { type OperatorTime, operatorTime, sparsitiesForLatency } from './latency-budget.ts';

export const method: MethodInfo = {
  slug: 'sparse-byte-nn',
  name: 'SparseByteNN',
  summary:
    'Prunes kernels in groups of output channels after rearranging the channels of the whole network, for a speed-up from 30 % sparsity on.',
  paper:
    'SparseByteNN: A Novel Mobile Inference Acceleration Framework Based on Fine-Grained Group Sparsity (Xu et al. 2023)',
  kind: 'sparsifier',
};

/** What is pruned and how units are scored: the same for the rearrangement and for the masks. */
export interface SparsePattern extends Omit<KernelGroupOptions, 'rowScales'> {
  /** Share of the units, g output channels × 1 input channel × the kernel, that go from each layer; 0 ≤ s < 1. */
  readonly sparsity: number;
  /** Sparsities of single layers, by name, such as those that {@link sparsitiesForLatency} finds. */
  readonly overrides?: Readonly<Record<string, number>>;
  /** Layers left dense, as in `maskable`; default {@link denseLayers}: depthwise convolutions and the first layer. */
  readonly exclude?: MaskedOptions['exclude'];
  /**
   * Batch normalisations by layer, from `followingNorms`: scores then are those of weights with the normalisation folded
   * in. Default: of the weights as they are, whatever a normalisation behind makes of them.
   */
  readonly norms?: ReadonlyMap<string, FollowingNorm>;
}

export interface SparseByteOptions extends SparsePattern, Pick<MaskedOptions, 'maskState'> {
  /** Sparsity at the first update; default 0. */
  readonly initial?: number;
  /** First update in steps; default 0. */
  readonly start?: number;
  /** Last update; default half of the training. The mask is frozen then, and the network recovers. */
  readonly end?: number;
  /** Steps between updates; default a twentieth of the way. */
  readonly interval?: number;
  /** `layer` (default): each layer at the sparsity. `global`: one ranking of all units by their mean weight. */
  readonly scope?: 'layer' | 'global';
  /** Order of each layer's rows in which groups are consecutive, from `rearrangeRows`; default as they stand. */
  readonly orders?: ReadonlyMap<string, ArrayLike<number>>;
}

/** What stays dense: everything but convolutions and products, with `first` and `last` also the first and the last of these. */
export const denseLayers =
  ({ first = true, last = false }: { first?: boolean; last?: boolean } = {}) =>
  (layers: readonly Layer[]): string[] => {
    // A kernel of a depthwise convolution is all that its channel has.
    const grouped = layers.filter(l => l.kind === 'conv' || l.kind === 'linear');
    const ends = [...(first ? grouped.slice(0, 1) : []), ...(last ? grouped.slice(-1) : [])];
    return layers.filter(l => !grouped.includes(l) || ends.includes(l)).map(l => l.name);
  };

const sparsityOf = ({ sparsity, overrides = {} }: SparsePattern) => {
  return (layer: string): number => overrides[layer] ?? sparsity;
};

/**
 * Chooses places for the channels of the whole network, so that the pruning described by `pattern` keeps most; `apply()`
 * moves them. The network computes the same afterwards, and `undo()` brings the weights back.
 *
 * @param inputs shape and dtype of each input of the model
 * @param options.random random places instead: the control
 * @throws a GossamerError that names the operator through which channels cannot be followed
 */
export async function rearrangeChannels(
  model: Model,
  inputs: readonly Spec[],
  { exclude = denseLayers(), norms, ...pattern }: SparsePattern,
  { random }: { random?: Random } = {},
): Promise<Rearrangement> {
  return rearrange(model, inputs, {
    ...pattern,
    sparsity: sparsityOf(pattern),
    select: layers => maskable(layers, typeof exclude === 'function' ? exclude(layers) : exclude).layers,
    ...(norms && { rowScales: await normScales(norms) }),
    ...(random && { random }),
  });
}

/**
 * Prunes kernel groups while a trained network is fine-tuned. The sparsity rises to s along a cubic curve; at each update
 * the units of lowest norm are masked in every layer, round(s_t · units) of them; from the last update on the mask stays
 * and the network recovers. A group that keeps no input still gives its bias.
 *
 * ```ts
 * const pattern = { sparsity: 0.5, group: 4 };
 * const places = await rearrangeChannels(model, [{ dtype: 'float32', shape: [1, 3, 32, 32] }], pattern);
 * await places.apply();
 * await new Trainer({ model, task, train, optimizer, epochs: 10, sparsifiers: [new SparseByteNN(pattern)] }).run();
 * ```
 *
 * Throws a GossamerError for s ≥ 1, a group larger than a layer's output channels, and an override of an unknown layer.
 */
export class SparseByteNN extends MaskedSparsifier {
  static readonly options: readonly string[] = [
    'sparsity',
    'exclude',
    'group',
    'initial',
    'start',
    'end',
    'interval',
    'scope',
  ] satisfies readonly (keyof SparseByteOptions)[];
  readonly name = method.slug;
  readonly #o: SparseByteOptions;
  #schedule: SparsitySchedule | undefined;
  #overrides = new Map<string, SparsitySchedule>();
  #log: readonly MaskUpdate[] = [];

  constructor(options: SparseByteOptions) {
    const { exclude = denseLayers(), maskState = true, sparsity, overrides = {} } = options;
    super({ exclude, maskState });
    for (const s of [sparsity, ...Object.values(overrides)]) {
      check(s >= 0 && s < 1, () => `${method.slug}: sparsity ${s}; expected 0 ≤ s < 1`);
    }
    check(
      options.scope !== 'global' || Object.keys(overrides).length === 0,
      () => `${method.slug}: overrides of ${Object.keys(overrides).join(', ')} have no place in one global ranking`,
    );
    this.#o = options;
  }

  /** All mask updates so far. */
  get log(): readonly MaskUpdate[] {
    return this.#log;
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    const { steps } = training;
    const {
      sparsity,
      overrides = {},
      initial = 0,
      start = 0,
      end = Math.max(start + 1, Math.round(steps / 2)),
    } = this.#o;
    const every = Math.min(this.#o.interval ?? Math.max(1, Math.round((end - start) / 20)), end - start);
    const to = (final: number) => {
      return sparsitySchedule({ initial: Math.min(initial, final), final, start, end, every, trainingSteps: steps });
    };
    const { names } = this.mask!;
    for (const name of Object.keys(overrides)) {
      check(names.includes(name), () => `override of '${name}': no such layer; masked are ${names.join(', ')}`);
    }
    this.#schedule = to(sparsity);
    this.#overrides = new Map(Object.entries(overrides).map(([name, s]) => [name, to(s)]));
    this.#log = [];
    // Groups that do not fit are refused before the training, not in its course.
    kernelGroupMask(this.selection!.layers, await this.#maskOptions(0));
  }

  async update(training: Training): Promise<void> {
    const { step } = training;
    const schedule = this.#schedule!;
    if (!schedule.isUpdate(step)) return;
    const layers = await this.maskedLayers(training);
    const mask = kernelGroupMask(layers, await this.#maskOptions(step));
    this.setMask(mask);
    const nonzeros = Object.fromEntries(layers.map(l => [l.name, mask.kept(l.name)]));
    this.#log = [...this.#log, { step, target: schedule.at(step), sparsity: mask.sparsity(), nonzeros }];
  }

  override state(): SparsifierState {
    return { ...super.state(), json: this.#log };
  }

  override restore(state: SparsifierState): void {
    super.restore(state);
    this.#log = state.json as readonly MaskUpdate[];
  }

  async #maskOptions(step: number) {
    const { norms, scope = 'layer', group, norm, balanced, orders } = this.#o;
    const target = this.#schedule!.at(step);
    const rowScales = norms && (await normScales(norms));
    return {
      sparsity: scope === 'global' ? target : (name: string) => this.#overrides.get(name)?.at(step) ?? target,
      scope,
      ...(group !== undefined && { group }),
      ...(norm !== undefined && { norm }),
      ...(balanced !== undefined && { balanced }),
      ...(orders && { orders }),
      ...(rowScales && { rowScales }),
    };
  }
}

/**
 * A task that also learns from the dense network's outputs: (1 − λ)·loss + λ·T²·KL(teacher ‖ student) (Hinton et al. 2015).
 *
 * @param task the task without a teacher; its model maps `inputs` to logits
 * @param teacher the dense network, in eval mode; it does not learn
 */
export const distilled =
  (
    task: Task,
    teacher: Module,
    { weight = 0.5, temperature = 4 }: { weight?: number; temperature?: number } = {},
  ): Task =>
  (model, batch) => {
    if (!model.training) return task(model, batch);
    let logits: Tensor | undefined;
    // The task's own forward pass is looked at: a second one would move running statistics twice.
    const watched = new Lambda(x => {
      logits = model.forward(x) as Tensor;
      return logits;
    });
    const result = task(watched, batch);
    const target = (teacher.forward(batch.inputs) as Tensor).detach();
    check(logits, 'distilled: the task has not called its model');
    const hint = klDivergence(logits, target, { temperature });
    return { ...result, loss: result.loss.mul(1 - weight).add(hint.mul(weight)) };
  };

export { followingNorms };
