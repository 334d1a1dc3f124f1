import { check, type Parameter, type Tensor } from '@gossamer/tensor';
import type { Mask } from '../../sparsity/mask.ts';
import { partitionChannels, partitionMask } from '../../sparsity/partition.ts';
import { type ScaleMask, ScalePenalty, type ScalePenaltyKind } from '../../sparsity/scale-penalty.ts';
import { sampleOf } from '../../sparsity/score-data.ts';
import type { Sparsifier, SparsifierState, Training } from '../../sparsity/sparsifier.ts';
import { chooseMask, type MaskSource, penaltyMask, type Scene, sceneOf } from './masksparsity-mask.ts';

export interface MaskSparsityOptions {
  /** Share of the channels that go, 0 < s < 1, of those that can. */
  readonly sparsity: number;
  /** What decides which: `uniform` (default; the smallest |γ| of each layer), `l1-norm` or `fpgm`. */
  readonly source?: Exclude<MaskSource, 'global-l1'>;
  /** Share of the training after which the mask is chosen and the penalty begins, 0 ≤ s < 1; default 0.5. */
  readonly start?: number;
  /** Strength λ > 0; default 5e-4. */
  readonly lambda?: number;
  /** Default `l1`. */
  readonly penalty?: ScalePenaltyKind;
  /** Whether the shifts of the masked channels are penalised as well; default true. */
  readonly shifts?: boolean;
  /** Default `vote`. */
  readonly residual?: 'vote' | 'inner';
  /** Layers whose channels stay: names, kinds, `first`, `last`, wildcards; default none. */
  readonly exclude?: readonly string[];
}

/**
 * MaskSparsity inside of one training: its first part is the baseline, then the mask is chosen, and its channels' scales
 * (and shifts) are penalised to the end. After the last step they are set to zero with all weights of their channels, so
 * that `shrink` can remove them. The two trainings of the paper are the procedure `maskSparsity`.
 */
export class MaskSparsity implements Sparsifier {
  /** Names of the options, for `gossamer train --set`. */
  static readonly options: readonly string[] = [
    'sparsity',
    'source',
    'start',
    'lambda',
    'penalty',
    'shifts',
    'residual',
    'exclude',
  ];
  readonly name = 'masksparsity';
  readonly #o: MaskSparsityOptions;
  readonly #penalty: ScalePenalty;
  #scene: Scene | undefined;
  #removed: readonly number[] | undefined;
  #mask: Mask | undefined;

  constructor(options: MaskSparsityOptions) {
    const { sparsity, start = 0.5, lambda, penalty: kind, source } = options;
    check(sparsity > 0 && sparsity < 1, () => `masksparsity: sparsity ${sparsity}; expected 0 < s < 1`);
    check(start >= 0 && start < 1, () => `masksparsity: start ${start}; expected 0 ≤ start < 1`);
    check(
      source === undefined || ['uniform', 'l1-norm', 'fpgm'].includes(source),
      () =>
        `masksparsity: source ${source}; expected uniform, l1-norm or fpgm (global-l1 takes a training of its own: gossamer run masksparsity)`,
    );
    this.#o = options;
    this.#penalty = new ScalePenalty({
      ...(lambda !== undefined && { lambda }),
      ...(kind && { kind }),
      only: new Map(),
    });
  }

  /** After the last step: what is left. */
  get mask(): Mask | undefined {
    return this.#mask;
  }

  /** The channels that go, by id; undefined before they are chosen. */
  get removed(): readonly number[] | undefined {
    return this.#removed;
  }

  async prepare(training: Training): Promise<void> {
    const { model, data } = training;
    this.#scene = await sceneOf(model, [sampleOf(await data.batchAt(0, 0))], this.#o);
    this.#removed = undefined;
    this.#mask = undefined;
    this.#penalty.setOnly(this.#penalised([]));
    await this.#penalty.prepare(training);
  }

  gradient(parameter: Parameter, gradient: Tensor): Tensor {
    return this.#penalty.gradient(parameter, gradient);
  }

  async update({ step, steps, log }: Training): Promise<void> {
    const { sparsity, source = 'uniform', start = 0.5 } = this.#o;
    const scene = this.#scene!;
    if (step >= Math.round(start * steps) && !this.#removed) {
      this.#removed = await chooseMask(scene, source, { channels: 1 - sparsity });
      this.#penalty.setOnly(this.#penalised(this.#removed));
      const { skipped } = scene.electorate;
      if (skipped.length > 0) log?.(`${this.name}: ${skipped.map(s => `${s.name} stays (${s.reason})`).join('; ')}`);
    }
    if (step === steps) await this.#silence();
  }

  #penalised(removed: readonly number[]): ScaleMask {
    return penaltyMask(this.#scene!, removed, this.#o.shifts);
  }

  /** Sets all that makes the masked channels to zero. */
  async #silence(): Promise<void> {
    const { model, layers, electorate } = this.#scene!;
    const partition = partitionChannels(electorate.found, layers, model.stateDict());
    const gone = new Set(this.#removed);
    const mask = partitionMask(
      partition,
      Uint8Array.from(partition.channels!, id => (gone.has(id) ? 0 : 1)),
    );
    for (const parameter of partition.of.keys()) {
      const values = (await parameter.data()).slice();
      mask.apply(parameter.name, values);
      parameter.set(values);
    }
    this.#mask = mask;
  }

  state(): SparsifierState {
    return { ...this.#penalty.state(), json: this.#removed ?? null };
  }

  restore(state: SparsifierState): void {
    this.#penalty.restore(state);
    this.#removed = (state.json as number[] | null) ?? undefined;
  }
}
