// Do sparse networks transfer as well as dense ones when they cannot be changed? An audit by linear probing and visual
// prompting. "Reprogramming under constraints: Revisiting efficient and reliable transferability of lottery tickets"
// (Misra, Ghosh, Zhou et al. 2023).

import { check, Random } from '@gossamer/tensor';
import { ArrayDataset, type Dataset } from '../../data/dataset.ts';
import { fewShot } from '../../data/few-shot.ts';
import { DataLoader } from '../../data/loader.ts';
import { compose, normalize, resize, type Transform, toFloat } from '../../data/transforms.ts';
import { inEvalMode } from '../../nn/export.ts';
import type { Module } from '../../nn/module.ts';
import { randomScore } from '../../sparsity/index.ts';
import {
  accuracy,
  expectedCalibrationError,
  fitTemperature,
  negativeLogLikelihood,
  softmaxRows,
} from '../../train/calibration.ts';
import { type Predictions, predict } from '../../train/predict.ts';
import type { MethodInfo } from '../method.ts';
import type { ImpOptions } from '../pruning/imp.ts';
import { fineTune } from './full-fine-tuning.ts';
import type { Mapping } from './label-mapping.ts';
import { featuresOf, linearProbe } from './linear-probe.ts';
import { type Reprogrammed, reprogram } from './reprogrammed.ts';
import { VisualPrompt } from './visual-prompt.ts';

export const method: MethodInfo = {
  slug: 'reprogram-lottery-tickets',
  name: 'Reprogramming lottery tickets',
  summary:
    'Audits how pruned classifiers transfer, frozen: linear probes and visual prompts, accuracy and calibration.',
  paper:
    'Reprogramming under constraints: Revisiting efficient and reliable transferability of lottery tickets (Misra et al. 2023)',
  kind: 'procedure',
};

/** A classifier that is adapted and never changed. */
export interface Source {
  readonly model: Module;
  /** What it takes. */
  readonly input: readonly [channels: number, height: number, width: number];
  /** Of its normalisation, of values 0…1. */
  readonly mean: number | readonly number[];
  readonly std: number | readonly number[];
  /** K_s. */
  readonly classes: number;
}

/** A data set to adapt to: `inputs` uint8 or float 0…1, [n, channels of the source, any, any], `labels` [n]. */
export interface Target {
  readonly name: string;
  readonly train: Dataset;
  readonly test: Dataset;
  /** K_t. */
  readonly classes: number;
}

/**
 * - `linear-probe`: a linear layer on the frozen penultimate activations of images scaled to the source's size
 * - `visual-prompt`: a border around the smaller image, and a choice of source classes
 * - `fine-tune`: all weights, from the source's on: the upper reference
 * - `raw-pixels`: a linear layer on the pixels: the naive one
 */
export type Regime = 'linear-probe' | 'visual-prompt' | 'fine-tune' | 'raw-pixels';

export interface AdaptOptions {
  readonly regime: Regime;
  /** Labelled images of each target class; default all there are. */
  readonly shots?: number;
  /** Decides the draw, which is the same for all networks, and the order of batches; default 0. */
  readonly seed?: number;
  /** Passes over the draw; default 100, 200 for visual prompts, 20 for fine-tuning. */
  readonly epochs?: number;
  /** Default 128 for visual prompts, 256 for linear layers, 64 for fine-tuning. */
  readonly batchSize?: number;
  /** Of visual prompts; default `ilm`. */
  readonly mapping?: Mapping;
  /** Default `border`. */
  readonly prompt?: 'border' | 'additive';
  /** Side of the image inside the frame; default four sevenths of the source's height (16 of 28). */
  readonly inner?: number;
  /**
   * Whether to fit a temperature to the predictions, on a fifth of the draw that is held out for it (five shots or
   * more); its calibration is reported apart. Default no.
   */
  readonly temperature?: boolean;
}

/** What an adapted network does on the target's test set. */
export interface Adaptation {
  /** 0…1. */
  readonly accuracy: number;
  /** In 15 bins of equal width, 0…1. */
  readonly ece: number;
  /** Nats. */
  readonly nll: number;
  readonly predictions: Predictions;
  /** Of a visual prompt: δ and the mapping that was learned with it. */
  readonly reprogrammed?: Reprogrammed;
  readonly scaled?: { readonly temperature: number; readonly ece: number; readonly nll: number };
}

/** Adapts a frozen source to a target. The source's weights and running statistics are the same afterwards. */
export async function adapt(source: Source, target: Target, options: AdaptOptions): Promise<Adaptation> {
  const { shots, seed = 0, temperature = false } = options;
  const all = await target.train.all();
  const [channels] = source.input;
  check(
    all.inputs.shape.length === 4 && all.inputs.shape[1] === channels,
    () => `adapt to ${target.name}: images [${all.inputs.shape}], expected [n, ${channels}, height, width]`,
  );
  const rows = shots === undefined ? undefined : fewShot(all.labels.data as Int32Array, target.classes, shots, seed);
  const draw = rows ? new ArrayDataset(all).gather(rows) : new ArrayDataset(all);
  check(
    !temperature || shots === undefined || shots >= 5,
    () => `adapt: a temperature needs images that the rest is not trained on: 5 shots or more, ${shots} were given`,
  );
  const [train, held] = temperature
    ? await Promise.all(
        (await draw.split([0.8, 0.2], { seed, stratify: 'labels' })).map(async p => new ArrayDataset(await p.all())),
      )
    : [draw];
  const { predictor, reprogrammed } = await inEvalMode(source.model, () => adapted(source, target, train, options));
  const { predictions, calibration } = await inEvalMode(source.model, async () => ({
    predictions: await predictor(target.test),
    calibration: held && (await predictor(held)),
  }));
  const judge = ({ logits, labels }: Predictions, t = 1) => {
    const probabilities = softmaxRows(logits, t);
    return {
      ece: expectedCalibrationError(probabilities, labels),
      nll: negativeLogLikelihood(probabilities, labels),
    };
  };
  const t = calibration && fitTemperature(calibration.logits, calibration.labels);
  return {
    accuracy: accuracy(predictions.logits, predictions.labels),
    ...judge(predictions),
    predictions,
    ...(reprogrammed && { reprogrammed }),
    ...(t !== undefined && { scaled: { temperature: t, ...judge(predictions, t) } }),
  };
}

