import { check, compile, gradients, Random, realize, substitute, type Tensor } from '@gossamer/tensor';
import type { Batch } from '../data/dataset.ts';
import type { DataLoader } from '../data/loader.ts';
import type { Module } from '../nn/module.ts';
import { clipByGlobalNorm } from '../optim/clip.ts';
import type { EMA } from '../optim/ema.ts';
import type { Optimizer } from '../optim/optimizer.ts';
import { constantSchedule, type RateSchedule } from '../optim/schedule.ts';
import type { Selection } from '../sparsity/layer.ts';
import { type ModelLayers, modelLayers, refreshLayers } from '../sparsity/model.ts';
import { sampleOf } from '../sparsity/score-data.ts';
import type { Sparsifier, Training, TrainingCalibration } from '../sparsity/sparsifier.ts';
import { percent } from '../text.ts';
import { type Checkpoint, latestCheckpoint, loadCheckpoint, saveCheckpoint } from './checkpoint.ts';
import { effectiveWeights, evaluator, type Metrics } from './evaluate.ts';
import { MetricsLog } from './metrics-log.ts';
import { type Progress, silent } from './progress.ts';
import { type Task, toTensors } from './task.ts';
import { TensorBoardWriter } from './tensorboard.ts';

export interface TrainerOptions {
  readonly model: Module;
  readonly task: Task;
  readonly train: DataLoader;
  readonly optimizer: Optimizer;
  /** Length of the training: epochs or optimiser steps, one of them. */
  readonly epochs?: number;
  readonly steps?: number;
  /** Factor on the optimiser's learning rate at each step; default constant. */
  readonly schedule?: RateSchedule;
  /** Limit of the gradients' global norm; default none. */
  readonly clip?: number;
  readonly sparsifiers?: readonly Sparsifier[];
  readonly ema?: EMA;
  /** Data that the model is evaluated on after every `evaluateEvery` epochs (default 1) and at the end. */
  readonly validation?: DataLoader;
  readonly evaluateEvery?: number;
  /** Stops when `metric` of the validation has not improved for `patience` evaluations. */
  readonly earlyStop?: { readonly metric: string; readonly patience: number; readonly mode: 'max' | 'min' };
  /** Seed of what sparsifiers draw; default 0. Model, loader and dropout have seeds of their own. */
  readonly seed?: number;
  /** Folder for `metrics.jsonl`, TensorBoard events and checkpoints; default none is written. */
  readonly out?: string;
  /** Steps between checkpoints; default one an epoch. Only with `out`. */
  readonly checkpointEvery?: number;
  /** Go on from the newest checkpoint in `out`, if there is one; default true. */
  readonly resume?: boolean;
  readonly progress?: Progress;
  /** What the progress bar says; default `training`. */
  readonly label?: string;
}

export interface TrainingResult {
  readonly steps: number;
  /** Validation metrics at the end (empty without validation data). */
  readonly metrics: Metrics;
  /** All evaluations in order. */
  readonly history: readonly (Metrics & { readonly step: number; readonly epoch: number })[];
  readonly stoppedEarly: boolean;
  readonly seconds: number;
  /** Where the time of the compiled steps went, in milliseconds. */
  readonly spent: { readonly calls: number; readonly total: number; readonly runtime: number; readonly host: number };
}

/** State that a checkpoint keeps as JSON, beside the arrays. */
interface Saved {
  readonly step: number;
  readonly loader: unknown;
  readonly generators: Record<string, unknown>;
  readonly sparsifiers: readonly unknown[];
  readonly history: TrainingResult['history'];
  readonly random: unknown;
}

/**
 * Trains a model: one compiled graph a step (forward, backward, sparsifiers, optimiser, average), evaluation, logs,
 * checkpoints. A run that is killed at any moment and started again with the same options goes on from its newest
 * checkpoint and ends with the same bits.
 */
export class Trainer {
  readonly #o: TrainerOptions;
  readonly #steps: number;
  readonly #sparsifiers: readonly Sparsifier[];
  readonly #schedule: RateSchedule;
  readonly #random: Random;
  #fields: readonly string[] = [];

