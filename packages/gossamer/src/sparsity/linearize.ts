import { multiOperator, type Node, operator, type Parameter, type Spec, Tensor } from '@gossamer/tensor';
import { type Model, traceModel } from './model.ts';

/** The linear network of a model: its outputs for given weights (by name) and inputs. */
export type LinearNetwork = (weights: ReadonlyMap<string, Tensor>, inputs: readonly Tensor[]) => Tensor[];

/** Activations and normalisations: they hand their first input on. */
const passing = new Set([
  ...['relu', 'leakyRelu', 'elu', 'gelu', 'geluTanh', 'tanh', 'softplus', 'clamp', 'abs', 'neg'],
  ...['batchNormInference', 'batchNorm', 'channelAffine'],
]);

/**
 * The model with everything taken out but the paths along which its weights multiply a signal: biases and other shifts
 * are dropped, normalisations and other scales are 1, activations pass, differences are sums, gates stand half open.
 * Fed with |w| and ones it sums the products of all paths (Tanaka et al. 2020, SynFlow, whose code runs
 * the network itself with |w| in eval mode at initialisation: the same for ReLU networks with batch normalisation).
 *
 * @param parameters the weights, by name; other parameters only shift or scale
 */
export async function linearize(
  model: Model,
  inputs: readonly Spec[],
  parameters: ReadonlyMap<string, Parameter>,
): Promise<LinearNetwork> {
  const traced = await traceModel(model, inputs, 'linearize');
  const names = new Map([...parameters].map(([name, p]) => [p, name]));
  return (weights, values) => {
    const made = new Map<Node, Tensor>(traced.inputs.map((node, i) => [node, values[i]]));
    // Nodes that the input reaches carry the signal; all others are weights, biases, scales and constants.
    const signals = new Set<Node>(traced.inputs);
    const parts = new Map<Node, Tensor[]>();
    for (const node of traced.nodes) {
      if (made.has(node)) continue;
      const parameter = traced.parameters.get(node);
      const name = parameter && names.get(parameter);
      if (name !== undefined) made.set(node, weights.get(name)!);
      else if (node.isLeaf || node.inputs.length === 0) made.set(node, new Tensor(node));
      else {
        const carrying = node.inputs.map(i => signals.has(i));
        if (carrying.some(c => c)) signals.add(node);
        const result = applied(node, carrying, made, parts);
        if (result) made.set(node, result);
      }
    }
    return traced.outputs.map(o => made.get(o.node)!);
  };
}

/** A node of the linear network; nothing for the tuple of several outputs. */
function applied(
  node: Node,
  carrying: readonly boolean[],
  made: ReadonlyMap<Node, Tensor>,
  parts: Map<Node, Tensor[]>,
): Tensor | undefined {
  const inputs = node.inputs.map(i => made.get(i)!);
  const { name } = node.op;
  const again = () => operator(node.op)(inputs, node.attributes);
  if (name === 'part') return parts.get(node.inputs[0])![(node.attributes as { index: number }).index];
  if (node.parts) {
    // A normalisation hands its input on; its other outputs serve gradients.
    parts.set(
      node,
      carrying[0] && name === 'normalize' ? [inputs[0]] : multiOperator(node.op)(inputs, node.attributes),
    );
    return undefined;
  }
  if (!carrying.some(c => c)) return again();
  const both = carrying.length === 2 && carrying[0] && carrying[1];
  const signal = inputs[carrying.indexOf(true)];
  switch (name) {
    case 'add':
    case 'sub':
      return both ? inputs[0].add(inputs[1]) : signal.expand(node.shape);
    case 'mul':
    case 'div':
      return both ? again() : signal.expand(node.shape);
    case 'sigmoid':
      return signal.mul(0).add(0.5);
    case 'linear':
    case 'conv':
    case 'convTranspose':
      return operator(node.op)(inputs.slice(0, 2), node.attributes);
    default:
      return passing.has(name) ? signal : again();
  }
}
