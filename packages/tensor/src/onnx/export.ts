import { check, GossamerError } from '../errors.ts';
import type { Node, Spec } from '../graph.ts';
import { type Emission, partIndex } from '../operator.ts';
import { realize } from '../realize.ts';
import type { Tensor } from '../tensor.ts';
import { type Outputs, type Traced, traceGraph } from '../trace.ts';
import { OnnxBuilder, OPSET, SymbolicDim } from './builder.ts';
import type { OnnxModel, OnnxValue } from './proto.ts';

export interface ExportOptions {
  /**
   * Name of a dynamic batch dimension (default `'batch'`): axis 0 of every input may then have any size, whatever the
   * shapes say there. `null` fixes all sizes.
   */
  batch?: string | null;
  /** Names of the outputs if `fn` returns tensors rather than a record. Default `output`, or `output0`, `output1` …. */
  outputs?: readonly string[];
  /** Name of the graph. Default `gossamer`. */
  name?: string;
  metadata?: Record<string, string>;
}

/**
 * Writes the graph that `fn` builds as an ONNX model (opset 21, standard operators only). Parameters become
 * initializers under their names. With a dynamic batch the function is traced at three batch sizes: whatever differs
 * between the traces becomes a size computed from the batch, and what cannot be expressed so is refused by name.
 *
 * @param inputs name, dtype and shape of each argument of `fn`, in order
 */
export async function exportOnnx(
  fn: (...inputs: Tensor[]) => Outputs,
  inputs: Readonly<Record<string, Spec>>,
  { batch = 'batch', outputs: names, name = 'gossamer', metadata }: ExportOptions = {},
): Promise<OnnxModel> {
  check(Object.keys(inputs).length > 0, 'exportOnnx: the model needs at least one input');
  const sizes = batch === null ? [undefined] : [2, 3, 5];
  const traces = sizes.map(size =>
    traceGraph(
      fn,
      Object.values(inputs).map(({ dtype, shape }) => ({
        dtype,
        shape: size === undefined ? shape : [size, ...shape.slice(1)],
      })),
      { caller: 'exportOnnx', ...(names && { outputs: names }) },
    ),
  );
  const [first] = traces;
  const lazy = [...first.parameters.values()].filter(p => !p.isRealized);
  await realize(...lazy);

  const builder = new OnnxBuilder({ standard: true });
  const symbolic = batch === null ? undefined : new Overlay(traces, sizes as number[]);
  const values = new Map<Node, string | readonly string[]>();
  const dims = (node: Node): (number | string)[] =>
    symbolic ? symbolic.shape(node).map(d => dimensionName(d, batch!)) : [...node.shape];

  Object.keys(inputs).forEach((input, i) => {
    values.set(first.inputs[i], input);
    builder.inputs.push({ name: input, dtype: first.inputs[i].dtype, shape: dims(first.inputs[i]) });
  });
  builder.bindBatch(Object.keys(inputs)[0], 0);
  reserveParameterNames(builder, first, Object.keys(inputs), values);

  for (const node of first.nodes) {
    if (values.has(node)) continue;
    if (node.isLeaf) {
      values.set(node, builder.constant({ dtype: node.dtype, shape: node.shape, data: node.data! }));
      continue;
    }
    const args = node.inputs.map(i => values.get(i)!);
    const index = partIndex(node);
    if (index !== undefined) {
      values.set(node, args[0][index]);
      continue;
    }
    check(node.op.emit, () => `exportOnnx: ${node.op.name} runs on the host only and has no ONNX form`);
    const view: Emission<object> = symbolic
      ? symbolic.emission(node)
      : { attributes: node.attributes, inputs: node.inputs, outputs: node.parts ?? [node] };
    values.set(node, node.op.emit!(builder, args as string[], view));
  }
  const outputs: OnnxValue[] = first.outputs.map(({ name: output, node }) => {
    builder.nodes.push({
      name: '',
      opType: 'Identity',
      domain: '',
      inputs: [values.get(node) as string],
      outputs: [output],
      attributes: {},
    });
    return { name: output, dtype: node.dtype, shape: dims(node) };
  });
  nameOutputsDirectly(builder, outputs);
  builder.nodes.forEach((n, i) => {
    n.name = `${n.opType}_${i}`;
  });
  return {
    irVersion: 10,
    opsets: { '': OPSET },
    producerName: 'gossamer',
    ...(metadata && { metadata }),
    graph: { name, nodes: builder.nodes, inputs: builder.inputs, outputs, initializers: builder.initializers },
  };
}

