import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { check, type Spec, type Tensor } from '@gossamer/tensor';
import { DataLoader } from '../data/loader.ts';
import { tokenWindows } from '../data/sequences.ts';
import type { Metric } from '../methods/pruning/essential-sparsity.ts';
import { Llama } from '../models/llama.ts';
import { createModel, models } from '../models/registry.ts';
import { loadPretrained } from '../models/weights.ts';
import type { Module } from '../nn/module.ts';
import { isRight, type SampleMeasure, windowLoss } from '../train/per-sample.ts';
import { classification, type Task } from '../train/task.ts';
import { batches, classifierTask } from './classification.ts';
import { UsageError } from './command.ts';
import { checkDataInput, traced } from './compress.ts';
import { openData } from './data.ts';
import { graphBatch, openModel } from './model-file.ts';

// Pretrained models of all kinds that a command can be given, and how well each does what it is for.

/** Flags that name a model and what it is measured on. */
export interface PretrainedFlags {
  readonly model?: string;
  /** Undefined if the weights come from elsewhere. */
  readonly weights?: string;
  readonly data?: string;
  readonly normalize?: string;
  readonly batch: number;
  /** Test samples, or windows of text, that are evaluated. */
  readonly samples: number;
  /** Of a window of text. */
  readonly tokens: number;
  readonly seed: number;
}

export interface Pretrained {
  readonly model: Module;
  readonly inputs: readonly Spec[];
  /** Undefined without `--data`. */
  readonly subject?: Subject;
}

/** What is measured, on what, and how the model could be trained on. */
export interface Subject {
  readonly metric: Metric;
  readonly measure: SampleMeasure;
  readonly test: DataLoader;
  /** Undefined where nothing can be trained on. */
  readonly training?: { readonly task: Task; readonly loader: () => DataLoader };
}

/**
 * Opens a model of the registry, or at `path` an ONNX file (also one that ends in a softmax or fixes its batch) or a folder
 * of a LLaMA.
 */
export async function openPretrained(path: string | undefined, flags: PretrainedFlags): Promise<Pretrained> {
  if (path === undefined) return registered(flags.model!, flags);
  const found = await stat(path).catch(() => undefined);
  check(found, `${path}: no such file or folder`);
  return found.isDirectory() ? llama(path, flags) : file(path, flags);
}

const accuracy: Metric = { name: 'accuracy', better: 'higher' };

async function registered(name: string, flags: PretrainedFlags): Promise<Pretrained> {
  const { input, classes } = models[name];
  const inputs = [{ dtype: input.dtype, shape: [1, ...input.shape] }];
  const { batch: batchSize, samples: limit, seed } = flags;
  if (flags.data !== undefined && (input.dtype !== 'float32' || classes === null)) {
    throw new UsageError(`--model ${name}: is no image classifier; language models are given as a folder`);
  }
  const data = flags.data === undefined ? undefined : await openData(flags.data, flags.normalize, inputs[0]);
  const made = createModel(name, { ...(data && { classes: data.classes }), seed });
  const model = flags.weights === undefined ? made.eval() : await loadPretrained(made, flags.weights);
  if (!data) return { model, inputs };
  return {
    model,
    inputs,
    subject: {
      metric: accuracy,
      measure: isRight,
      test: batches(data, 'test', { batchSize, limit }),
      training: {
        task: classification(),
        loader: () => batches(data, 'train', { batchSize, shuffle: true, seed, dropLast: true }),
      },
    },
  };
}

async function file(path: string, flags: PretrainedFlags): Promise<Pretrained> {
  const opened = await openModel(path);
  const { module: model } = traced(opened);
  const { inputs } = opened;
  if (flags.data === undefined) return { model, inputs };
  const data = await openData(flags.data, flags.normalize, checkDataInput(path, inputs, opened.onnx));
  const task = classifierTask(opened.onnx);
  const batchSize = graphBatch(opened, flags.batch);
  const dropLast = batchSize !== flags.batch;
  const { samples: limit, seed } = flags;
  return {
    model,
    inputs,
    subject: {
      metric: accuracy,
      measure: (m, { inputs, labels }) => {
        const results = m.forward(inputs) as Tensor | Record<string, Tensor>;
        const first = 'shape' in results ? (results as Tensor) : Object.values(results)[0];
        return first.reshape([first.shape[0], -1]).argmax(-1).eq(labels).cast('float32');
      },
      test: batches(data, 'test', { batchSize, limit, dropLast }),
      training: { task, loader: () => batches(data, 'train', { batchSize, shuffle: true, seed, dropLast: true }) },
    },
  };
}

async function llama(folder: string, flags: PretrainedFlags): Promise<Pretrained> {
  const model = await Llama.fromPretrained(folder);
  const length = Math.min(flags.tokens, model.context);
  const inputs: Spec[] = [{ dtype: 'int32', shape: [1, length] }];
  if (flags.data === undefined) return { model, inputs };
  check(model.tokenizer, `${join(folder, 'tokenizer.json')}: needed to read --data ${flags.data}`);
  const text = await readFile(flags.data, 'utf8').catch(cause => {
    throw new UsageError(`--data ${flags.data}: a language model is evaluated on a text file: ${cause.message}`);
  });
  const windows = tokenWindows(Int32Array.from(model.tokenizer.encode(text)), length);
  return {
    model,
    inputs,
    subject: {
      metric: { name: 'perplexity', better: 'lower', log: true },
      measure: windowLoss,
      test: new DataLoader(windows.take(flags.samples), { batchSize: Math.min(flags.batch, 8) }),
    },
  };
}