interface Adapted {
  predictor(data: Dataset): Promise<Predictions>;
  readonly reprogrammed?: Reprogrammed;
}

const loader = (data: Dataset) => new DataLoader(data, { batchSize: Math.min(500, data.length) });

async function adapted(source: Source, target: Target, train: ArrayDataset, options: AdaptOptions): Promise<Adapted> {
  const { regime, seed = 0, epochs, batchSize } = options;
  const { classes } = target;
  const [, height, width] = source.input;
  const length = { ...(epochs !== undefined && { epochs }), ...(batchSize !== undefined && { batchSize }) };
  if (regime === 'visual-prompt') {
    const inner = options.inner ?? Math.round((4 * height) / 7);
    const prompt = new VisualPrompt({ ...source, source: source.input, inner, prompt: options.prompt ?? 'border' });
    const small = (data: Dataset) => transformed(data, resize(inner), toFloat());
    const { mapping = 'ilm' } = options;
    const reprogrammed = await reprogram(source.model, prompt, await small(train), {
      classes,
      sourceClasses: source.classes,
      mapping,
      seed,
      ...length,
    });
    return { reprogrammed, predictor: async data => predict(reprogrammed, loader(await small(data))) };
  }
  const scale = [resize([height, width]), normalize(source.mean, source.std)];
  const sized = (data: Dataset) => transformed(data, ...scale);
  if (regime === 'fine-tune') {
    const tuned = await fineTune(source.model, await sized(train), { classes, seed, ...length });
    return { predictor: async data => tuned(loader(await sized(data))) };
  }
  check(
    regime === 'linear-probe' || regime === 'raw-pixels',
    () => `adapt: regime '${regime}'; expected linear-probe, visual-prompt, fine-tune or raw-pixels`,
  );
  const features = async (data: Dataset) =>
    regime === 'raw-pixels' ? flat(await sized(data)) : featuresOf(source.model, await sized(data));
  const head = await linearProbe(await features(train), { classes, seed, ...length });
  return { predictor: async data => predict(head, loader(await features(data))) };
}

/** The data in memory after transforms that draw nothing. */
async function transformed(data: Dataset, ...transforms: readonly Transform[]): Promise<ArrayDataset> {
  const context = { indices: [], epoch: 0, random: new Random(0) };
  return new ArrayDataset(await compose(...transforms)(await data.all(), context));
}

function flat({ fields: { inputs, labels } }: ArrayDataset): ArrayDataset {
  const [n] = inputs.shape;
  return new ArrayDataset({ inputs: { ...inputs, shape: [n, inputs.data.length / n] }, labels });
}

/** How much better the dense network does on a target: Δ = acc_dense − acc_ticket, paired by seed, mean and deviation. */
export function performanceGap(
  dense: readonly number[],
  ticket: readonly number[],
): { readonly mean: number; readonly std: number; readonly isSignificant: boolean } {
  check(
    dense.length === ticket.length && dense.length > 0,
    () => `performanceGap: ${dense.length} dense and ${ticket.length} sparse results; expected as many, seed by seed`,
  );
  const gaps = dense.map((d, i) => d - ticket[i]);
  const mean = gaps.reduce((a, b) => a + b, 0) / gaps.length;
  const std = gaps.length > 1 ? Math.sqrt(gaps.reduce((a, g) => a + (g - mean) ** 2, 0) / (gaps.length - 1)) : 0;
  return { mean, std, isSignificant: mean - std > 0 };
}

/** Where tickets come from: all are trained from the same early weights. */
export type TicketSource = 'imp-rewind' | 'one-shot-magnitude' | 'random-mask';

/**
 * Options of `imp` that make such tickets: `imp-rewind` goes down the ladder 1 − 0.8^r in `rounds`, one ticket a round;
 * the others make one of the last sparsity at once.
 */
export function ticketOptions(
  source: TicketSource,
  rounds: number,
  seed = 0,
): Pick<ImpOptions, 'rounds' | 'rate' | 'sparsity' | 'score' | 'rewind' | 'allocation'> {
  const rewind = 'weights';
  if (source === 'imp-rewind') return { rounds, rate: 0.2, rewind };
  const sparsity = 1 - 0.8 ** rounds;
  if (source === 'one-shot-magnitude') return { rounds: 1, sparsity, rewind };
  check(
    source === 'random-mask',
    () => `tickets from '${source}'; expected imp-rewind, one-shot-magnitude or random-mask`,
  );
  const random = new Random(seed).fork('random tickets');
  const score = () => (l: { name: string; values: Float32Array }) => randomScore(l.values.length, random.fork(l.name));
  return { rounds: 1, sparsity, score, rewind };
}
