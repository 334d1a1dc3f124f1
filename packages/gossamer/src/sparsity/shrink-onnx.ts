import {
  fromFloat32,
  GossamerError,
  type Node,
  Random,
  realize,
  type Spec,
  sizeOf,
  type Tensor,
  tensor,
  traceGraph,
  zeros,
} from '@gossamer/tensor';
import { float, type OnnxModel, type OnnxNode, type OnnxTensor, onnxNode } from '@gossamer/tensor/onnx';
import { GraphModule } from '../nn/graph-module.ts';
import { sliceGraph } from './graph-slices.ts';
import { type ChannelGroups, type ChannelGroupsOptions, channelGroups, type ModelCost } from './groups.ts';
import { OnnxConstants, withWeightInitializers } from './onnx-constants.ts';
import { nodeName, slicedShape, sliceNode, type ValueSlices } from './onnx-slices.ts';
import { keptPositions } from './removal.ts';
import { planShrink, type ShrinkDecision, type ShrinkOptions, type ShrinkPlan } from './shrink-plan.ts';

export interface ShrunkOnnx {
  readonly onnx: OnnxModel;
  readonly before: ModelCost;
  readonly after: ModelCost;
  /** The channels that are gone, by their ids in {@link OnnxNetwork.groups}. */
  readonly removed: readonly number[];
  /** With `constant: 'fold'`: weights that read a constant which no bias could take over exactly. */
  readonly dropped: readonly string[];
}

/**
 * An ONNX model whose channels can be removed: the file is rewritten, its weights sliced and the sizes that it holds as
 * constants adjusted. Names of nodes, values and weights stay.
 *
 * ```ts
 * const network = new OnnxNetwork(await readOnnx('model.onnx'), [{ shape: [1, 3, 224, 224], dtype: 'float32' }]);
 * const groups = await network.groups();
 * const scores = await channelScores(network.module, groups, 'l1');
 * const { onnx } = await network.shrink({ remove: chooseChannels(groups, scores, { target: { flops: 0.5 } }) });
 * ```
 */
export class OnnxNetwork {
  readonly onnx: OnnxModel;
  readonly inputs: readonly Spec[];
  /** The model as a graph; its parameters are the file's weights by name. */
  readonly module: GraphModule;
  readonly #values = new Map<string, Node>();
  readonly #live = new Set<OnnxNode>();
  readonly #names = new WeakMap<Node, string>();

  /** @param inputs shape and dtype of each input that is fed, for one sample */
  constructor(onnx: OnnxModel, inputs: readonly Spec[]) {
    this.onnx = withWeightInitializers(onnx);
    this.inputs = inputs;
    this.module = new GraphModule(this.onnx);
    this.module.observer = (node, outputs) => this.#observe(node, outputs);
  }

