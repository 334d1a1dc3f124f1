import {
  check,
  compile,
  gradients,
  type Parameter,
  reachable,
  type Spec,
  substitute,
  Tensor,
  Parameter as Variable,
  zeros,
} from '@gossamer/tensor';
import type { Batch } from '../data/dataset.ts';
import { sliceRows } from '../data/rows.ts';
import { Lambda, Module } from '../nn/module.ts';
import { type Task, toTensors } from '../train/task.ts';
import { type Model, type ModelLayers, weightUses } from './model.ts';

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
  const parameters = [...calibration.layers.parameters];
  const g = parameters.map(([name, p]) => new Tensor(fixed(p, gradient.get(name)!).use()));
  return average(calibration, (loss, weights) => {
    const products = gradients(loss, weights).map((grad, i) => grad.mul(g[i]).sum());
    return gradients(
      products.reduce((a, b) => a.add(b)),
      weights,
    );
  });
}

/**
 * ‖x‖₂ of each input channel of each weight, over all samples and positions (pixels, tokens): length `in`, what Wanda's
 * score wants. Channels of a grouped convolution that share a place in their group are taken together. Embeddings,
 * which have no input but an index, are left out.
 */
export async function inputNorms(calibration: Calibration): Promise<WeightData> {
  const names = new Map([...calibration.layers.parameters].map(([name, p]) => [p, name]));
  const sums: WeightData = new Map();
  const squares = runner(calibration, loss => {
    const leaves = new Map([...names.keys()].map(p => [p.node, p]));
    const result: Record<string, Tensor> = {};
    for (const [p, uses] of weightUses(reachable([loss.node]), leaves, 1)) {
      const inputs = uses.flatMap(u => (u.kind === 'embedding' ? [] : [inputSquares(u, p.shape[u.inAxis])]));
      if (inputs.length > 0) result[names.get(p)!] = inputs.reduce((a, b) => a.add(b));
    }
    return result;
  });
  for await (const batch of calibration.batches) {
    for (const [name, value] of Object.entries(await squares(batch))) {
      const data = await value.data();
      const sum = sums.get(name);
      sums.set(name, sum ? sum.map((s, i) => s + data[i]) : data.slice());
    }
  }
  return new Map([...sums].map(([name, sum]) => [name, sum.map(Math.sqrt)]));
}

/** Sums of squares of the channels that a weight of `channels` inputs multiplies. */
function inputSquares({ node, position }: { node: Tensor['node']; position: number }, channels: number): Tensor {
  const x = new Tensor(node.inputs[1 - position]);
  const { a, b } = node.attributes as { a?: boolean; b?: boolean };
  // A product contracts the last axis of its left and the last but one of its right operand, unless they are swapped.
  const last = node.op.name === 'matmul' ? (position === 1) !== (position === 1 ? a : b) : node.op.name === 'linear';
  const axis = last ? x.rank - 1 : node.op.name === 'matmul' ? x.rank - 2 : 1;
  const others = x.shape.flatMap((_, i) => (i === axis ? [] : [i]));
  return x.square().sum(others).reshape([-1, channels]).sum(0);
}

/** Mean over samples of quantities shaped like the weights. */
async function average(
  calibration: Calibration,
  quantity: (loss: Tensor, weights: Tensor[]) => Tensor[],
): Promise<WeightData> {
  const parameters = [...calibration.layers.parameters];
  const weights = parameters.map(([, p]) => p);
  const sums = weights.map(p => fixed(p, new Float32Array(p.size)));
  const add = runner(calibration, (loss, samples) => {
    quantity(loss, weights).forEach((q, i) => {
      sums[i].assign(sums[i].add(q.mul(samples)));
    });
    return {};
  });
  let samples = 0;
  for await (const batch of calibration.batches) {
    await add(batch);
    samples += batchSize(batch);
  }
  check(samples > 0, 'calibration: no batches were given');
  return new Map(
    await Promise.all(
      parameters.map(async ([name], i) => [name, (await sums[i].data()).map(v => v / samples)] as const),
    ),
  );
}
