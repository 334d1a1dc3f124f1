import { check, compile, gradients, Parameter, reachable, type Spec, Tensor } from '@gossamer/tensor';
import { type Batch, mapFields } from '../data/dataset.ts';
import { sliceRows } from '../data/rows.ts';
import { Lambda, Module } from '../nn/module.ts';
import { type Task, toTensors } from '../train/task.ts';
import { type Model, type ModelLayers, type WeightUse, weightUses } from './model.ts';

// What data-dependent scores (`score.ts`) need besides the weights, gathered over batches in one compiled graph.

/** What is looked at: the model's loss on some data, and the weights that may go. */
export interface Calibration {
  /** A module (an imported ONNX model too) or a function of the inputs. */
  readonly model: Model;
  readonly task: Task;
  /** Batches with the fields that the task reads; gone through once for each quantity. */
  readonly batches: Iterable<Batch> | AsyncIterable<Batch>;
  /** The weights, as `modelLayers` finds them. */
  readonly layers: Pick<ModelLayers, 'parameters'>;
  /**
   * Whether batch statistics and dropout behave as in training (at initialisation, where running statistics mean
   * nothing) or as in inference; default `eval`. Running statistics do not move in either.
   */
  readonly mode?: 'train' | 'eval';
}

/** An array for each weight, by its name; shaped like the weight unless said otherwise. */
export type WeightData = Map<string, Float32Array>;

/** Shape and element type of one sample of a batch's first field. */
export function sampleOf(batch: Batch): Spec {
  const [{ shape, dtype }] = Object.values(batch);
  return { dtype, shape: [1, ...shape.slice(1)] };
}

/** ∂L/∂w of the mean loss over all samples. */
export const lossGradients = (calibration: Calibration): Promise<WeightData> =>
  average(calibration, (loss, weights) => gradients(loss, weights));

/**
 * The mean of (∂L/∂w)² over samples — the diagonal of the empirical Fisher matrix — or over batches, which is as many
 * times faster as a batch has samples and smaller by the cancelling of gradients within a batch.
 */
export function squaredGradients(
  calibration: Calibration,
  { over = 'samples' }: { over?: 'samples' | 'batches' } = {},
): Promise<WeightData> {
  const batches = over === 'samples' ? singly(calibration.batches) : calibration.batches;
  return average({ ...calibration, batches }, (loss, weights) => gradients(loss, weights).map(g => g.square()));
}

/**
 * Hg, the Hessian of the mean loss times its gradient: ∇(gᵀ·∇L) with g held fixed (Pearlmutter 1994). Both g and H are
 * those of all batches together.
 */
export async function hessianGradients(calibration: Calibration): Promise<WeightData> {
  const gradient = await lossGradients(calibration);
  const g = [...calibration.layers.parameters].map(([name, p]) => variable(p, gradient.get(name)!));
  return average(calibration, (loss, weights) => {
    const products = gradients(loss, weights).map((grad, i) => grad.mul(g[i]).sum());
    const total = products.reduce((a, b) => a.add(b));
    return gradients(total, weights);
  });
}

/**
 * ‖x‖₂ of each input channel of each weight, over all samples and positions (pixels, tokens): length `in`, what Wanda's
 * score wants. Channels of a grouped convolution that share a place in their group are taken together. Embeddings,
 * which have no input but an index, are left out.
 */
export async function inputNorms(calibration: Calibration): Promise<WeightData> {
  const { parameters } = calibration.layers;
  const sums = new Map<string, Float32Array>();
  const squares = looker(calibration, loss => {
    const names = new Map([...parameters].map(([name, p]) => [p, name]));
    const leaves = new Map([...parameters.values()].map(p => [p.node, p]));
    const result: Record<string, Tensor> = {};
    for (const [p, uses] of weightUses(reachable([loss.node]), leaves, 1)) {
      const inputs = uses.flatMap(u => (u.kind === 'embedding' ? [] : [inputSquares(u, p.shape[u.inAxis])]));
      if (inputs.length > 0) result[names.get(p)!] = inputs.reduce((a, b) => a.add(b));
    }
    return result;
  });
  await squares.each(async result => {
    for (const [name, value] of Object.entries(result)) {
      const data = await value.data();
      const sum = sums.get(name);
      sums.set(name, sum ? sum.map((s, i) => s + data[i]) : data.slice());
    }
  });
  return new Map([...sums].map(([name, sum]) => [name, sum.map(Math.sqrt)]));
}

