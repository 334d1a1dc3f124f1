import { Random } from '@gossamer/tensor';
import { type Run, runOf, runSize } from '../methods/sparse-training/run-size.ts';
import { SparsePretraining } from '../methods/sparse-training/sparse-pretraining-scaling.ts';
import { GPT } from '../models/gpt.ts';
import type { Module } from '../nn/module.ts';
import { AdamW, cosineSchedule, warmUp } from '../optim/index.ts';
import { blockLayers } from '../sparsity/block-layers.ts';
import {
  type Mask,
  magnitude,
  modelLayers,
  prune,
  randomScore,
  ScheduledPruning,
  StaticMask,
} from '../sparsity/index.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { languageModelling } from '../train/task.ts';
import type { Measures } from './experiment.ts';
import { fit, measure } from './fit.ts';
import type { Texts } from './texts.ts';

/** What all pre-training runs share. */
export interface Setup {
  readonly text: Texts;
  readonly layers: number;
  readonly context: number;
  readonly batchSize: number;
}

const task = languageModelling();
/** Of all runs. */
export const LEARNING_RATE = 5e-3;
/** Mask updates of a gradual run over its whole length. */
const UPDATES = 40;

/** Pre-trains small character models, dense and in every sparse way that is compared. */
export class PretrainingBench {
  readonly setup: Setup;

  constructor(setup: Setup) {
    this.setup = setup;
  }

  get tokensPerStep(): number {
    return this.setup.batchSize * this.setup.context;
  }

  /** Prunable parameters of a model of some width: the linear weights of its blocks. */
  prunable(width: number): number {
    return 12 * this.setup.layers * width ** 2;
  }

  async dense(width: number, steps: number, seed: number): Promise<Measures> {
    const model = this.#fresh(width, seed);
    await this.#train(model, steps, seed);
    const n = this.prunable(width);
    return this.#measures(model, { tokens: steps * this.tokensPerStep, loss: 1, active: [[0, n]] });
  }

  /** Gradual pruning with shares `start` and `end` of the compute. */
  async gradual(
    width: number,
    steps: number,
    seed: number,
    options: { sparsity: number; start?: number; end?: number; score?: 'magnitude' | 'random' },
  ): Promise<Measures> {
    const model = this.#fresh(width, seed);
    const pruning = new SparsePretraining({ ...options, interval: Math.max(1, Math.round(steps / UPDATES)) });
    await this.#train(model, steps, seed, [pruning]);
    return this.#measures(model, runOf(pruning.log, { steps, tokensPerStep: this.tokensPerStep, loss: 1 }));
  }

  /** All pruning at one step, by magnitude. */
  async oneShot(width: number, steps: number, seed: number, sparsity: number, at: number): Promise<Measures> {
    const model = this.#fresh(width, seed);
    const exclude = (layers: Parameters<typeof blockLayers>[0]) => {
      const blocks = blockLayers(layers);
      return layers.filter(l => !blocks.includes(l)).map(l => l.name);
    };
    const pruning = new ScheduledPruning({ kind: 'one-shot', sparsity, start: at, stored: 'zero', exclude });
    await this.#train(model, steps, seed, [pruning]);
    const n = this.prunable(width);
    return this.#measures(model, this.#twoSizes(n, sparsity, at, steps));
  }

  /** A random mask from the first step to the last. */
  async staticSparse(width: number, steps: number, seed: number, sparsity: number): Promise<Measures> {
    const model = this.#fresh(width, seed);
    const random = new Random(seed).fork('static mask');
    const mask = await this.#mask(model, l => randomScore(l.values.length, random.fork(l.name)), sparsity);
    await this.#train(model, steps, seed, [new StaticMask(mask)]);
    const n = this.prunable(width) * (1 - sparsity);
    return this.#measures(model, { tokens: steps * this.tokensPerStep, loss: 1, active: [[0, n]] });
  }

  /** A dense run to its end, magnitude pruning, and a fine-tuning with a third of the learning rate. */
  async postTraining(
    width: number,
    { dense, tune }: { readonly dense: number; readonly tune: number },
    seed: number,
    sparsity: number,
  ): Promise<Measures> {
    const model = this.#fresh(width, seed);
    await this.#train(model, dense, seed);
    const mask = await this.#mask(model, l => magnitude(l.values), sparsity);
    await this.#train(model, tune, seed + 1000, [new StaticMask(mask)], LEARNING_RATE / 3);
    return this.#measures(model, this.#twoSizes(this.prunable(width), sparsity, dense, dense + tune));
  }

  #twoSizes(n: number, sparsity: number, at: number, steps: number): Run {
    const active = [[0, n] as const, [at * this.tokensPerStep, n * (1 - sparsity)] as const];
    return { tokens: steps * this.tokensPerStep, loss: 1, active };
  }

  #fresh(width: number, seed: number): GPT {
    const { text, context, layers } = this.setup;
    const random = new Random(seed).fork('weights');
    return new GPT({ vocab: text.vocab, context, layers, heads: 2, dim: width, random });
  }

  async #mask(model: Module, score: Parameters<typeof prune>[1], sparsity: number): Promise<Mask> {
    const { layers } = await modelLayers(model, [{ dtype: 'int32', shape: [1, this.setup.context] }]);
    return prune(blockLayers(layers), score, { sparsity });
  }

  /** Warm-up over 5 % and a cosine to 0 over the whole run, the same for all. */
  async #train(
    model: Module,
    steps: number,
    seed: number,
    sparsifiers: readonly Sparsifier[] = [],
    learningRate = LEARNING_RATE,
  ): Promise<void> {
    const rise = Math.round(0.05 * steps);
    await fit(model, {
      train: this.setup.text.train,
      task,
      steps,
      seed,
      sparsifiers,
      batchSize: this.setup.batchSize,
      clip: 1,
      optimizer: m => new AdamW(m.parameters(), { learningRate, decayVectors: false }),
      schedule: n => warmUp(rise, cosineSchedule({ steps: n - rise })),
    });
  }

  async #measures(model: Module, run: Run): Promise<Measures> {
    const { loss } = await measure(model, this.setup.text.valid, { task, batchSize: 250 });
    return {
      loss,
      tokens: run.tokens,
      initial: runSize(run, 'initial'),
      average: runSize(run, 'average'),
      final: runSize(run, 'final'),
    };
  }
}
