import {
  check,
  type Node,
  type Outputs,
  type Parameter,
  type Spec,
  type Tensor,
  type Traced,
  traceGraph,
} from '@gossamer/tensor';
import { inEvalMode } from '../nn/export.ts';
import { Module } from '../nn/module.ts';
import { type Layer, type LayerKind, layer } from './layer.ts';

/** The weights of a model that can be masked, and where they live. */
export interface ModelLayers {
  /** In the order in which the model uses them. `values` are the parameters' data of the moment. */
  readonly layers: readonly Layer[];
  readonly parameters: ReadonlyMap<string, Parameter>;
}

export type Model = Module | ((...inputs: Tensor[]) => Outputs);

/**
 * Finds the weights of linear layers, convolutions, products, recurrences and embeddings by tracing the model for one
 * sample and looking at which operator reads each parameter. It works on any graph — modules, imported ONNX files,
 * plain functions — and knows how often each weight is used (`positions`, for FLOPs). A weight with several uses (tied
 * embeddings, an unrolled recurrence) is one layer. Biases and norms are no layers.
 *
 * @param inputs shape and dtype of each input; axis 0 is the batch
 */
export async function modelLayers(model: Model, inputs: readonly Spec[]): Promise<ModelLayers> {
  const { nodes, parameters: leaves } = await traceModel(model, inputs, 'modelLayers');
  const found = weightUses(nodes, leaves, inputs[0].shape[0]);
  const layers: Layer[] = [];
  const parameters = new Map<string, Parameter>();
  for (const [p, uses] of found) {
    const name = p.name || `parameter_${layers.length}`;
    check(!parameters.has(name), () => `modelLayers: two weights are named ${name}`);
    parameters.set(name, p);
    layers.push(describe(name, p.shape, await p.data(), uses));
  }
  return { layers, parameters };
}

/** The same layers with the parameters' present values; cheaper than tracing again. */
export async function refreshLayers({ layers, parameters }: ModelLayers): Promise<Layer[]> {
  return Promise.all(layers.map(async l => ({ ...l, values: await parameters.get(l.name)!.data() })));
}

/** One place in a graph where a parameter is used as a weight. Axes are those of the parameter. */
export interface WeightUse {
  readonly kind: LayerKind;
  readonly outAxis: number;
  readonly inAxis: number;
  readonly positions: number;
  /** Of a convolution; default 1. */
  readonly groups?: number;
  readonly node: Node;
  /** Which of the node's inputs the weight is. */
  readonly position: number;
}

type Use = Omit<WeightUse, 'node' | 'position'>;

function describe(name: string, shape: readonly number[], values: Float32Array, uses: readonly Use[]): Layer {
  const products = uses.filter(u => u.kind !== 'embedding');
  const [main] = products.length > 0 ? products : uses;
  const positions = products.reduce((n, u) => n + u.positions, 0);
  const kind = main.kind === 'linear' && products.length > 1 ? 'recurrent' : main.kind;
  return layer(name, shape, values, {
    kind,
    outAxis: main.outAxis,
    inAxis: main.inAxis,
    positions,
    groups: main.groups,
  });
}

/**
 * Uses of each parameter as a weight in a graph.
 *
 * @param parameters parameters by the leaf that holds their value
 * @param batch samples that the graph was traced with
 */
export function weightUses(
  nodes: readonly Node[],
  parameters: ReadonlyMap<Node, Parameter>,
  batch: number,
): Map<Parameter, WeightUse[]> {
  const uses = new Map<Parameter, WeightUse[]>();
  // A tensor that is a parameter up to a permutation of axes: axis i of it is axis `axes[i]` of the parameter.
  const weights = new Map<Node, { parameter: Parameter; axes: readonly number[] }>();
  for (const [node, parameter] of parameters) {
    weights.set(node, { parameter, axes: node.shape.map((_, i) => i) });
  }
  for (const node of nodes) {
    node.inputs.forEach((input, position) => {
      const weight = weights.get(input);
      if (!weight) return;
      const attributes = node.attributes as Record<string, unknown>;
      if (node.op.name === 'transpose') {
        weights.set(node, { ...weight, axes: (attributes.perm as number[]).map(a => weight.axes[a]) });
        return;
      }
      const use = useOf(node, position, batch);
      if (!use) return;
      const own = (axis: number) => (axis < 0 ? axis : weight.axes[axis]);
      const list = uses.get(weight.parameter) ?? [];
      list.push({ ...use, outAxis: own(use.outAxis), inAxis: own(use.inAxis), node, position });
      uses.set(weight.parameter, list);
    });
  }
  return uses;
}

/** The graph of a model in eval mode, its parameters named. */
export async function traceModel(model: Model, inputs: readonly Spec[], caller: string): Promise<Traced> {
  if (!(model instanceof Module)) return traceGraph(model, inputs, { caller });
  // Names are given by walking the model.
  for (const _ of model.namedParameters());
  return inEvalMode(model, () => traceGraph((...xs) => model.forward(...xs) as Outputs, inputs, { caller }));
}

/** How `node` uses its input number `position` as a weight, if it does. Axes are those of the input. */
function useOf(node: Node, position: number, batch: number): Use | undefined {
  const attributes = node.attributes as Record<string, unknown>;
  const outputs = (channels: number) => node.size / channels / batch;
  const weight = node.inputs[position];
  switch (node.op.name) {
    case 'linear':
      return position === 1
        ? { kind: 'linear', outAxis: 0, inAxis: 1, positions: outputs(weight.shape[0]) }
        : undefined;
    case 'matmul': {
      if (weight.shape.length !== 2) return undefined;
      const swapped = (attributes as { a: boolean; b: boolean })[position === 0 ? 'a' : 'b'];
      // On the right, columns are outputs; on the left, rows are. Swapping reads them the other way round.
      const outAxis = (position === 1) !== swapped ? 1 : 0;
      return { kind: 'linear', outAxis, inAxis: 1 - outAxis, positions: outputs(weight.shape[outAxis]) };
    }
    case 'conv': {
      if (position !== 1) return undefined;
      const groups = Number(attributes.groups);
      const depthwise = weight.shape[1] === 1 && groups > 1;
      const positions = outputs(weight.shape[0]);
      return { kind: depthwise ? 'depthwise' : 'conv', outAxis: 0, inAxis: 1, positions, groups };
    }
    case 'convTranspose': {
      if (position !== 1) return undefined;
      const positions = node.inputs[0].size / node.inputs[0].shape[1] / batch;
      return { kind: 'conv', outAxis: 1, inAxis: 0, positions, groups: Number(attributes.groups) };
    }
    case 'lstm':
    case 'gru': {
      // x [time, batch, in], then the weights of the input and of the state.
      const [time, n] = node.inputs[0].shape;
      return position === 1 || position === 2
        ? { kind: 'recurrent', outAxis: 0, inAxis: 1, positions: (time * n) / batch }
        : undefined;
    }
    case 'embedding':
    case 'gather':
      return position === 0 && weight.shape.length === 2 && (attributes.axis ?? 0) === 0
        ? { kind: 'embedding', outAxis: 1, inAxis: 0, positions: 0 }
        : undefined;
    default:
      return undefined;
  }
}
