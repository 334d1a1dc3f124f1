import { concat, Random, type Spec, type Tensor } from '@gossamer/tensor';
import { ArrayDataset, type Dataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { load } from '../data/registry.ts';
import { END_OF_STORY } from '../data/sets/text.ts';
import { emergence, type WeightCheckpoint } from '../methods/pruning/emergence.ts';
import {
  type CurveOptions,
  type EssentialCurve,
  essential,
  essentialConfidence,
  essentialCurve,
  essentialMask,
  type Metric,
  maskCosine,
  prunableWeights,
} from '../methods/pruning/essential-sparsity.ts';
import { imp } from '../methods/pruning/imp.ts';
import { GPT } from '../models/gpt.ts';
import { Llama } from '../models/llama.ts';
import { ViT } from '../models/vit.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { AdamW } from '../optim/index.ts';
import { modelLayers } from '../sparsity/model.ts';
import type { Sparsifier, SparsifierState, Training } from '../sparsity/sparsifier.ts';
import { isRight, meanOf, perSample, type SampleMeasure, windowLoss } from '../train/per-sample.ts';
import { restore, type Snapshot, snapshot } from '../train/snapshot.ts';
import { languageModelling, type Task } from '../train/task.ts';
import type { Measures } from './experiment.ts';
import { fit, measure } from './fit.ts';
import { images } from './images.ts';
import { texts } from './texts.ts';

// Pretrained models of the experiment on essential sparsity, and what is measured on them.

export const perplexity: Metric = { name: 'perplexity', better: 'lower', log: true };
export const accuracy: Metric = { name: 'accuracy', better: 'higher' };
export const loss: Metric = { name: 'loss', better: 'lower' };

/** Of perplexity zero-shot, of accuracy after fine-tuning, of the loss. */
export const tolerances = { perplexity: 0.05, accuracy: 0.01, loss: 0.01 };

const evaluation =
  (metric: Metric, sample: SampleMeasure, data: Dataset, batchSize: number) => async (model: Module) => {
    const samples = await perSample(model, sample, new DataLoader(data, { batchSize }));
    return { value: metric.log ? Math.exp(meanOf(samples)) : meanOf(samples), samples };
  };

/**
 * A curve as plain numbers: `at 0.3` …, s*, the slopes, the interval of s*, and that of the knee where the grid was
 * refined around it. The knee itself is read off the curve.
 */
function measuresOf({ points, metric }: EssentialCurve, tolerance: number, seed: number): Measures {
  const values = Object.fromEntries(points.map(p => [`at ${+p.sparsity.toFixed(4)}`, p.value]));
  // A pattern alone has no curve.
  if (points.length < 3) return values;
  const { sparsity, slopes } = essential(points, metric, tolerance);
  const random = new Random(seed).fork('bootstrap');
  const sure = essentialConfidence(points, metric, { tolerance, random, samples: 300 });
  return {
    ...values,
    star: sparsity,
    starLow: sure.sparsity[0],
    starHigh: sure.sparsity[1],
    before: slopes[0],
    after: slopes[1],
    ...(points.some(p => p.refined) && { kneeLow: sure.knee[0], kneeHigh: sure.knee[1] }),
  };
}

type CurveArm = Pick<CurveOptions, 'scope' | 'pattern'> & { readonly random?: boolean };

const curveOf = (options: CurveOptions, arm: CurveArm, seed: number): Promise<EssentialCurve> =>
  essentialCurve({ ...options, ...arm, random: arm.random ? new Random(seed).fork('random pruning') : undefined });

// ---- A: a pretrained language model, zero-shot

export interface Story {
  readonly name: string;
  curve(arm: CurveArm & { readonly grid?: readonly number[] }, seed: number): Promise<Measures>;
}

/** stories260K on held-out stories where it is there, else nothing. */
export async function storyModel(windows: number, grid: readonly number[]): Promise<Story | undefined> {
  const folder = process.env.GOSSAMER_MODELS;
  if (!folder) return undefined;
  const model = await Llama.fromPretrained(`${folder}/stories260K`);
  const { valid, test } = await load('tinystories');
  const length = 160;
  // The beginnings of stories, as the model saw them: after the token that starts one.
  const stories: Int32Array[] = [];
  for (const story of (valid + test).split(END_OF_STORY)) {
    if (stories.length === windows) break;
    const ids = Int32Array.of(model.config.bos, ...model.tokenizer!.encode(story.trim()));
    if (ids.length > length) stories.push(ids);
  }
  const rows = (from: number) => ({
    dtype: 'int32' as const,
    shape: [stories.length, length],
    data: Int32Array.from(stories.flatMap(ids => [...ids.subarray(from, from + length)])),
  });
  const data = new ArrayDataset({ inputs: rows(0), targets: rows(1) });
  const options: CurveOptions = {
    model,
    inputs: [{ dtype: 'int32', shape: [1, length] }],
    grid,
    metric: perplexity,
    evaluate: evaluation(perplexity, windowLoss, data, 8),
    tolerance: tolerances.perplexity,
  };
  return {
    name: `stories260K (LLaMA, 260 k parameters), the first ${length} tokens of ${data.length} held-out stories`,
    curve: async ({ grid: own = grid, ...arm }, seed) =>
      measuresOf(await curveOf({ ...options, grid: own }, arm, seed), tolerances.perplexity, seed),
  };
}

// ---- B: pre-training of a character model

export interface TextScale {
  readonly name: 'tiny-shakespeare' | 'sonnet';
  readonly length: number;
  readonly layers: number;
  readonly dim: number;
  readonly steps: number;
  /** Between checkpoints. */
  readonly every: number;
  readonly windows: number;
}

/** Keeps the prunable weights every few steps. */
class Checkpoints implements Sparsifier {
  readonly name = 'checkpoints';
  readonly mask = undefined;
  readonly taken: WeightCheckpoint[] = [];
  readonly #every: number;
  readonly #inputs: readonly Spec[];

  constructor(every: number, inputs: readonly Spec[]) {
    this.#every = every;
    this.#inputs = inputs;
  }

  async prepare(): Promise<void> {}

  async update({ step, steps, model }: Training): Promise<void> {
    if (step % this.#every !== 0 && step !== steps) return;
    const { layers } = await prunableWeights(model, this.#inputs);
    this.taken.push({ step, layers: layers.map(l => ({ ...l, values: l.values.slice() })) });
  }

  state(): SparsifierState {
    return { arrays: {}, json: null };
  }

  restore(): void {}
}

/** Pre-trains on a share of the text for the same number of steps; near-zero weights on the way, s* of the result. */
export async function pretrainText(
  scale: TextScale,
  { share, weightDecay, grid }: { share: number; weightDecay: number; grid: readonly number[] },
  seed: number,
): Promise<Measures> {
  const { vocab, train, valid } = await texts(scale.name, scale.length);
  const model = new GPT({
    vocab,
    context: scale.length,
    layers: scale.layers,
    heads: 4,
    dim: scale.dim,
    random: new Random(seed).fork('model'),
  });
  const inputs: Spec[] = [{ dtype: 'int32', shape: [1, scale.length] }];
  const checkpoints = new Checkpoints(scale.every, inputs);
  const part = train.slice(0, Math.floor(share * train.length));
  await fit(model, {
    train: part,
    steps: scale.steps,
    batchSize: Math.min(16, part.length),
    seed,
    task: languageModelling(),
    optimizer: m => new AdamW(m.parameters(), { learningRate: 3e-3, weightDecay, decayVectors: false }),
    sparsifiers: [checkpoints],
    clip: 1,
  });
  const data = valid.slice(0, Math.min(scale.windows, valid.length));
  const evaluate = evaluation(loss, windowLoss, data, 16);
  const curve = await essentialCurve({ model, inputs, grid, metric: loss, evaluate });
  const { points, jump, normalizedJump } = emergence(checkpoints.taken);
  return {
    ...measuresOf(curve, tolerances.loss, seed),
    loss: curve.points[0].value,
    ...Object.fromEntries(
      points.flatMap(p => [
        [`near ${p.step}`, p.total],
        [`normalized ${p.step}`, p.normalized],
      ]),
    ),
    jump: jump.ratio,
    jumpStep: jump.step,
    jumpSize: jump.size,
    normalizedJump: normalizedJump.ratio,
  };
}

// ---- C: a vision transformer, fine-tuned

export interface ImageScale {
  readonly set: 'fashion-mnist' | 'digits';
  readonly side: number;
  readonly pretrain: number;
  readonly finetune: number;
  readonly test: number;
  readonly depth: number;
  readonly dim: number;
  readonly epochs: number;
  readonly finetuneEpochs: number;
}

export type Objective = 'supervised' | 'masked patches';

const patch = 4;

/** Reconstructs patches that were blanked out: a linear layer on the tokens of the transformer. */
class MaskedPatches extends Module {
  readonly vit: ViT;
  readonly decoder: Linear;

  constructor(vit: ViT, dim: number, random: Random) {
    super();
    this.vit = vit;
    this.decoder = new Linear(dim, patch * patch, { random });
  }

  /** [n, 1, side, side] → [n, patches, patch²] */
  override forward(x: Tensor): Tensor {
    const { vit } = this;
    const tokens = vit.patchEmbed.forward(x);
    const [n, count, dim] = tokens.shape;
    const first = vit.clsToken.expand([n, 1, dim]);
    const h = vit.norm.forward(vit.blocks.forward(concat([first, tokens], 1).add(vit.posEmbed)));
    return this.decoder.forward(h.slice(1, 1, 1 + count));
  }
}

/** Mean squared error of the blanked patches. */
const reconstruction: Task = (model, { inputs, targets, blank }) => {
  const errors = model.forward(inputs).sub(targets).square().mean(2) as Tensor;
  return { loss: errors.mul(blank).sum().div(blank.sum()) };
};

/** Half of the patches of every image blanked, `copies` times with other ones. */
function blanked({ fields }: ArrayDataset, side: number, copies: number, seed: number): ArrayDataset {
  const { inputs } = fields;
  const [n, tokens, size] = [inputs.shape[0], (side / patch) ** 2, patch * patch];
  const source = inputs.data as Float32Array;
  const images = new Float32Array(copies * source.length);
  const targets = new Float32Array(copies * n * tokens * size);
  const blank = new Float32Array(copies * n * tokens);
  const random = new Random(seed).fork('blank');
  for (let row = 0; row < copies * n; row++) {
    const image = source.subarray((row % n) * side * side, ((row % n) + 1) * side * side);
    images.set(image, row * side * side);
    for (const t of random
      .fork(row)
      .permutation(tokens)
      .subarray(0, tokens >> 1))
      blank[row * tokens + t] = 1;
    for (let t = 0; t < tokens; t++) {
      const [top, left] = [Math.floor(t / (side / patch)) * patch, (t % (side / patch)) * patch];
      for (let k = 0; k < size; k++) {
        const pixel = (top + Math.floor(k / patch)) * side + left + (k % patch);
        targets[(row * tokens + t) * size + k] = image[pixel];
        if (blank[row * tokens + t] === 1) images[row * side * side + pixel] = 0;
      }
    }
  }
  const count = copies * n;
  return new ArrayDataset({
    inputs: { dtype: 'float32', shape: [count, 1, side, side], data: images },
    targets: { dtype: 'float32', shape: [count, tokens, size], data: targets },
    blank: { dtype: 'float32', shape: [count, tokens], data: blank },
  });
}

/** Pretrained transformers of one size, shared by all arms of a seed. */
export class VisionBench {
  readonly #scale: ImageScale;
  readonly #data: { readonly pretrain: ArrayDataset; readonly finetune: ArrayDataset; readonly test: ArrayDataset };
  readonly #pretrained = new Map<string, Promise<Snapshot>>();

  private constructor(scale: ImageScale, pretrain: ArrayDataset, finetune: ArrayDataset, test: ArrayDataset) {
    this.#scale = scale;
    this.#data = { pretrain, finetune, test };
  }

  static async open(scale: ImageScale): Promise<VisionBench> {
    const { train, test } = await images(scale.set, scale.pretrain + scale.finetune, scale.test, scale.side);
    return new VisionBench(scale, train.slice(0, scale.pretrain), train.slice(scale.pretrain), test);
  }

  /** Test accuracy of the pruned, then fine-tuned transformer at each sparsity. */
  async curve(objective: Objective, arm: CurveArm, grid: readonly number[], seed: number): Promise<Measures> {
    const model = await this.#start(objective, seed);
    const curve = await curveOf(
      {
        model,
        inputs: this.#inputs,
        grid,
        metric: accuracy,
        evaluate: evaluation(accuracy, isRight, this.#data.test, 500),
        protocol: { kind: 'fine-tune', train: (m, sparsifiers) => this.#finetune(m, seed, sparsifiers) },
        refine: 0,
      },
      arm,
      seed,
    );
    return measuresOf(curve, tolerances.accuracy, seed);
  }

  /** IMP tickets of the task, rewound to the pretrained weights: accuracy, and cosine with the task-free masks. */
  async tickets(rounds: number, seed: number): Promise<Measures> {
    const model = await this.#start('supervised', seed);
    const { layers } = await prunableWeights(model, this.#inputs);
    const prunable = layers.map(l => ({ ...l, values: l.values.slice() }));
    const own = new Set(prunable.map(l => l.name));
    const { layers: all } = await modelLayers(model, this.#inputs);
    const outside = all.map(l => l.name).filter(name => !own.has(name));
    const found: Record<string, number> = {};
    const run = imp({
      model,
      inputs: this.#inputs,
      rounds,
      rate: 0.2,
      exclude: outside,
      train: async ({ sparsifiers }) => {
        await this.#finetune(model, seed, sparsifiers);
        return 100 * (await measure(model, this.#data.test)).accuracy;
      },
    });
    for await (const { mask, result } of run) {
      if (!mask) continue;
      const sparsity = mask.sparsity();
      found[`accuracy ${sparsity.toFixed(2)}`] = result;
      found[`cosine ${sparsity.toFixed(2)}`] = maskCosine(essentialMask(prunable, { sparsity }), mask);
    }
    return found;
  }

  get #inputs(): readonly Spec[] {
    const { side } = this.#scale;
    return [{ dtype: 'float32', shape: [1, 1, side, side] }];
  }

  #fresh(seed: number): ViT {
    const { side, depth, dim } = this.#scale;
    const random = new Random(seed).fork('vit');
    return new ViT({
      imageSize: side,
      patchSize: patch,
      channels: 1,
      classes: 10,
      dim,
      depth,
      heads: 4,
      mlpRatio: 2,
      random,
    });
  }

  async #start(objective: Objective, seed: number): Promise<ViT> {
    const key = `${objective} ${seed}`;
    let state = this.#pretrained.get(key);
    if (!state) {
      state = this.#pretrain(objective, seed);
      this.#pretrained.set(key, state);
    }
    const model = this.#fresh(seed);
    restore(model, await state);
    return model;
  }

  async #pretrain(objective: Objective, seed: number): Promise<Snapshot> {
    const vit = this.#fresh(seed);
    const { epochs, side, dim } = this.#scale;
    const { pretrain } = this.#data;
    const common = { batchSize: 100, seed, optimizer: adamw(2e-3) };
    if (objective === 'supervised') await fit(vit, { ...common, train: pretrain, epochs });
    else {
      // Two copies in half as many passes: as many steps.
      const model = new MaskedPatches(vit, dim, new Random(seed).fork('decoder'));
      const train = blanked(pretrain, side, 2, seed);
      await fit(model, { ...common, train, steps: epochs * Math.floor(pretrain.length / 100), task: reconstruction });
    }
    const state = new Map(await snapshot(vit));
    // The head is the task's: fine-tuning starts with a new one.
    const fresh = await snapshot(this.#fresh(seed));
    for (const name of ['head.weight', 'head.bias']) state.set(name, fresh.get(name)!);
    return state;
  }

  async #finetune(model: Module, seed: number, sparsifiers: readonly Sparsifier[]): Promise<void> {
    const epochs = this.#scale.finetuneEpochs;
    const options = { train: this.#data.finetune, epochs, batchSize: 50, seed: 100 + seed, sparsifiers };
    await fit(model, { ...options, optimizer: adamw(1e-3) });
  }
}

const adamw = (learningRate: number) => (model: Module) =>
  new AdamW(model.parameters(), { learningRate, weightDecay: 0.01, decayVectors: false });
