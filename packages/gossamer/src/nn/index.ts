export {
  ELU,
  GELU,
  HardSigmoid,
  HardSwish,
  Identity,
  LeakyReLU,
  LogSoftmax,
  Mish,
  ReLU,
  ReLU6,
  Sigmoid,
  SiLU,
  Softmax,
  Softplus,
  Tanh,
} from './activation.ts';
export { type AttendOptions, MultiheadAttention, type MultiheadAttentionOptions } from './attention.ts';
export { MLP, type MLPOptions, Sequential } from './container.ts';
export {
  Conv1d,
  Conv2d,
  Conv3d,
  type ConvOptions,
  ConvTranspose1d,
  ConvTranspose2d,
  ConvTranspose3d,
  type ConvTransposeOptions,
} from './conv.ts';
export { ChannelDropout, Dropout, type DropoutOptions, DropPath } from './dropout.ts';
export { Embedding, type EmbeddingOptions } from './embedding.ts';
export { exportModel, inEvalMode } from './export.ts';
export { GraphModule } from './graph-module.ts';
export * as init from './init.ts';
export { type LayerOptions, Linear } from './linear.ts';
export {
  type BinaryOptions,
  bce,
  bceWithLogits,
  cosineEmbedding,
  cosineSimilarity,
  crossEntropy,
  huber,
  type KLOptions,
  klDivergence,
  type LossOptions,
  l1,
  mse,
  nll,
  type Reduction,
  smoothL1,
} from './loss.ts';
export { Lambda, Module } from './module.ts';
export {
  BatchNorm1d,
  BatchNorm2d,
  BatchNorm3d,
  type BatchNormOptions,
  GroupNorm,
  InstanceNorm,
  LayerNorm,
  type NormOptions,
  RMSNorm,
} from './norm.ts';
export { AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, Flatten, MaxPool2d } from './pool.ts';
export { GRU, LSTM, type RecurrentOptions } from './recurrent.ts';
