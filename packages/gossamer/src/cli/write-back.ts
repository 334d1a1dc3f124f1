import { check, fromFloat32 } from '@gossamer/tensor';
import { type OnnxModel, type OnnxTensor, OpaqueTensor } from '@gossamer/tensor/onnx';

/** The same file with other values of some initializers, in the element type that each has; all else stays as it is. */
export function withWeights(model: OnnxModel, weights: ReadonlyMap<string, Float32Array>): OnnxModel {
  const initializers = new Map(model.graph.initializers);
  for (const [name, values] of weights) {
    const before = initializers.get(name);
    check(before && !(before instanceof OpaqueTensor), `the model has no float initializer ${name} to write to`);
    const { dtype, shape, sparse } = before;
    initializers.set(name, { dtype, shape, data: fromFloat32(values, dtype), ...(sparse && { sparse }) } as OnnxTensor);
  }
  return { ...model, graph: { ...model.graph, initializers } };
}
