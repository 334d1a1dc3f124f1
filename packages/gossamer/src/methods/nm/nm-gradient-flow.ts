// N:M sparsity that arrives step by step, so that gradients reach pruned weights while they still matter.
// Bambhaniya, Yazdanbakhsh, Subramanian, Kao, Agrawal, Evci & Krishna 2024, "Progressive Gradient Flow for Robust N:M
// Sparsity Training in Transformers".

import { check } from '@gossamer/tensor';
import { checkNM, type NM } from '../../sparsity/granularity.ts';
import {
  formatGranularity,
  type Granularity,
  type Layer,
  Mask,
  maskable,
  parseGranularity,
} from '../../sparsity/index.ts';
import { hasFeedForward, type LayerPart, layerParts } from '../../sparsity/layer-parts.ts';
import {
  isOwn,
  keepLargest,
  type RemaskedOptions,
  RemaskedSparsifier,
  type Remasking,
} from '../../sparsity/remasked.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';
import { decayAt, densityOf, type Frame, frameAt, geometric, type Phases, phasesOf, stepwise } from './decay-frames.ts';

export const method: MethodInfo = {
  slug: 'nm-gradient-flow',
  name: 'N:M progressive gradient flow',
  summary: 'N:M sparse transformers at high sparsity: pruned weights fade out, or the pattern tightens in stages.',
  paper: 'Progressive Gradient Flow for Robust N:M Sparsity Training in Transformers (Bambhaniya et al. 2024)',
  kind: 'sparsifier',
};

/** Decay recipes of the paper, and what it compares them with. */
export const recipes = [
  'mdgf-linear',
  'mdgf-exponential',
  'sdgf-stepwise',
  'sdgf-geometric',
  'sr-ste',
  'ste',
  'dense',
] as const;
export type Recipe = (typeof recipes)[number];

export interface NMGradientFlowOptions {
  /** Default `mdgf-exponential`, the best at high sparsity. */
  readonly recipe?: Recipe;
  /** The pattern N:M, or its text such as `'1:16'`; `'1:16:out'` groups along columns. Needed unless `sparsity` is given. */
  readonly granularity?: Granularity | string;
  /** Unstructured instead: the share of each weight tensor that goes, 0 < s < 1. */
  readonly sparsity?: number;
  /**
   * What becomes sparse: `ff`, `q`, `k`, `v`, `blocks`, `all`, or names (see {@link layerParts}), as a list or with
   * commas; each may have a pattern of its own, `'ff=1:16,q=2:4'`. Default `ff`, and `blocks` in a network without
   * feed-forward blocks. Everything else stays dense.
   */
  readonly layers?: string | readonly string[];
  /** Of these, what stays dense after all, as in {@link maskable}. */
  readonly exclude?: readonly string[];
  /** Share of the training before the decay, 0…1; default 0.0125. Unused by `sr-ste` and `ste`, sparse from the start. */
  readonly dense?: number;
  /** Share of the training after the decay, with the binary mask; default 0.1. */
  readonly fineTune?: number;
  /** β of the MDGF recipes, a step; by default D_t reaches 0 (linear) or 1/1000 (exponential) as the decay phase ends. */
  readonly coefficient?: number;
  /** k of `sdgf-geometric`; default 16, 8, 4, 2, 1. */
  readonly blocks?: readonly number[];
  /** Default `masked` for MDGF, where (m + (1 − m)·D) scales the gradient, too, and `straight-through` for all others. */
  readonly gradient?: RemaskedOptions['gradient'];
  /** λ_W of `sr-ste`; default 2e-4. */
  readonly lambda?: number;
}

/** A part of a layer with the patterns that it goes through; the last is its target. */
interface Planned extends LayerPart {
  readonly frames: readonly Frame[];
}

/** Options that only some recipes have. */
const owners: Readonly<Record<'coefficient' | 'blocks' | 'lambda', readonly Recipe[]>> = {
  coefficient: ['mdgf-linear', 'mdgf-exponential'],
  blocks: ['sdgf-geometric'],
  lambda: ['sr-ste'],
};

/** Recipes that are sparse from the first step. */
const atOnce: readonly Recipe[] = ['sr-ste', 'ste'];

