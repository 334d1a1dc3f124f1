export { type Compiled, compile, type Result } from './compile.ts';
export * from './dtype.ts';
export * from './errors.ts';
export type { Executable, ExecuteOptions } from './execute/executor.ts';
export { writeFile, writeFiles } from './files.ts';
export { type Float8, float8ToFloat32 } from './float8.ts';
export { gradients } from './gradients.ts';
export { formatGraph, type Node, reachable, type Spec } from './graph.ts';
export {
  bfloat16ToFloat32,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  fromFloat32,
  toFloat32,
} from './half.ts';
export * as linalg from './linalg.ts';
export { type ExportOptions, exportOnnx } from './onnx/export.ts';
export {
  type ImportedGraph,
  type ImportObserver,
  type ImportOptions,
  importOnnx,
  type ParameterRule,
  type TrainingMode,
} from './onnx/import.ts';
export {
  encodeOnnx,
  type OnnxModel,
  type ReadOptions,
  readOnnx,
  type SparseRule,
  type WriteOptions,
  writeOnnx,
} from './onnx/index.ts';
export { formatShape, multiOperator, type Operator, operator } from './operator.ts';
export {
  type AttentionOptions,
  causalMask,
  type RotaryOptions,
  rotaryEmbedding,
  rotaryTables,
  scaledDotProductAttention,
} from './ops/attention.ts';
export { type BatchNormOptions, batchNorm, batchNormInference } from './ops/batchNorm.ts';
export { arange, constant, full, ones, zeros } from './ops/constant.ts';
export { type ConvOptions, type ConvTransposeOptions, conv, convTranspose } from './ops/conv.ts';
export { type CrossEntropyOptions, crossEntropy, type NllOptions, nllLoss } from './ops/cross-entropy.ts';
export { maximum, minimum, type Operand, pow, straightThrough, where } from './ops/elementwise.ts';
export {
  embedding,
  gather,
  gatherElements,
  gatherND,
  oneHot,
  type ScatterReduction,
  scatterAdd,
  scatterElements,
  scatterND,
} from './ops/gather.ts';
export { type GridSampleOptions, gridSample } from './ops/grid-sample.ts';
export { einsum, linear, matmul } from './ops/matmul.ts';
export { concat, type Padding, type PadMode, pad, slices, split, stack, tile } from './ops/movement.ts';
export {
  type ChannelNormOptions,
  groupNorm,
  instanceNorm,
  type LayerNormOptions,
  layerNorm,
  rmsNorm,
} from './ops/norms.ts';
export {
  type AveragePoolOptions,
  adaptiveAveragePool,
  adaptiveMaxPool,
  averagePool,
  globalAveragePool,
  globalMaxPool,
  maxPool,
  type PoolOptions,
} from './ops/pool.ts';
export { bernoulli, drawn, normal, uniform } from './ops/random.ts';
export type { Axes } from './ops/reduce.ts';
export {
  type Coordinates,
  type NearestRounding,
  pixelShuffle,
  pixelUnshuffle,
  type ResizeOptions,
  resize,
  upsample,
} from './ops/resize.ts';
export { argmax, argmin, argsort, median, quantile, sort, topk } from './ops/sort.ts';
export { unfold } from './ops/unfold.ts';
export type { SpatialPadding, WindowOptions } from './ops/window.ts';
export { Parameter, substitute } from './parameter.ts';
export { Random, type RandomState } from './random.ts';
export { clearCache, configure, loadExecutable, realize } from './realize.ts';
export {
  encodeSafetensors,
  type NamedArrays,
  openSafetensors,
  type Safetensors,
  type SafetensorsOptions,
  type TensorInfo,
  writeSafetensors,
} from './safetensors.ts';
export { Tensor, tensor } from './tensor.ts';
export { type Outputs, type Traced, type TraceOptions, traceGraph } from './trace.ts';
