import { check, type DType, float32ToBfloat16, float32ToFloat16, type TypedArray } from '@gossamer/tensor';
import { type OnnxModel, type OnnxTensor, OpaqueTensor } from '@gossamer/tensor/onnx';

/** The same file with other values of some initializers, in the element type that each has; all else stays as it is. */
export function withWeights(model: OnnxModel, weights: ReadonlyMap<string, Float32Array>): OnnxModel {
  const initializers = new Map(model.graph.initializers);
  for (const [name, values] of weights) {
    const before = initializers.get(name);
    check(before && !(before instanceof OpaqueTensor), `the model has no float initializer ${name} to write to`);
    const { dtype, shape, sparse } = before;
    initializers.set(name, { dtype, shape, data: narrow(values, dtype), ...(sparse && { sparse }) } as OnnxTensor);
  }
  return { ...model, graph: { ...model.graph, initializers } };
}

function narrow(values: Float32Array, dtype: DType): TypedArray {
  switch (dtype) {
    case 'float16':
      return float32ToFloat16(values);
    case 'bfloat16':
      return float32ToBfloat16(values);
    case 'float64':
      return Float64Array.from(values);
    default:
      return values;
  }
}
