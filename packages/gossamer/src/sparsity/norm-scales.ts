import type { Node, Parameter, Spec } from '@gossamer/tensor';
import { type Model, traceModel, weightUses } from './model.ts';

/** The batch normalisation that a layer's outputs go through. */
export interface FollowingNorm {
  readonly gamma: Parameter;
  /** Absent where the shift is no parameter. */
  readonly beta?: Parameter;
  readonly variance: Parameter;
  readonly eps: number;
}

/** The batch normalisation behind each layer, where nothing else reads what the layer gives. */
export async function followingNorms(model: Model, inputs: readonly Spec[]): Promise<Map<string, FollowingNorm>> {
  const { nodes, parameters, outputs } = await traceModel(model, inputs, 'followingNorms');
  const readers = new Map<Node, Node[]>();
  for (const node of nodes) {
    for (const input of node.inputs) {
      const list = readers.get(input);
      if (list) list.push(node);
      else readers.set(input, [node]);
    }
  }
  const found = new Map<string, FollowingNorm>();
  for (const [parameter, uses] of weightUses(nodes, parameters, inputs[0].shape[0])) {
    if (uses.length !== 1 || outputs.some(o => o.node === uses[0].node)) continue;
    const [reader, ...others] = readers.get(uses[0].node) ?? [];
    if (others.length > 0 || reader?.op.name !== 'batchNormInference') continue;
    const [x, gamma, shift, , variance] = reader.inputs;
    const [scale, spread] = [parameters.get(gamma), parameters.get(variance)];
    if (x !== uses[0].node || !scale || !spread) continue;
    const beta = parameters.get(shift);
    const { eps } = reader.attributes as { eps: number };
    found.set(parameter.name, { gamma: scale, ...(beta && { beta }), variance: spread, eps });
  }
  return found;
}

/** |γ| / √(σ² + ε) of each output channel, by layer: what folding the normalisation would multiply its weights by. */
export async function normScales(norms: ReadonlyMap<string, FollowingNorm>): Promise<Map<string, Float32Array>> {
  const scales = new Map<string, Float32Array>();
  for (const [name, { gamma, variance, eps }] of norms) {
    const [g, v] = [await gamma.data(), await variance.data()];
    scales.set(
      name,
      Float32Array.from(g, (x, i) => Math.abs(x) / Math.sqrt(v[i] + eps)),
    );
  }
  return scales;
}
