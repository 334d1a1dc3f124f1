/** All operators, by the key of `operatorKey`: the common families, and rare ones that are loaded when a model names them. */
import type { Graph } from '../load/graph.ts';
import { castOperators } from './cast.ts';
import { convOperators } from './conv.ts';
import { createOperators } from './create.ts';
import { elementwiseOperators } from './elementwise.ts';
import { gatherOperators } from './gather.ts';
import { subgraphsOf } from './interpret.ts';
import { matmulOperators } from './matmul.ts';
import { movementOperators } from './movement.ts';
import { normalizeOperators } from './normalize.ts';
import { type Operators, operatorKey } from './operator.ts';
import { poolOperators } from './pool.ts';
import { reduceOperators } from './reduce.ts';
import { softmaxOperators } from './softmax.ts';

const COMMON: Operators = {
  ...castOperators,
  ...convOperators,
  ...createOperators,
  ...elementwiseOperators,
  ...gatherOperators,
  ...matmulOperators,
  ...movementOperators,
  ...normalizeOperators,
  ...poolOperators,
  ...reduceOperators,
  ...softmaxOperators,
};

/** Families that few models need, by the operators in them; `com.microsoft:` stands for all of that domain. */
const RARE: readonly (readonly [operators: string, load: () => Promise<Operators>])[] = [
  ['Attention RotaryEmbedding', () => import('./attention.ts').then(m => m.attentionOperators)],
  ['If Loop Scan', () => import('./control.ts').then(m => m.controlOperators)],
  ['NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss', () => import('./loss.ts').then(m => m.lossOperators)],
  ['com.microsoft: SimplifiedLayerNormalization', () => import('./microsoft.ts').then(m => m.microsoftOperators)],
  [
    'RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial Dropout',
    () => import('./random.ts').then(m => m.randomOperators),
  ],
  ['RNN GRU LSTM', () => import('./recurrent.ts').then(m => m.recurrentOperators)],
  ['Resize Upsample', () => import('./resize.ts').then(m => m.resizeOperators)],
  [
    'DFT STFT HannWindow HammingWindow BlackmanWindow MelWeightMatrix',
    () => import('./signal.ts').then(m => m.signalOperators),
  ],
  [
    'StringConcat StringNormalizer StringSplit RegexFullMatch TfIdfVectorizer',
    () => import('./text.ts').then(m => m.textOperators),
  ],
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