/** Gives every parameter in use its own name as an initializer before anything else takes one. */
function reserveParameterNames(
  builder: OnnxBuilder,
  { nodes, parameters, outputs }: Traced,
  inputs: readonly string[],
  values: Map<Node, string | readonly string[]>,
): void {
  const used = new Set([...inputs, ...outputs.map(o => o.name)]);
  let anonymous = 0;
  for (const node of nodes) {
    const p = parameters.get(node);
    if (!p) continue;
    let name = p.name || `parameter_${anonymous++}`;
    while (used.has(name)) name = `${name}_`;
    used.add(name);
    values.set(node, name);
    builder.initializers.set(name, { dtype: p.dtype, shape: p.shape, data: p.node.data! });
  }
}

/** Lets the node that makes an output carry the output's name, instead of an Identity behind it. */
function nameOutputsDirectly(builder: OnnxBuilder, outputs: readonly OnnxValue[]): void {
  const names = new Set(outputs.map(o => o.name));
  const producers = new Map(builder.nodes.flatMap(n => n.outputs.map(o => [o, n] as const)));
  for (const identity of builder.nodes.filter(n => n.opType === 'Identity' && names.has(n.outputs[0]))) {
    const [from] = identity.inputs;
    const [to] = identity.outputs;
    const producer = producers.get(from);
    if (!producer || names.has(from)) continue;
    for (const n of builder.nodes) {
      n.inputs = n.inputs.map(x => (x === from ? to : x));
      n.outputs = n.outputs.map(x => (x === from ? to : x));
    }
    builder.nodes.splice(builder.nodes.indexOf(identity), 1);
  }
}

const dimensionName = (d: number | SymbolicDim, batch: string): number | string => {
  if (typeof d === 'number') return d;
  const scaled = d.scale === 1 ? batch : `${d.scale}*${batch}`;
  return d.offset === 0 ? scaled : `${scaled}${d.offset > 0 ? '+' : ''}${d.offset}`;
};

/** Sizes of the first trace as functions of the batch, found by comparing it with the others node by node. */
class Overlay {
  readonly #others: readonly ReadonlyMap<Node, Node>[];
  readonly #sizes: readonly number[];

  constructor(traces: readonly Traced[], sizes: readonly number[]) {
    const [first, ...others] = traces;
    for (const t of others) {
      const same =
        t.nodes.length === first.nodes.length && t.nodes.every((n, i) => n.op.name === first.nodes[i].op.name);
      check(same, 'exportOnnx: the graph itself changes with the batch size; export with { batch: null }');
    }
    this.#others = others.map(t => new Map(first.nodes.map((n, i) => [n, t.nodes[i]])));
    this.#sizes = sizes;
  }

  shape(node: Node): (number | SymbolicDim)[] {
    return this.#unify(node, n => n.shape) as (number | SymbolicDim)[];
  }

  /** Attributes and shapes in which sizes that follow the batch are symbolic. */
  emission(node: Node): Emission<object> {
    return {
      attributes: this.#unify(node, n => n.attributes) as object,
      inputs: node.inputs.map(i => ({ dtype: i.dtype, shape: this.shape(i) as number[] })),
      outputs: (node.parts ?? [node]).map((spec, i) => ({
        dtype: spec.dtype,
        shape: this.#unify(node, n => (n.parts?.[i] ?? n).shape) as number[],
      })),
    };
  }

  #unify(node: Node, get: (n: Node) => unknown): unknown {
    const merge = (values: readonly unknown[], path: string): unknown => {
      const [value] = values;
      if (typeof value === 'number' && values.some(v => v !== value)) return this.#fit(values as number[], node, path);
      if (Array.isArray(value))
        return value.map((_, i) =>
          merge(
            values.map(v => (v as unknown[])[i]),
            `${path}[${i}]`,
          ),
        );
      if (typeof value === 'object' && value !== null) {
        const record = value as Record<string, unknown>;
        return Object.fromEntries(
          Object.keys(record).map(k => [
            k,
            merge(
              values.map(v => (v as Record<string, unknown>)[k]),
              `${path}.${k}`,
            ),
          ]),
        );
      }
      return value;
    };
    return merge([node, ...this.#others.map(m => m.get(node)!)].map(get), '');
  }

  /** value = scale·batch + offset through all traces, or an error. */
  #fit(values: readonly number[], node: Node, path: string): SymbolicDim {
    const [a, b] = this.#sizes;
    const scale = (values[1] - values[0]) / (b - a);
    const offset = values[0] - scale * a;
    const linear = Number.isInteger(scale) && values.every((v, i) => v === scale * this.#sizes[i] + offset);
    if (!linear || node.op.name === 'constant') {
      throw new GossamerError(
        `exportOnnx: ${node.op.name}${path} depends on the batch size in a way that ONNX sizes cannot express; export with { batch: null }`,
      );
    }
    return new SymbolicDim(scale, offset);
  }
}
