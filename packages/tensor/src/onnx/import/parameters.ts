import { isFloat } from '../../dtype.ts';
import { toFloat32 } from '../../half.ts';
import { Parameter } from '../../parameter.ts';
import { graphsOf } from '../captured.ts';
import { OpaqueTensor } from '../opaque.ts';
import type { OnnxGraph, OnnxModel, OnnxNode, OnnxTensor } from '../proto.ts';

/** Inputs that steer an operator and are not weights: sizes, bounds, ratios, quantisation grids. */
const settings: Record<string, readonly number[]> = {
  Clip: [1, 2],
  ConstantOfShape: [0],
  DequantizeLinear: [1, 2],
  Dropout: [1, 2],
  OneHot: [1, 2],
  Pad: [1, 2],
  Pow: [1],
  QuantizeLinear: [1, 2],
  Range: [0, 1, 2],
  Resize: [1, 2, 3],
  Upsample: [1],
};
/** Running statistics. */
const statistics: Record<string, readonly number[]> = { BatchNormalization: [3, 4] };

/** Which initializers become parameters; default: {@link isWeight}. */
export type ParameterRule = (name: string, tensor: OnnxTensor) => boolean;

/** Every float tensor with at least one axis. A single number (an epsilon, a factor) is rather a constant. */
export const isWeight: ParameterRule = (_, tensor) => isFloat(tensor.dtype) && tensor.shape.length > 0;

/** The model's parameters by the names of their initializers, in float32; running statistics are not trainable. */
export function parametersOf(model: OnnxModel, rule: ParameterRule): Map<string, Parameter> {
  const [steering, running] = [new Set<string>(), new Set<string>()];
  forEachNode(model.graph, ({ opType, inputs }) => {
    if (Object.hasOwn(settings, opType)) for (const i of settings[opType]) steering.add(inputs[i]);
    if (Object.hasOwn(statistics, opType)) for (const i of statistics[opType]) running.add(inputs[i]);
  });
  const parameters = new Map<string, Parameter>();
  for (const [name, tensor] of model.graph.initializers) {
    if (tensor instanceof OpaqueTensor || !isFloat(tensor.dtype) || steering.has(name) || !rule(name, tensor)) continue;
    // A copy: training writes into the memory of parameters, and that of the model is the file's.
    const data = toFloat32(tensor).data.slice();
    const value = { dtype: 'float32', shape: [...tensor.shape], data } as const;
    parameters.set(name, new Parameter(value, { name, trainable: !running.has(name) }));
  }
  return parameters;
}

function forEachNode(graph: OnnxGraph, visit: (node: OnnxNode) => void): void {
  for (const node of graph.nodes) {
    visit(node);
    for (const attribute of Object.values(node.attributes)) {
      for (const nested of graphsOf(attribute)) forEachNode(nested, visit);
    }
  }
}