/** Sums of squares of the channels that a weight of `channels` inputs multiplies. */
function inputSquares({ node, position }: WeightUse, channels: number): Tensor {
  const x = new Tensor(node.inputs[1 - position]);
  const { a, b } = node.attributes as { a?: boolean; b?: boolean };
  // A product contracts the last axis of its left and the last but one of its right operand, unless they are swapped.
  const last = node.op.name === 'matmul' ? (position === 1) !== (position === 1 ? a : b) : node.op.name === 'linear';
  const axis = last ? x.rank - 1 : node.op.name === 'matmul' ? x.rank - 2 : 1;
  const others = x.shape.flatMap((_, i) => (i === axis ? [] : [i]));
  return x.square().sum(others).reshape([-1, channels]).sum(0);
}

/** Means over samples of quantities that are shaped like the weights. */
async function average(
  calibration: Calibration,
  quantities: (loss: Tensor, weights: readonly Parameter[]) => readonly Tensor[],
): Promise<WeightData> {
  const names = [...calibration.layers.parameters.keys()];
  const weights = [...calibration.layers.parameters.values()];
  const sums = weights.map(p => variable(p, new Float32Array(p.size)));
  const total = looker(calibration, (loss, samples) => {
    quantities(loss, weights).forEach((q, i) => {
      sums[i].assign(sums[i].add(q.mul(samples)));
    });
    return {};
  });
  const samples = await total.each();
  return new Map(
    await Promise.all(names.map(async (name, i) => [name, (await sums[i].data()).map(v => v / samples)] as const)),
  );
}

const variable = ({ shape }: Parameter, data: Float32Array): Parameter =>
  new Parameter({ dtype: 'float32', shape, data }, { trainable: false });

/** Compiles `look` behind the task's loss; `each` runs it on all batches and returns the number of samples. */
function looker(
  { model, task, batches, mode = 'eval' }: Calibration,
  look: (loss: Tensor, samples: number) => Record<string, Tensor>,
) {
  const module = model instanceof Module ? model : new Lambda(model as (x: Tensor) => Tensor);
  let fields: readonly string[] = [];
  const run = compile((...values: Tensor[]) => {
    const before = [...module.namedParameters()].map(([, p]) => [p, p.current()] as const);
    const batch = Object.fromEntries(fields.map((name, i) => [name, values[i]]));
    const { loss } = task(module, batch);
    // Looking must not move running statistics.
    for (const [p, value] of before) if (!p.trainable) p.assign(value);
    return look(loss, values[0].shape[0]);
  });
  return {
    async each(visit?: (result: Record<string, Tensor>) => Promise<void>): Promise<number> {
      const modes = [...module.namedModules()].map(([, m]) => [m, m.training] as const);
      module.train(mode === 'train');
      let samples = 0;
      try {
        for await (const batch of batches) {
          const tensors = toTensors(batch);
          fields = Object.keys(tensors);
          const values = fields.map(name => tensors[name]);
          const result = await run(...values);
          await visit?.(result);
          samples += values[0].shape[0];
        }
      } finally {
        for (const [m, training] of modes) m.training = training;
        await run.dispose();
      }
      check(samples > 0, 'calibration: there are no batches');
      return samples;
    },
  };
}

/** The same samples in batches of one. */
async function* singly(batches: Calibration['batches']): AsyncGenerator<Batch> {
  for await (const batch of batches) {
    const [{ shape }] = Object.values(batch);
    for (let i = 0; i < shape[0]; i++) yield mapFields(batch, array => sliceRows(array, i, i + 1));
  }
}
