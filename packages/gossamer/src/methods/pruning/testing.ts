import { gradients, type NDArray, Random, type Tensor, tensor } from '@gossamer/tensor';
import { MLP } from '../../nn/container.ts';
import type { Module } from '../../nn/module.ts';
import { type ModelLayers, modelLayers } from '../../sparsity/model.ts';
import { classification, type Task } from '../../train/task.ts';

// For the tests of pruning at initialisation.

const random = new Random(5);
const inputs: NDArray = { dtype: 'float32', shape: [30, 12], data: random.normal(360) };
const labels: NDArray = { dtype: 'int32', shape: [30], data: random.integers(30, 0, 4) };

export const spec = [{ dtype: 'float32' as const, shape: [1, 12] }];

export interface Network {
  readonly model: MLP;
  readonly task: Task;
  readonly batches: readonly Record<string, NDArray>[];
  readonly layers: ModelLayers;
}

/** A perceptron with random data of 4 classes. */
export async function network(sizes: readonly number[] = [12, 16, 8, 4]): Promise<Network> {
  const model = new MLP(sizes, { random: new Random(1) });
  const layers = await modelLayers(model, spec);
  return { model, task: classification(), batches: [{ inputs, labels }], layers };
}

/** Gradients of the loss with logits over `temperature`, and Hessian-gradient products, one tensor at a time. */
export async function derivatives({ model, layers }: Network, temperature = 1) {
  const weights = [...layers.parameters.values()];
  const scaled = { forward: (x: Tensor) => model.forward(x).div(temperature) } as Module;
  const { loss } = classification()(scaled, { inputs: tensor(inputs), labels: tensor(labels) });
  const g = gradients(loss, weights);
  const flow = g.map(x => x.mul(x.detach()).sum()).reduce((a, b) => a.add(b));
  const hg = gradients(flow, weights);
  const arrays = (list: readonly Tensor[]) => Promise.all(list.map(x => x.data()));
  return { g: await arrays(g), hg: await arrays(hg) };
}

/** The 0/1 arrays of the n − round(s·n) highest scores of all, by sorting. */
export function highest(scores: readonly ArrayLike<number>[], sparsity: number): number[][] {
  const all = scores.flatMap(s => Array.from(s)).sort((a, b) => b - a);
  const cut = all[all.length - Math.round(sparsity * all.length) - 1];
  return scores.map(s => Array.from(s, v => (v >= cut ? 1 : 0)));
}
