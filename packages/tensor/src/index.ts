export { type Compiled, compile, type Result } from './compile.ts';
export * from './dtype.ts';
export * from './errors.ts';
export type { ExecuteOptions } from './execute/executor.ts';
export { gradients } from './gradients.ts';
export { formatGraph } from './graph.ts';
export { formatShape, multiOperator, type Operator, operator } from './operator.ts';
export { constant, full, ones, zeros } from './ops/constant.ts';
export { minimum, maximum, type Operand, pow, straightThrough, where } from './ops/elementwise.ts';
export { einsum, linear, matmul } from './ops/matmul.ts';
export { concat, pad, type Padding, type PadMode, slices, split, stack, tile } from './ops/movement.ts';
export { bernoulli, normal, uniform } from './ops/random.ts';
export type { Axes } from './ops/reduce.ts';
export { Parameter, substitute } from './parameter.ts';
export { clearCache, configure, realize } from './realize.ts';
export { Tensor, tensor } from './tensor.ts';
export { Random, type RandomState } from './random.ts';
export { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16, toFloat32 } from './half.ts';
export {
  encodeSafetensors,
  type NamedArrays,
  openSafetensors,
  type Safetensors,
  type SafetensorsOptions,
  type TensorInfo,
  writeSafetensors,
} from './safetensors.ts';
export { type ExportOptions, exportOnnx } from './onnx/export.ts';
