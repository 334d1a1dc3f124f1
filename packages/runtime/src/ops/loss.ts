/** Losses of classification, with class weights and an ignored index. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import { type Floats, floats, need, pack, split, workspace } from './numeric.ts';
import { fail, type Inputs, number, type Operators, text } from './operator.ts';
import { logSoftmaxRow } from './softmax.ts';

const ATTRIBUTES = ['ignore_index', 'reduction'];

const lossDims = (node: Node, target: readonly number[]): readonly number[] =>
  text(node, 'reduction', 'mean') === 'none' ? target : [];

/** −weight[t] · x[t] for the target class t of each place, reduced; `x` is [N, C, …] of log-probabilities. */
function likelihood(node: Node, scores: Value, x: Floats, target: Value, weight: Value | undefined): Value {
  const [batch, classes, places] = split(scores.dims, 1);
  const reduction = text(node, 'reduction', 'mean');
  const ignored = number(node, 'ignore_index');
  const targets = floats(target);
  const weights = weight && floats(weight);
  if (targets.length !== batch * places) fail(node, `targets [${target.dims}] for scores [${scores.dims}]`);
  const losses = workspace(scores.type, targets.length);
  let sum = 0;
  let total = 0;
  for (let i = 0; i < targets.length; i++) {
    const t = targets[i];
    if (t === ignored) continue;
    if (t < 0 || t >= classes) fail(node, `target ${t} at ${i}: there are ${classes} classes`);
    const own = weights ? weights[t] : 1;
    const n = Math.floor(i / places);
    losses[i] = -own * x[(n * classes + t) * places + (i % places)];
    sum += losses[i];
    total += own;
  }
  if (reduction === 'none') return pack(scores.type, target.dims, losses);
  return pack(scores.type, [], Float64Array.of(reduction === 'mean' ? sum / total : sum));
}

export const operators: Operators = {
  NegativeLogLikelihoodLoss: {
    attributes: ATTRIBUTES,
    infer: (node, inputs: Inputs<Info>) => [
      { type: need(node, inputs, 0).type, dims: lossDims(node, need(node, inputs, 1).dims) },
    ],
    run(node, inputs) {
      const x = need(node, inputs, 0);
      return [likelihood(node, x, floats(x), need(node, inputs, 1), inputs[2])];
    },
  },
  SoftmaxCrossEntropyLoss: {
    attributes: ATTRIBUTES,
    infer(node, inputs: Inputs<Info>) {
      const { type, dims } = need(node, inputs, 0);
      return [
        { type, dims: lossDims(node, need(node, inputs, 1).dims) },
        { type, dims },
      ].slice(0, node.outputs.length);
    },
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const [batch, classes, places] = split(x.dims, 1);
      const xs = floats(x);
      const y = workspace(x.type, sizeOf(x.dims));
      for (let n = 0; n < batch; n++)
        for (let p = 0; p < places; p++) logSoftmaxRow(xs, y, n * classes * places + p, places, classes);
      return [likelihood(node, x, y, need(node, inputs, 1), inputs[2]), pack(x.type, x.dims, y)].slice(
        0,
        node.outputs.length,
      );
    },
  },
};
