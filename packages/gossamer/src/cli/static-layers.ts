import { type NDArray, toFloat32 } from '@gossamer/tensor';
import { type OnnxModel, type OnnxNode, OpaqueTensor } from '@gossamer/tensor/onnx';
import { type Layer, type LayerKind, layer } from '../sparsity/layer.ts';

/** The inputs of a node that are weights, and what their axes mean. */
type Weights = (
  node: OnnxNode,
) => readonly { input: number; kind?: LayerKind; outAxis: number; inAxis: number; groups?: number }[];

const attribute = (node: OnnxNode, name: string): number => {
  const found = node.attributes[name];
  return found?.type === 'int' ? found.value : 0;
};

const groups = (node: OnnxNode): number => Math.max(1, attribute(node, 'group'));

const product = { outAxis: 1, inAxis: 0 };
const recurrent: Weights = () => [1, 2].map(input => ({ input, kind: 'recurrent', outAxis: 1, inAxis: 2 }));

const operators: Record<string, Weights> = {
  Conv: node => [
    { input: 1, outAxis: 0, inAxis: 1, groups: groups(node), ...(groups(node) === 1 && { kind: 'conv' }) },
  ],
  ConvTranspose: node => [{ input: 1, kind: 'conv', outAxis: 1, inAxis: 0, groups: groups(node) }],
  Gather: () => [{ input: 0, kind: 'embedding', outAxis: 1, inAxis: 0 }],
  Gemm: node => [{ input: 1, ...(attribute(node, 'transB') ? { outAxis: 0, inAxis: 1 } : product) }],
  GRU: recurrent,
  LSTM: recurrent,
  MatMul: () => [
    { input: 0, outAxis: 0, inAxis: 1 },
    { input: 1, ...product },
  ],
  RNN: recurrent,
};

/**
 * Weights found by the operators that read them, without knowing any shape but their own: for models that cannot be
 * traced. How often a weight is used is not known, so `positions` is 0.
 */
export function staticLayers({ graph }: OnnxModel): Layer[] {
  const layers = new Map<string, Layer>();
  for (const node of graph.nodes) {
    if (node.domain !== '' || !Object.hasOwn(operators, node.opType)) continue;
    for (const { input, ...axes } of operators[node.opType](node)) {
      const name = node.inputs[input];
      const tensor = graph.initializers.get(name);
      if (!tensor || tensor instanceof OpaqueTensor || layers.has(name) || !isWeight(tensor, node)) continue;
      layers.set(name, layer(name, tensor.shape, toFloat32(tensor).data, { ...axes, positions: 0 }));
    }
  }
  return [...layers.values()];
}

function isWeight({ dtype, shape }: NDArray, { opType }: OnnxNode): boolean {
  const isFloat = dtype === 'float32' || dtype === 'float16' || dtype === 'bfloat16' || dtype === 'float64';
  const rank = shape.length;
  const fits = opType.startsWith('Conv')
    ? rank >= 3
    : ['GRU', 'LSTM', 'RNN'].includes(opType)
      ? rank === 3
      : rank === 2;
  return isFloat && fits && shape.every(d => d > 0);
}