/**
 * Three phases: dense for d steps, decay, and f steps with the binary N:M mask (§3). In every step the mask m holds the
 * N largest |w| of each group of the *present dense* weights.
 *
 * - MDGF: W̃ = W ⊙ (m + (1 − m)·D_t), D_t = max(1 − β_τ·(t − d), 0) or exp(−β_η·(t − d))
 * - SDGF: W̃ = W ⊙ m with a mask that tightens, (M−1):M, M/2:M, …, N:M or 16N:16M, 8N:8M, …, N:M
 *
 * D_t below 1e-3 counts as 0. After the training the stored weights are the masked ones. Weight decay of the optimiser
 * acts on pruned weights as well; with `sr-ste` it comes on top of λ_W.
 *
 * Throws a GossamerError for patterns that do not divide a row, N ≥ M, phases that fill the training, stepwise targets where
 * M/N is no power of two, and options of another recipe.
 */
export class NMGradientFlow extends RemaskedSparsifier {
  static readonly options: readonly string[] = [
    'recipe',
    'granularity',
    'sparsity',
    'layers',
    'exclude',
    'dense',
    'fineTune',
    'coefficient',
    'blocks',
    'gradient',
    'lambda',
  ] satisfies readonly (keyof NMGradientFlowOptions)[];
  readonly name = method.slug;
  readonly #o: NMGradientFlowOptions & { readonly recipe: Recipe };
  #plan: readonly Planned[] = [];
  #phases: Phases = { from: 0, to: 0 };
  readonly #target: Frame;
  #dense: Mask | undefined;

  constructor(options: NMGradientFlowOptions) {
    const { recipe = 'mdgf-exponential', lambda = 2e-4, gradient } = options;
    const target = targetOf(options);
    super({
      gradient: gradient ?? (recipe.startsWith('mdgf') ? 'masked' : 'straight-through'),
      regularization: recipe === 'sr-ste' ? lambda : 0,
      exclude: layers => {
        const chosen = new Set(chosenParts(layers, options).map(p => p.of));
        return layers.filter(l => !chosen.has(l)).map(l => l.name);
      },
    });
    this.#o = { ...options, recipe };
    this.#target = target;
  }

