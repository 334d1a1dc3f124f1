import { check, Parameter, type Random, type Spec, type Tensor } from '@gossamer/tensor';
import type { Module } from '../../nn/module.ts';
import { maskable } from '../../sparsity/layer.ts';
import type { Mask } from '../../sparsity/mask.ts';
import { StaticMask } from '../../sparsity/masked.ts';
import { type ModelLayers, modelLayers } from '../../sparsity/model.ts';
import { prune } from '../../sparsity/prune.ts';
import { randomScore } from '../../sparsity/score.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';
import { restore, type Snapshot, snapshot } from '../../train/snapshot.ts';

/** How much a sub-network lacks: of the nodes that could go, and of the weights. They differ, so both are printed. */
export interface CandidateSparsity {
  readonly nodes: number;
  readonly weights: number;
}

/** The sub-networks of one initialised network. */
export interface SearchSpace<C> {
  readonly parent: Module;
  /** A uniformly drawn sub-network. */
  sample(sparsity: number, random: Random): C;
  /** From here on the {@link effective} weights are those of this sub-network. */
  show(candidate: C): void;
  /** The parent's weights under the mask of what is shown; build a graph with them once, then show candidates. */
  effective(): ReadonlyMap<Parameter, Tensor>;
  sparsity(candidate: C): CandidateSparsity;
  /** The sub-network with its inherited initial weights, ready to be trained. */
  network(candidate: C): Promise<{ readonly model: Module; readonly sparsifiers: readonly Sparsifier[] }>;
}

/** A 0/1 parameter that graphs read. */
export const switchOf = (shape: readonly number[]): Parameter =>
  new Parameter(
    { dtype: 'float32', shape, data: new Float32Array(shape.reduce((n, d) => n * d, 1)).fill(1) },
    { trainable: false },
  );

/**
 * Sub-networks that lack single weights, drawn uniformly with the same share gone from every layer. Their network is the
 * parent itself, set back to its initial weights, under a fixed mask.
 */
export class WeightSpace implements SearchSpace<Mask> {
  readonly parent: Module;
  readonly #found: ModelLayers;
  readonly #initial: Snapshot;
  readonly #switches: ReadonlyMap<string, Parameter>;

  private constructor(parent: Module, found: ModelLayers, initial: Snapshot) {
    this.parent = parent;
    this.#found = found;
    this.#initial = initial;
    this.#switches = new Map(found.layers.map(l => [l.name, switchOf(l.shape)]));
  }

  /** @param exclude layers that stay whole, as in `maskable` */
  static async of(parent: Module, inputs: readonly Spec[], exclude: readonly string[] = []): Promise<WeightSpace> {
    const { layers, parameters } = await modelLayers(parent, inputs);
    return new WeightSpace(parent, { layers: maskable(layers, exclude).layers, parameters }, await snapshot(parent));
  }

  sample(sparsity: number, random: Random): Mask {
    check(sparsity >= 0 && sparsity < 1, () => `search: sparsity ${sparsity}; expected 0 ≤ p < 1`);
    const mask = prune(this.#found.layers, l => randomScore(l.values.length, random.fork(l.name)), { sparsity });
    const empty = mask.names.filter(name => mask.kept(name) === 0);
    check(empty.length === 0, () => `search: sparsity ${sparsity} leaves no weight in ${empty.join(', ')}`);
    return mask;
  }

  show(candidate: Mask): void {
    for (const [name, p] of this.#switches) p.set(Float32Array.from(candidate.get(name)));
  }

  effective(): ReadonlyMap<Parameter, Tensor> {
    return new Map(
      [...this.#switches].map(([name, s]) => {
        const p = this.#found.parameters.get(name)!;
        return [p, p.mul(s)];
      }),
    );
  }

  sparsity(candidate: Mask): CandidateSparsity {
    return { nodes: 0, weights: candidate.sparsity() };
  }

  async network(candidate: Mask): Promise<{ model: Module; sparsifiers: readonly Sparsifier[] }> {
    restore(this.parent, this.#initial);
    return { model: this.parent, sparsifiers: [new StaticMask(candidate)] };
  }
}
