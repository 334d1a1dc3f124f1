/** All operators, by the key of `operatorKey`: the common families, and rare ones that are loaded when a model names them. */
import type { Graph } from '../load/graph.ts';
import { COMMON } from './common.ts';
import { subgraphsOf } from './interpret.ts';
import { type Operators, operatorKey } from './operator.ts';

/** Families that fewer models need, by the operators in them; `com.microsoft:` stands for all of that domain. */
const RARE: readonly (readonly [operators: string, load: () => Promise<{ operators: Operators }>])[] = [
  ['Softsign Mish ThresholdedRelu Celu Selu Swish Shrink', () => import('./activations.ts')],
  ['ArgMax ArgMin TopK CumSum CumProd', () => import('./along-axis.ts')],
  ['Attention RotaryEmbedding', () => import('./attention.ts')],
  ['BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitShift BitCast', () => import('./bits.ts')],
  ['If Loop Scan', () => import('./control.ts')],
  ['ConvTranspose Col2Im', () => import('./conv-transpose.ts')],
  ['DeformConv', () => import('./deform-conv.ts')],
  ['Einsum', () => import('./einsum.ts')],
  ['NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss', () => import('./loss.ts')],
  ['Det EyeLike Trilu', () => import('./matrices.ts')],
  ['com.microsoft: SimplifiedLayerNormalization', () => import('./microsoft.ts')],
  ['LRN LpNormalization MeanVarianceNormalization', () => import('./normalize-classic.ts')],
  ['InstanceNormalization GroupNormalization', () => import('./normalize-group.ts')],
  ['LpPool GlobalLpPool MaxUnpool', () => import('./pool-more.ts')],
  ['QuantizeLinear DequantizeLinear DynamicQuantizeLinear', () => import('./quantise.ts')],
  ['ConvInteger QLinearConv MatMulInteger QLinearMatMul', () => import('./quantised-products.ts')],
  [
    'RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial Dropout',
    () => import('./random.ts'),
  ],
  ['DepthToSpace SpaceToDepth ReverseSequence', () => import('./rearrange.ts')],
  ['RNN GRU LSTM', () => import('./recurrent.ts')],
  ['MaxRoiPool RoiAlign', () => import('./regions.ts')],
  ['Resize Upsample', () => import('./resize.ts')],
  ['GatherElements GatherND Scatter ScatterElements ScatterND TensorScatter', () => import('./scatter.ts')],
  ['OneHot NonZero Compress Unique', () => import('./select.ts')],
  ['DFT STFT HannWindow HammingWindow BlackmanWindow MelWeightMatrix', () => import('./signal.ts')],
  ['StringConcat StringNormalizer StringSplit RegexFullMatch TfIdfVectorizer', () => import('./text.ts')],
  ['GridSample AffineGrid NonMaxSuppression CenterCropPad', () => import('./vision.ts')],
];

/** The common operators and those rare ones that `keys` name, or all of them. */
export async function loadOperators(keys?: ReadonlySet<string>): Promise<Operators> {
  const domains = new Set([...(keys ?? [])].map(key => key.slice(0, key.indexOf(':') + 1)));
  const wanted = RARE.filter(([names]) => !keys || names.split(' ').some(name => keys.has(name) || domains.has(name)));
  return Object.assign({}, COMMON, ...(await Promise.all(wanted.map(async ([, load]) => (await load()).operators))));
}

/** Keys of all operators that a graph uses, its subgraphs' too. */
export function operatorsOf(graph: Graph): Set<string> {
  return new Set(
    graph.nodes.flatMap(node => [operatorKey(node), ...subgraphsOf(node).flatMap(g => [...operatorsOf(g)])]),
  );
}