  /** After `prepare`: the patterns that each part of the network goes through, by name. */
  get frames(): ReadonlyMap<string, readonly Frame[]> {
    return new Map(this.#plan.map(p => [p.rows.name, p.frames]));
  }

  /** After `prepare`: first step of the decay, and first step with the final mask. */
  get phases(): Phases {
    return this.#phases;
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    this.#dense = this.mask;
    const { dense = 0.0125, fineTune = 0.1, recipe } = this.#o;
    this.#phases = atOnce.includes(recipe) ? { from: 0, to: 0 } : phasesOf(training.steps, dense, fineTune);
    const parts = chosenParts(training.layers.layers, this.#o);
    this.#plan = parts.map(part => ({ ...part, frames: this.#framesOf(part) }));
    const { from, to } = this.#phases;
    for (const { rows, frames } of this.#plan) {
      check(
        frames.length === 1 || to - from >= frames.length,
        () =>
          `n:m gradient flow: ${to - from} steps of decay are too few for the ${frames.length} stages of ${rows.name}`,
      );
    }
  }

  /** D before a step: what pruned weights are multiplied by. */
  decayAt(step: number): number {
    const { recipe, coefficient } = this.#o;
    if (recipe === 'dense' || step < this.#phases.from) return 1;
    if (recipe === 'mdgf-linear') return decayAt('linear', step, this.#phases, coefficient);
    if (recipe === 'mdgf-exponential') return decayAt('exponential', step, this.#phases, coefficient);
    return 0;
  }

  /** Share of a part's weights that the forward pass of a step computes with. */
  densityAt(part: string, step: number): number {
    const frames = this.frames.get(part);
    check(frames, () => `n:m gradient flow: no part '${part}'; there are ${[...this.frames.keys()].join(', ')}`);
    return this.decayAt(step) > 0 ? 1 : densityOf(frames[frameAt(step, this.#phases, frames.length)]);
  }

  protected override async remask(training: Training): Promise<Remasking> {
    const { step } = training;
    const decay = this.decayAt(step);
    // With D = 1 no mask is needed.
    if (decay === 1) return { mask: this.#dense!, decay };
    const masks = (await this.maskedLayers(training)).map(({ name, shape, values }) => {
      const keep = new Uint8Array(values.length).fill(1);
      for (const { of, rows, start, frames } of this.#plan) {
        if (of.name !== name) continue;
        const present = { ...rows, values: values.subarray(start, start + rows.values.length) };
        const frame = frames[frameAt(step, this.#phases, frames.length)];
        keep.set(keepLargest([present], frame).get(rows.name), start);
      }
      return [name, { shape, keep }] as const;
    });
    return { mask: new Mask(masks), decay };
  }

  #framesOf({ rows, setting }: LayerPart): Frame[] {
    const target = setting === undefined ? this.#target : patternOf(setting);
    const { recipe, blocks = [16, 8, 4, 2, 1] } = this.#o;
    const frames =
      recipe === 'sdgf-stepwise'
        ? stepwise(rows, target)
        : recipe === 'sdgf-geometric'
          ? geometric(rows, target, blocks)
          : [target];
    // Refuses now a pattern that does not fit, not after the dense phase.
    for (const frame of frames) keepLargest([rows], frame);
    return frames;
  }
}

/** A frame from the text or object of an N:M pattern. */
function patternOf(pattern: Granularity | string): Frame {
  const granularity = typeof pattern === 'string' ? parseGranularity(pattern) : pattern;
  check(
    granularity.kind === 'nm',
    () => `n:m gradient flow: pattern ${formatGranularity(granularity)}; expected n:m such as 1:16`,
  );
  checkNM(granularity);
  return { granularity };
}

/** The target of all parts, and a check of the other options. */
function targetOf(options: NMGradientFlowOptions): Frame {
  const { recipe, granularity, sparsity, coefficient, dense = 0, fineTune = 0, lambda = 0, blocks = [1] } = options;
  const say = (text: string) => `n:m gradient flow: ${text}`;
  check(recipe === undefined || recipes.includes(recipe), () =>
    say(`recipe '${recipe}'; there are ${recipes.join(', ')}`),
  );
  for (const [name, share] of Object.entries({ dense, fineTune })) {
    check(share >= 0 && share < 1, () => say(`${name} ${share}; expected a share of the training, 0 ≤ share < 1`));
  }
  check(coefficient === undefined || coefficient > 0, () => say(`coefficient ${coefficient}; expected more than 0`));
  check(lambda >= 0, () => say(`lambda ${lambda}; expected 0 or more`));
  check(blocks.at(-1) === 1 && blocks.every((k, i) => Number.isInteger(k) && (i === 0 || k < blocks[i - 1])), () =>
    say(`blocks ${blocks.join(', ')}; expected falling whole numbers that end with 1`),
  );
  for (const [name, users] of Object.entries(owners)) {
    const used = recipe ?? 'mdgf-exponential';
    check(options[name as keyof typeof owners] === undefined || users.includes(used), () =>
      say(`${name} belongs to ${users.join(', ')}; ${used} has none`),
    );
  }
  if (granularity !== undefined && granularity !== 'element' && (granularity as Granularity).kind !== 'element') {
    const frame = patternOf(granularity);
    check(sparsity === undefined || isOwn(frame.granularity as NM, sparsity), () =>
      say(`a pattern has its own sparsity; leave ${sparsity} out`),
    );
    return frame;
  }
  check(sparsity !== undefined, say(`give a pattern such as granularity '1:16', or a sparsity`));
  check(sparsity > 0 && sparsity < 1, () => say(`sparsity ${sparsity}; expected 0 < s < 1`));
  return { sparsity };
}

/** What becomes sparse. */
function chosenParts(layers: readonly Layer[], { layers: wanted, exclude = [] }: NMGradientFlowOptions): LayerPart[] {
  const selectors = typeof wanted === 'string' ? wanted.split(',') : wanted;
  const dense = exclude.length > 0 ? maskable(layers, exclude).excluded : [];
  const parts = layerParts(layers, selectors ?? [hasFeedForward(layers) ? 'ff' : 'blocks']);
  const left = parts.filter(p => !dense.includes(p.of));
  check(left.length > 0, () => `n:m gradient flow: exclude [${exclude.join(', ')}] leaves no layer to prune`);
  return left;
}
