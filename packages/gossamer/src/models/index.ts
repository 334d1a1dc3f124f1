export { CharLSTM, type CharLSTMOptions, charVocabulary, type LSTMState } from './char-lstm.ts';
export { DoodleNet, type DoodleNetOptions } from './doodlenet.ts';
export { GAT, GATConv, type GATConvOptions, type GATOptions } from './gat.ts';
export { GCN, GCNConv, type GCNOptions } from './gcn.ts';
export {
  type CachedLanguageModel,
  type GenerateOptions,
  generate,
  type SampleOptions,
  sampleToken,
} from './generate.ts';
export { GIN, type GINOptions } from './gin.ts';
export { GPT, type GPTOptions } from './gpt.ts';
export {
  type Adjacency,
  denseAdjacency,
  type Edges,
  edges,
  normalizedEdges,
  propagate,
  withSelfLoops,
} from './graph.ts';
export { type CacheShape, KeyValueCache } from './kv-cache.ts';
export { LeNet5, type LeNet5Options, LeNet300, type LeNet300Options } from './lenet.ts';
export { Llama, type LlamaOptions } from './llama.ts';
export type { LlamaConfig, RopeScaling } from './llama-config.ts';
export { type MobileNetOptions, MobileNetV1, MobileNetV2 } from './mobilenet.ts';
export { type CreateOptions, createModel, type ModelEntry, models } from './registry.ts';
export { ResNet, type ResNetOptions } from './resnet.ts';
export { CifarResNet, type CifarResNetOptions } from './resnet-cifar.ts';
export { SqueezeNet, type SqueezeNetOptions } from './squeezenet.ts';
export { StyleTransfer, type StyleTransferOptions } from './style-transfer.ts';
export {
  EDSR,
  pixelShuffle,
  type SuperResolutionOptions,
  WindowTransformer,
  type WindowTransformerOptions,
} from './super-resolution.ts';
export { TinyDarknet, type TinyDarknetOptions } from './tiny-darknet.ts';
export { VGG, type VGGOptions } from './vgg.ts';
export { ViT, type ViTOptions } from './vit.ts';
export { initialize, loadPretrained, type PretrainedOptions, type Stored } from './weights.ts';
