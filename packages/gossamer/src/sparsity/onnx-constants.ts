import type { NDArray, TypedArray } from '@gossamer/tensor';
import {
  type OnnxAttribute,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  OpaqueTensor,
} from '@gossamer/tensor/onnx';
import { slicePositions } from './graph-slices.ts';

/**
 * The same model with float arrays that Constant nodes hold among the initializers, where those of other files have their
 * weights; the nodes are gone.
 */
export function withWeightInitializers(model: OnnxModel): OnnxModel {
  const initializers = new Map(model.graph.initializers);
  const nodes = model.graph.nodes.filter(node => {
    const value = constantOf(node);
    if (!value || value.shape.length === 0 || !value.dtype.includes('float')) return true;
    initializers.set(node.outputs[0], value);
    return false;
  });
  return { ...model, graph: { ...model.graph, nodes, initializers } };
}

/** What a Constant node holds, if it is an array of numbers. */
function constantOf({ opType, domain, attributes }: OnnxNode): OnnxTensor | undefined {
  if (opType !== 'Constant' || domain !== '') return undefined;
  const [attribute] = Object.values(attributes) as (OnnxAttribute | undefined)[];
  switch (attribute?.type) {
    case 'tensor':
      return attribute.value instanceof OpaqueTensor ? undefined : attribute.value;
    case 'float':
      return { dtype: 'float32', shape: [], data: Float32Array.of(attribute.value) };
    case 'floats':
      return { dtype: 'float32', shape: [attribute.value.length], data: Float32Array.from(attribute.value) };
    case 'int':
      return { dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(attribute.value)) };
    case 'ints':
      return { dtype: 'int64', shape: [attribute.value.length], data: BigInt64Array.from(attribute.value, BigInt) };
    default:
      return undefined;
  }
}

/** The constants of a file while it is rewritten: what it has, and what is written down anew. */
export class OnnxConstants {
  readonly #model: OnnxModel;
  readonly #given = new Map<string, OnnxTensor>();
  readonly #written = new Map<string, OnnxTensor>();
  readonly #taken: ReadonlySet<string>;

  constructor(model: OnnxModel) {
    this.#model = model;
    const { graph } = model;
    for (const [name, value] of graph.initializers) if (!(value instanceof OpaqueTensor)) this.#given.set(name, value);
    for (const node of graph.nodes) {
      const value = constantOf(node);
      if (value) this.#given.set(node.outputs[0], value);
    }
    this.#taken = new Set([
      ...graph.initializers.keys(),
      ...graph.inputs.map(i => i.name),
      ...graph.nodes.flatMap(n => n.outputs),
    ]);
  }

  /** Forgets what was written. */
  reset(): void {
    this.#written.clear();
  }

  get(name: string): OnnxTensor | undefined {
    return this.#given.get(name);
  }

  integers(name: string): number[] | undefined {
    const found = this.#given.get(name);
    return found && Array.from(found.data as ArrayLike<number | bigint>, Number);
  }

  /** Writes a constant down under a name like another's. */
  write(value: NDArray, like: string): string {
    let name = `${like}_small`;
    for (let i = 2; this.#taken.has(name) || this.#written.has(name); i++) name = `${like}_small${i}`;
    this.#written.set(name, value);
    return name;
  }

  writeIntegers(values: readonly number[], like: string): string {
    const data = BigInt64Array.from(values, BigInt);
    return this.write({ dtype: 'int64', shape: [values.length], data }, like);
  }

  writeSlice(name: string, positions: readonly (Int32Array | undefined)[]): string {
    const { dtype, shape, data } = this.#given.get(name)!;
    const small = shape.map((d, i) => positions[i]?.length ?? d);
    return this.write({ dtype, shape: small, data: slicePositions(data as TypedArray, shape, positions) }, name);
  }

  /** The file around other nodes and weights. Constants that only the old nodes read are left out. */
  model(nodes: OnnxNode[], weights: ReadonlyMap<string, OnnxTensor>, isChanged: (value: string) => boolean): OnnxModel {
    const { graph } = this.#model;
    const initializers = new Map([...graph.initializers, ...weights, ...this.#written]);
    const nested = nodes.some(n => Object.values(n.attributes).some(a => a.type === 'graph' || a.type === 'graphs'));
    if (!nested) {
      const used = new Set([...nodes.flatMap(n => n.inputs), ...graph.outputs.map(o => o.name)]);
      for (const name of initializers.keys()) if (!used.has(name)) initializers.delete(name);
    }
    const inputs = graph.inputs.flatMap(input => {
      if (!graph.initializers.has(input.name)) return [input];
      // An input with a default value; it goes with the value.
      const value = initializers.get(input.name);
      return value ? [{ ...input, shape: [...value.shape] }] : [];
    });
    const { valueInfo, ...rest } = graph;
    const types = valueInfo && { valueInfo: valueInfo.filter(v => !isChanged(v.name)) };
    return { ...this.#model, graph: { ...rest, nodes, inputs, initializers, ...types } };
  }
}