  constructor(options: TrainerOptions) {
    const { epochs, steps, train, sparsifiers = [], schedule = constantSchedule(), seed = 0 } = options;
    check(
      (epochs === undefined) !== (steps === undefined),
      () => `Trainer: epochs ${epochs}, steps ${steps}: give one of them`,
    );
    const total = steps ?? epochs! * train.length;
    check(Number.isInteger(total) && total >= 0, () => `Trainer: ${total} steps; expected a whole number ≥ 0`);
    check(
      !options.earlyStop || options.validation,
      () =>
        `Trainer: earlyStop watches '${options.earlyStop!.metric}' of the validation, but there is no validation data`,
    );
    this.#o = options;
    this.#steps = total;
    this.#sparsifiers = sparsifiers;
    this.#schedule = schedule;
    this.#random = new Random(seed).fork('sparsifiers');
  }

  async run(): Promise<TrainingResult> {
    const { model, train, validation, optimizer, out, ema, earlyStop, progress = silent } = this.#o;
    const started = performance.now();
    const evaluateModel = evaluator(model, this.#o.task, this.#sparsifiers);
    const validate = async (): Promise<Metrics> =>
      ema ? ema.averaged(() => evaluateModel.run(validation!)) : evaluateModel.run(validation!);

    let batch = await train.batchAt(train.epoch, 0);
    this.#fields = Object.keys(batch);
    const { batchSize } = train.options;
    const step = compile((...values: Tensor[]) => this.#step(values));
    const dense = compile((...values: Tensor[]) => this.#denseGradients(values));
    const layers = this.#sparsifiers.length > 0 ? await modelLayers(model, [sampleOf(batch)]) : emptyLayers;
    const at = (done: number): Training => ({
      model,
      layers,
      optimizer,
      data: train,
      step: done,
      steps: this.#steps,
      rate: this.#schedule(Math.min(done, this.#steps - 1)),
      random: this.#random,
      denseGradients: async (other = batch) => {
        model.train();
        const result = await dense(...this.#values(other));
        return new Map(await Promise.all(Object.entries(result).map(async ([n, g]) => [n, await g.data()] as const)));
      },
      calibrate: look => this.#calibrate(layers, batch, look),
      log: line => progress.log(line),
    });
    for (const s of this.#sparsifiers) {
      await s.prepare(at(0));
      if (s.selection && s.selection.excluded.length > 0) progress.log(denseLayers(s.name, s.selection));
    }

    let done = 0;
    let history: TrainingResult['history'] = [];
    if (out !== undefined && this.#o.resume !== false) {
      const found = await latestCheckpoint(out);
      if (found) ({ step: done, history } = this.#restore(await loadCheckpoint(found)));
    }
    const after = done > 0 ? { after: done } : {};
    const log = out === undefined ? undefined : await MetricsLog.open(`${out}/metrics.jsonl`, after);
    const board = out === undefined ? undefined : await TensorBoardWriter.open(out, after);
    const bar = progress.start(this.#o.label ?? 'training', this.#steps * batchSize, {
      done: done * batchSize,
      unit: 'samples',
    });
    const every = this.#o.checkpointEvery ?? train.length;
    // A run that had stopped when it was killed does not go on.
    let stoppedEarly = earlyStop !== undefined && history.length > 0 && hasStalled(history, earlyStop);
    model.train();

    const evaluateNow = async (): Promise<void> => {
      const metrics = await validate();
      const row = { step: done, epoch: train.epoch, ...metrics };
      history = [...history, row];
      log?.write({ step: done, epoch: train.epoch, ...validationNames(metrics) });
      board?.scalars(done, validationNames(metrics));
    };

    try {
      while (done < this.#steps && !stoppedEarly) {
        for await (const next of train) {
          batch = next;
          for (const s of this.#sparsifiers) await s.update?.(at(done));
          const rate = optimizer.initialLearningRate * this.#schedule(done);
          optimizer.setLearningRate(rate);
          const result = await step(...this.#values(batch));
          done++;
          const values: Metrics = {};
          for (const [name, value] of Object.entries(result)) values[name] = await value.item();
          check(
            Number.isFinite(values.loss),
            () => `Trainer: the loss is ${values.loss} at step ${done}; try a lower learning rate or clip gradients`,
          );
          for (const s of this.#sparsifiers) await s.stepped?.(at(done));
          const sparsity = this.#sparsifiers.find(s => s.mask)?.mask?.sparsity();
          const row = { ...values, learning_rate: rate, ...(sparsity !== undefined && { sparsity }) };
          log?.write({ step: done, epoch: train.epoch, ...row });
          board?.scalars(done, row);
          bar.update(done * batchSize, { loss: values.loss, ...(sparsity !== undefined && { sparsity }) });
          const last = done === this.#steps;
          const endOfEpoch = done % train.length === 0;
          if (last) for (const s of this.#sparsifiers) await s.update?.(at(done));
          if (validation && (last || (endOfEpoch && (done / train.length) % (this.#o.evaluateEvery ?? 1) === 0))) {
            await evaluateNow();
            stoppedEarly = earlyStop !== undefined && hasStalled(history, earlyStop);
          }
          if (out !== undefined && (last || done % every === 0)) await this.#save(out, done, history);
          if (last || stoppedEarly) break;
        }
      }
    } finally {
      bar.stop();
      log?.close();
      board?.close();
      await Promise.all([step.dispose(), dense.dispose(), evaluateModel.dispose()]);
    }
    model.eval();
    await this.#settle();
    return {
      steps: done,
      metrics: metricsOf(history.at(-1)),
      history,
      stoppedEarly,
      seconds: (performance.now() - started) / 1000,
      spent: { ...step.spent },
    };
  }

  /** Makes the effective weights the model's own: from here on masked weights are zero wherever the model is written. */
  async #settle(): Promise<void> {
    const effective = [...effectiveWeights(this.#o.model, this.#sparsifiers)];
    await realize(...effective.map(([, value]) => value));
    for (const [p, value] of effective) p.set(positiveZeros(await value.data()));
  }

  /** Shows the network with its effective weights and puts the stored ones back. */
  async #calibrate<T>(
    layers: ModelLayers,
    batch: Batch,
    look: (calibration: TrainingCalibration) => Promise<T>,
  ): Promise<T> {
    const { model, task } = this.#o;
    const effective = [...effectiveWeights(model, this.#sparsifiers)];
    await realize(...effective.map(([, value]) => value));
    const stored = await Promise.all(effective.map(async ([p]) => [p, (await p.data()).slice()] as const));
    for (const [p, value] of effective) p.set(await value.data());
    try {
      const shown = { ...layers, layers: await refreshLayers(layers) };
      return await look({ model, task, batches: [batch], layers: shown, mode: 'train' });
    } finally {
      for (const [p, values] of stored) p.set(values);
      model.train();
    }
  }

  #values(batch: Batch): Tensor[] {
    const tensors = toTensors(batch);
    return this.#fields.map(name => tensors[name]);
  }

  #batch(values: readonly Tensor[]): Record<string, Tensor> {
    return Object.fromEntries(this.#fields.map((name, i) => [name, values[i]]));
  }

  /** The traced training step. */
  #step(values: readonly Tensor[]) {
    const { model, task, optimizer, clip, ema } = this.#o;
    const effective = effectiveWeights(model, this.#sparsifiers);
    const result = substitute(effective, () => task(model, this.#batch(values)));
    let loss = result.loss;
    for (const s of this.#sparsifiers) if (s.penalty) loss = loss.add(s.penalty());
    const own = this.#sparsifiers.flatMap(s => s.optimizer ?? []);
    const [weights, ...others] = gradientsFor(loss, [optimizer, ...own]);
    let grads = weights.map((g, i) =>
      this.#sparsifiers.reduce((grad, s) => s.gradient?.(optimizer.parameters[i], grad) ?? grad, g),
    );
    const clipped = clip === undefined ? undefined : clipByGlobalNorm(grads, clip);
    if (clipped) grads = clipped.grads;
    const before = optimizer.parameters.map(p => p.current());
    optimizer.step(grads);
    own.forEach((o, i) => {
      o.step(others[i]);
    });
    for (const s of this.#sparsifiers) {
      optimizer.parameters.forEach((p, i) => {
        s.settle?.(p, before[i], optimizer);
      });
    }
    ema?.update();
    return { ...result, loss, ...(clipped && { gradient_norm: clipped.norm }) };
  }

  /** The traced gradients of the effective weights. */
  #denseGradients(values: readonly Tensor[]): Record<string, Tensor> {
    const { model, task } = this.#o;
    const effective = effectiveWeights(model, this.#sparsifiers);
    const before = [...model.namedParameters()].map(([, p]) => [p, p.current()] as const);
    const { loss } = substitute(effective, () => task(model, this.#batch(values)));
    // Looking at gradients must not move running statistics.
    for (const [p, value] of before) if (!p.trainable) p.assign(value);
    const targets = [...effective];
    const grads = gradients(
      loss,
      targets.map(([, value]) => value),
    );
    return Object.fromEntries(targets.map(([p], i) => [p.name, grads[i]]));
  }

  async #save(out: string, step: number, history: TrainingResult['history']): Promise<void> {
    const { model, optimizer, train, ema } = this.#o;
    const arrays: Record<string, Awaited<ReturnType<Tensor['array']>>> = {};
    const put = async (prefix: string, entries: Iterable<readonly [string, Tensor]>) => {
      for (const [name, t] of entries) arrays[`${prefix}/${name}`] = await t.array();
    };
    await put('model', model.stateDict());
    // Under the weights' own names stands what the model computes with: a masked weight is zero in every file. What
    // masked weights keep for their return stands apart.
    const effective = [...effectiveWeights(model, this.#sparsifiers)];
    await realize(...effective.map(([, value]) => value));
    for (const [p, value] of effective) {
      arrays[`stored/${p.name}`] = arrays[`model/${p.name}`];
      arrays[`model/${p.name}`] = { ...(await value.array()), data: positiveZeros(await value.data()) };
    }
    await put('optimizer', optimizer.stateDict());
    if (ema) await put('ema', ema.stateDict());
    const states = this.#sparsifiers.map(s => s.state());
    states.forEach((s, i) => {
      for (const [name, array] of Object.entries(s.arrays)) arrays[`sparsifier${i}/${name}`] = array;
    });
    const json: Saved = {
      step,
      loader: train.state,
      generators: Object.fromEntries([...model.namedGenerators()].map(([name, r]) => [name, r.toJSON()])),
      sparsifiers: states.map(s => s.json),
      history,
      random: this.#random.toJSON(),
    };
    await saveCheckpoint(out, step, { arrays, json });
  }

  #restore({ arrays, json }: Checkpoint): Saved {
    const { model, optimizer, train, ema } = this.#o;
    const saved = json as Saved;
    const part = (prefix: string) =>
      Object.entries(arrays).flatMap(([name, a]) =>
        name.startsWith(`${prefix}/`) ? [[name.slice(prefix.length + 1), a] as const] : [],
      );
    model.loadStateDict([...part('model'), ...part('stored')]);
    optimizer.loadStateDict(part('optimizer'));
    ema?.loadStateDict(part('ema'));
    this.#sparsifiers.forEach((s, i) => {
      s.restore({ arrays: Object.fromEntries(part(`sparsifier${i}`)), json: saved.sparsifiers[i] });
    });
    for (const [name, random] of model.namedGenerators())
      random.counter = Random.fromJSON(saved.generators[name] as never).counter;
    this.#random.counter = Random.fromJSON(saved.random as never).counter;
    train.restore(saved.loader as never);
    return saved;
  }
}

/** The loss's gradients with respect to the parameters of each optimiser, from one differentiation. */
function gradientsFor(loss: Tensor, optimizers: readonly Optimizer[]): (readonly Tensor[])[] {
  const all = gradients(
    loss,
    optimizers.flatMap(o => o.parameters),
  );
  let start = 0;
  return optimizers.map(o => {
    const end = start + o.parameters.length;
    const own = all.slice(start, end);
    start = end;
    return own;
  });
}

function denseLayers(name: string, { layers, excluded, excludedShare }: Selection): string {
  const of = layers.length + excluded.length;
  const names = excluded.map(l => l.name).join(', ');
  return `${name}: ${excluded.length} of ${of} layers stay dense, ${percent(excludedShare)} of the weights: ${names}`;
}

/** Turns the −0 of a negative weight times 0 into 0. */
const positiveZeros = (values: Float32Array): Float32Array => values.map(v => v + 0);

const emptyLayers = { layers: [], parameters: new Map() };

/** One sample of the first field: what the layers' shapes are found with. */
const validationNames = (metrics: Metrics): Metrics =>
  Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`validation_${name}`, value]));

function metricsOf(row: (Metrics & { step: number; epoch: number }) | undefined): Metrics {
  if (!row) return {};
  const { step: _step, epoch: _epoch, ...metrics } = row;
  return metrics;
}

function hasStalled(
  history: TrainingResult['history'],
  { metric, patience, mode }: NonNullable<TrainerOptions['earlyStop']>,
): boolean {
  const values = history.map(h => h[metric]);
  check(
    values.every(v => v !== undefined),
    () =>
      `Trainer: earlyStop watches '${metric}', but the validation gives ${Object.keys(metricsOf(history[0])).join(', ')}`,
  );
  const best = values.reduce((b, v, i) => ((mode === 'max' ? v > values[b] : v < values[b]) ? i : b), 0);
  return values.length - 1 - best >= patience;
}