  /** Which channels go together; what cannot be removed is explained by the names of the file's nodes. */
  groups(options: Pick<ChannelGroupsOptions, 'groupedConvolutions'> = {}): Promise<ChannelGroups> {
    return channelGroups(this.module, this.inputs, { ...options, ...this.#description });
  }

  /**
   * The file without some channels; see `shrink`. It is run once, and compared with the graph that it comes from.
   *
   * @throws a GossamerError that names the node, where the file cannot be adjusted
   */
  async shrink(
    decision: ShrinkDecision,
    options: Pick<ShrinkOptions, 'constant' | 'groupedConvolutions'> = {},
  ): Promise<ShrunkOnnx> {
    const plan = await planShrink(this.module, this.inputs, decision, { ...options, ...this.#description });
    const onnx = this.#rewrite(plan);
    await compareOutputs(plan, onnx);
    const { groups, removed, dropped } = plan;
    const after = await new OnnxNetwork(onnx, this.inputs).groups(options);
    return { onnx, before: groups.cost(), after: after.cost(), removed, dropped };
  }

  get #description(): Pick<ChannelGroupsOptions, 'nameOf' | 'elementBytes'> {
    const { initializers } = this.onnx.graph;
    return {
      nameOf: node => this.#names.get(node),
      elementBytes: name => {
        const { dtype } = initializers.get(name)!;
        return dtype === 'float64' ? 8 : dtype === 'float32' ? 4 : 2;
      },
    };
  }

  /** Keeps values by name, and for all nodes of the graph which node of the file they come from. */
  #observe(node: OnnxNode, outputs: readonly (Tensor | undefined)[]): void {
    this.#live.add(node);
    const stack: Node[] = [];
    outputs.forEach((output, i) => {
      if (!output) return;
      this.#values.set(node.outputs[i], output.node);
      stack.push(output.node);
    });
    for (let next = stack.pop(); next; next = stack.pop()) {
      if (next.inputs.length === 0 || this.#names.has(next)) continue;
      this.#names.set(next, nodeName(node));
      stack.push(...next.inputs);
    }
  }

  /**
   * The file with sliced weights and adjusted nodes. Targets of Reshape and Expand that the file computes are left to it
   * where they come out right, and written down where not.
   */
  #rewrite(plan: ShrinkPlan): OnnxModel {
    const constants = new OnnxConstants(this.onnx);
    const weights = this.#weights(plan);
    const slices = this.#slices(plan, constants, weights);
    const live = this.onnx.graph.nodes.filter(n => this.#live.has(n));
    const biases = new Map([...plan.biases].map(([weight, bias]) => [weight.name, bias]));
    const explicit = new Set<OnnxNode>();
    for (;;) {
      constants.reset();
      const nodes = live.flatMap(node => {
        const bias = biases.get(node.inputs[1]);
        const sliced = sliceNode(node, slices, explicit.has(node));
        return bias ? withBias(sliced, bias, constants, weights) : [sliced];
      });
      const onnx = constants.model(nodes, weights, value => slices.node(value) !== undefined);
      const wrong = firstMismatch(onnx, live, this.inputs, slices);
      if (!wrong) return onnx;
      const { node, message } = wrong;
      const isComputed = ['Reshape', 'Expand'].includes(node.opType) && !explicit.has(node);
      if (!isComputed) throw new GossamerError(`shrink: node '${nodeName(node)}' (${node.opType}): ${message}`);
      explicit.add(node);
    }
  }

  #weights(plan: ShrinkPlan): Map<string, OnnxTensor> {
    return new Map(
      plan.parameters.map(p => {
        const { dtype, sparse } = this.onnx.graph.initializers.get(p.name)!;
        const { shape, data } = plan.slice(p);
        return [p.name, { dtype, shape, data: fromFloat32(data, dtype), ...(sparse && { sparse }) } as OnnxTensor];
      }),
    );
  }

  #slices(plan: ShrinkPlan, constants: OnnxConstants, weights: ReadonlyMap<string, OnnxTensor>): ValueSlices {
    const { traced, followed } = plan.analysis;
    const given = new Map(this.module.inputs.map(({ name }, i) => [name, traced.inputs[i]]));
    const leaves = new Map([...traced.parameters].map(([node, p]) => [p.name, node]));
    const node = (value: string) => this.#values.get(value) ?? given.get(value) ?? leaves.get(value);
    return {
      node: value => {
        const found = node(value);
        return found && followed.axes.has(found) ? found : undefined;
      },
      kept: (value, axis) => {
        const found = node(value);
        return found && keptPositions(followed.axes.get(found)?.[0]?.[axis], followed.labels);
      },
      integers: value => constants.integers(value),
      constant: value => (weights.has(value) ? undefined : constants.get(value)),
      weightShape: value => weights.get(value)?.shape,
      write: (values, like) => constants.writeIntegers(values, like),
      slice: (value, positions) => constants.writeSlice(value, positions),
      opset: this.onnx.opsets[''] ?? 1,
    };
  }
}

/** A layer with a bias that it did not have, or could not take up: with one more node for a product. */
function withBias(
  node: OnnxNode,
  bias: Float32Array,
  constants: OnnxConstants,
  weights: ReadonlyMap<string, OnnxTensor>,
): OnnxNode[] {
  const [x, w, c] = node.inputs;
  const number = (name: string) => {
    const found = node.attributes[name];
    return found?.type === 'float' ? found.value : 1;
  };
  const write = (data: Float32Array, like: string) =>
    constants.write({ dtype: 'float32', shape: [data.length], data }, like);
  if (node.opType === 'Conv') return [{ ...node, inputs: [x, w, write(bias, `${w}_bias`)] }];
  const [output] = node.outputs;
  if (node.opType === 'Gemm' && !c) {
    const scaled = bias.map(b => b * number('alpha'));
    const attributes = { ...node.attributes, beta: float(1) };
    return [{ ...node, inputs: [x, w, write(scaled, `${w}_bias`)], attributes }];
  }
  const scaled = node.opType === 'Gemm' ? bias.map(b => b * number('alpha')) : bias;
  const inner = `${output}_before_bias`;
  const name = weights.has(w) ? write(scaled, `${w}_bias`) : write(scaled, `${output}_bias`);
  const sum = onnxNode('Add', [inner, name], [output], {}, { name: `${nodeName(node)}_bias` });
  return [{ ...node, outputs: [inner, ...node.outputs.slice(1)] }, sum];
}

/** The first of the old nodes that gives another shape in the rewritten file than its slice has, or fails there. */
function firstMismatch(
  onnx: OnnxModel,
  nodes: readonly OnnxNode[],
  inputs: readonly Spec[],
  slices: ValueSlices,
): { node: OnnxNode; message: string } | undefined {
  const shapes = new Map<string, readonly number[] | undefined>();
  let failure: GossamerError | undefined;
  try {
    const module = new GraphModule(onnx);
    module.observer = ({ outputs }, tensors) => {
      outputs.forEach((name, i) => {
        shapes.set(name, tensors[i]?.shape);
      });
    };
    traceGraph((...xs) => module.forward(...xs), inputs, { caller: 'shrink' });
  } catch (error) {
    if (!(error instanceof GossamerError)) throw error;
    failure = error;
  }
  for (const node of nodes) {
    for (const value of node.outputs) {
      if (value === '') continue;
      if (!shapes.has(value)) {
        if (failure) return { node, message: failure.message };
        continue;
      }
      const shape = shapes.get(value);
      if (!shape || !slices.node(value)) continue;
      const expected = slicedShape(value, slices);
      if (shape.join() === expected.join()) continue;
      const message = `gives [${shape.join(', ')}] where [${expected.join(', ')}] is left; it cannot be adjusted`;
      return { node, message };
    }
  }
  if (failure) throw failure;
  return undefined;
}

/** Runs the rewritten file and the graph that it stands for on the same random input. */
async function compareOutputs(plan: ShrinkPlan, onnx: OnnxModel): Promise<void> {
  const { traced, followed } = plan.analysis;
  const random = new Random(0);
  const inputs = traced.inputs.map(({ shape, dtype }, i) =>
    dtype === 'float32' ? tensor(random.fork(i).normal(sizeOf(shape)), shape) : zeros(shape, dtype),
  );
  const given = new Map(traced.inputs.map((node, i) => [node, inputs[i]]));
  const biases = new Map([...plan.biases].map(([weight, bias]) => [weight.name, tensor(bias, [bias.length])]));
  const slices = sliceGraph(traced, followed, {
    leaf: node => {
      const parameter = traced.parameters.get(node);
      return given.get(node) ?? (parameter && tensor(plan.slice(parameter)));
    },
    bias: weight => biases.get(traced.parameters.get(weight)?.name ?? ''),
  });
  const module = new GraphModule(onnx);
  const found = module.run(Object.fromEntries(module.inputs.map(({ name }, i) => [name, inputs[i]])));
  const pairs = module.outputs.map(
    ({ name }, i) => [name, slices.tensor(traced.outputs[i].node), found[name]] as const,
  );
  await realize(...pairs.flatMap(([, a, b]) => [a, b]));
  for (const [name, expected, actual] of pairs) {
    const [a, b] = [await expected.data(), await actual.data()];
    const scale = a.reduce((most, v) => Math.max(most, Math.abs(v)), 1);
    const apart = a.findIndex((v, i) => Math.abs(v - b[i]) > 1e-3 * scale);
    if (apart >= 0 || a.length !== b.length) {
      throw new GossamerError(
        `shrink: output ${name} of the rewritten file is ${b[apart]} where ${a[apart]} is right; an operator of it depends on sizes in a way that is not known`,
      );
    }
  }
}
