/** All operators, by the key of `operatorKey`: the common families, and rare ones that are loaded when a model names them. */
import type { Graph } from '../load/graph.ts';
import { COMMON } from './common.ts';
import { subgraphsOf } from './interpret.ts';
import { type Operators, operatorKey } from './operator.ts';

/** Families that fewer models need, by the operators in them; `com.microsoft:` stands for all of that domain. */
const RARE: readonly (readonly [operators: string, load: () => Promise<Operators>])[] = [
  [
    'Softsign Mish ThresholdedRelu Celu Selu Swish Shrink',
    () => import('./activations.ts').then(m => m.activationOperators),
  ],
  ['Attention RotaryEmbedding', () => import('./attention.ts').then(m => m.attentionOperators)],
  ['BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitShift BitCast', () => import('./bits.ts').then(m => m.bitOperators)],
  ['If Loop Scan', () => import('./control.ts').then(m => m.controlOperators)],
  ['ConvTranspose Col2Im', () => import('./conv-transpose.ts').then(m => m.convTransposeOperators)],
  ['CumSum CumProd', () => import('./cumulative.ts').then(m => m.cumulativeOperators)],
  ['DeformConv', () => import('./deform-conv.ts').then(m => m.deformConvOperators)],
  ['DepthToSpace SpaceToDepth', () => import('./depth-space.ts').then(m => m.depthSpaceOperators)],
  ['Det', () => import('./det.ts').then(m => m.detOperators)],
  ['Einsum', () => import('./einsum.ts').then(m => m.einsumOperators)],
  ['NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss', () => import('./loss.ts').then(m => m.lossOperators)],
  ['com.microsoft: SimplifiedLayerNormalization', () => import('./microsoft.ts').then(m => m.microsoftOperators)],
  [
    'LRN LpNormalization MeanVarianceNormalization',
    () => import('./normalize-classic.ts').then(m => m.classicNormalizeOperators),
  ],
  ['ArgMax ArgMin TopK', () => import('./order.ts').then(m => m.orderOperators)],
  ['LpPool GlobalLpPool', () => import('./pool-lp.ts').then(m => m.lpPoolOperators)],
  [
    'QuantizeLinear DequantizeLinear DynamicQuantizeLinear',
    () => import('./quantise.ts').then(m => m.quantiseOperators),
  ],
  [
    'ConvInteger QLinearConv MatMulInteger QLinearMatMul',
    () => import('./quantised-products.ts').then(m => m.quantisedProductOperators),
  ],
  [
    'RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial Dropout',
    () => import('./random.ts').then(m => m.randomOperators),
  ],
  ['RNN GRU LSTM', () => import('./recurrent.ts').then(m => m.recurrentOperators)],
  ['MaxRoiPool RoiAlign', () => import('./regions.ts').then(m => m.regionOperators)],
  ['Resize Upsample', () => import('./resize.ts').then(m => m.resizeOperators)],
  ['ReverseSequence', () => import('./reverse-sequence.ts').then(m => m.reverseSequenceOperators)],
  [
    'GatherElements GatherND Scatter ScatterElements ScatterND TensorScatter',
    () => import('./scatter.ts').then(m => m.scatterOperators),
  ],
  ['OneHot NonZero Compress Unique', () => import('./select.ts').then(m => m.selectOperators)],
  [
    'DFT STFT HannWindow HammingWindow BlackmanWindow MelWeightMatrix',
    () => import('./signal.ts').then(m => m.signalOperators),
  ],
  [
    'StringConcat StringNormalizer StringSplit RegexFullMatch TfIdfVectorizer',
    () => import('./text.ts').then(m => m.textOperators),
  ],
  ['EyeLike Trilu', () => import('./triangles.ts').then(m => m.triangleOperators)],
  ['MaxUnpool', () => import('./unpool.ts').then(m => m.unpoolOperators)],
  ['GridSample AffineGrid NonMaxSuppression CenterCropPad', () => import('./vision.ts').then(m => m.visionOperators)],
];

/** The common operators and those rare ones that `keys` name, or all of them. */
export async function loadOperators(keys?: ReadonlySet<string>): Promise<Operators> {
  const domains = new Set([...(keys ?? [])].map(key => key.slice(0, key.indexOf(':') + 1)));
  const wanted = RARE.filter(([names]) => !keys || names.split(' ').some(name => keys.has(name) || domains.has(name)));
  return Object.assign({}, COMMON, ...(await Promise.all(wanted.map(([, load]) => load()))));
}

/** Keys of all operators that a graph uses, its subgraphs' too. */
export function operatorsOf(graph: Graph): Set<string> {
  return new Set(
    graph.nodes.flatMap(node => [operatorKey(node), ...subgraphsOf(node).flatMap(g => [...operatorsOf(g)])]),
  );
}
