import { isFloat } from './dtype.ts';
import { check } from './errors.ts';
import { type Node, reachable } from './graph.ts';
import { formatShape, partIndex, partNode } from './operator.ts';
import { constant, zeros } from './ops/constant.ts';
import { Tensor } from './tensor.ts';

/**
 * ∂y/∂x for every x, by reverse mode over the graph. The results are graphs themselves, so they can be differentiated
 * again. An x that y does not depend on gets zeros.
 *
 * @param y a scalar, or any shape when `seed` (∂loss/∂y, same shape) is given
 * @param xs tensors in the graph of y; realised tensors only count as themselves, since the graph behind them is gone
 * @throws if y is not a scalar and no seed is given, or y was realised before and is none of `xs`
 */
export function gradients(y: Tensor, xs: readonly Tensor[], seed?: Tensor): Tensor[] {
  check(
    seed !== undefined || y.size === 1,
    () => `gradients: the tensor ${formatShape(y.shape)} is not a scalar; reduce it (sum, mean) or pass a seed`,
  );
  check(
    seed === undefined || formatShape(seed.shape) === formatShape(y.shape),
    () => `gradients: the seed ${formatShape(seed!.shape)} differs from the tensor ${formatShape(y.shape)}`,
  );
  check(
    !y.node.isLeaf || xs.some(x => x.node === y.node),
    'gradients: the tensor was realised (data() or realize()) and its graph is gone; build gradients before that',
  );
  const targets = new Set(xs.map(x => x.node));
  const order = reachable([y.node]);
  // Only nodes between the targets and y take part, and only where a gradient can pass.
  const active = new Set<Node>();
  for (const node of order) {
    const passes = (node.parts || isFloat(node.dtype)) && node.op.name !== 'stopGradient';
    if (targets.has(node) || (passes && node.inputs.some(i => active.has(i)))) active.add(node);
  }
  const grads = new Map<Node, Tensor>();
  const partGrads = new Map<Node, (Tensor | undefined)[]>();
  if (active.has(y.node)) grads.set(y.node, seed ?? constant(1, y.dtype).expand(y.shape));

  for (const node of order.reverse()) {
    if (!active.has(node) || node.isLeaf || node.op.name === 'constant') continue;
    if (!node.inputs.some(i => active.has(i))) continue;
    const index = partIndex(node);
    if (index !== undefined) {
      const grad = grads.get(node);
      if (!grad) continue;
      const [tuple] = node.inputs;
      const list = partGrads.get(tuple) ?? new Array<Tensor | undefined>(tuple.parts!.length).fill(undefined);
      list[index] = grad;
      partGrads.set(tuple, list);
      continue;
    }
    const upstream = node.parts ? partGrads.get(node) : grads.has(node) ? [grads.get(node)] : undefined;
    if (!upstream) continue;
    check(
      node.op.gradient,
      () => `gradients: operator ${node.op.name} has no gradient; detach() its input if none should pass`,
    );
    const outputs = node.parts ? partsOf(node, order) : [new Tensor(node)];
    const inputGrads = node.op.gradient!({
      inputs: node.inputs.map(i => new Tensor(i)),
      outputs,
      attributes: node.attributes,
      grads: upstream.map((g, i) => g ?? zeros(outputs[i].shape, outputs[i].dtype)),
      needs: i => active.has(node.inputs[i]),
      reaches: i => upstream[i] !== undefined,
    });
    node.inputs.forEach((input, i) => {
      const grad = inputGrads[i];
      if (!grad || !active.has(input) || !isFloat(input.dtype)) return;
      const sum = grads.get(input);
      grads.set(input, sum ? sum.add(grad) : grad);
    });
  }
  return xs.map(x => grads.get(x.node) ?? zeros(x.shape, x.dtype));
}

/** Tensors of all outputs of a several-output node, reusing the `part` nodes that exist. */
function partsOf(tuple: Node, nodes: readonly Node[]): Tensor[] {
  const found = nodes.filter(n => n.inputs[0] === tuple);
  return tuple.parts!.map((_, i) => new Tensor(found.find(n => partIndex(n) === i) ?? partNode(tuple, i)));
}
