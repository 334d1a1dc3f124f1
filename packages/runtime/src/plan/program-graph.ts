/** A graph being rewritten: nodes in topological order, constants, and who makes and uses each value. */
import { type Graph, isSparse, type Node, type SparseValue } from '../load/graph.ts';
import { arrayOf, type NumericArray, sizeOf, type Value } from '../values.ts';

/** The dense form of a constant stored as coordinates. */
export function densify(value: Value | SparseValue): Value {
  if (!isSparse(value)) return value;
  const { type, dims, indices, values } = value;
  const data = new (arrayOf(type as 'float32'))(sizeOf(dims)) as Float32Array;
  const source = values.data as NumericArray;
  for (let i = 0; i < indices.length; i++) data[indices[i]] = source[i] as number;
  return { type, dims, data };
}

export interface Optimized {
  readonly nodes: readonly Node[];
  readonly constants: ReadonlyMap<string, Value>;
}

export class Rewriting {
  nodes: (Node | undefined)[];
  readonly constants: Map<string, Value>;
  readonly #uses = new Map<string, number>();
  readonly #producers = new Map<string, number>();

  constructor(graph: Graph) {
    this.nodes = [...graph.nodes];
    this.constants = new Map([...graph.initializers].map(([name, value]) => [name, densify(value)]));
    for (const { name } of graph.outputs) this.#count(name, 1);
    this.nodes.forEach((node, i) => this.#register(node!, i, 1));
  }

  #count(name: string, by: number): void {
    this.#uses.set(name, (this.#uses.get(name) ?? 0) + by);
  }

  #register(node: Node, index: number, by: 1 | -1): void {
    for (const name of node.inputs) this.#count(name, by);
    for (const name of node.outputs) {
      if (by > 0) this.#producers.set(name, index);
      else this.#producers.delete(name);
    }
    // What a subgraph reads from outside counts as used, so that it is never fused away.
    for (const attribute of Object.values(node.attributes)) {
      for (const graph of [attribute].flat()) {
        if (typeof graph === 'object' && 'nodes' in graph) {
          const visit = (inner: Graph): void => {
            for (const { name } of inner.outputs) this.#count(name, by);
            for (const child of inner.nodes) {
              for (const name of child.inputs) this.#count(name, by);
              for (const nested of Object.values(child.attributes).flat())
                if (typeof nested === 'object' && 'nodes' in nested) visit(nested);
            }
          };
          visit(graph);
        }
      }
    }
  }

  /** How many inputs and graph outputs read a value. */
  uses(name: string): number {
    return this.#uses.get(name) ?? 0;
  }

  /** Position of the node that makes a value; −1 for inputs and constants. */
  position(name: string): number {
    return this.#producers.get(name) ?? -1;
  }

  /** The node that makes a value, when it has one of the given operators (standard or fused domain). */
  producer(name: string, ...ops: string[]): Node | undefined {
    const node = this.nodes[this.position(name)];
    return node && ops.includes(node.op) && (node.domain === '' || node.domain === 'fused') ? node : undefined;
  }

  /** The producer when nothing else reads its only output. */
  sole(name: string, ...ops: string[]): Node | undefined {
    const node = this.uses(name) === 1 ? this.producer(name, ...ops) : undefined;
    return node?.outputs.length === 1 || node?.outputs.slice(1).every(o => this.uses(o) === 0) ? node : undefined;
  }

  /** The value of a constant with one element. */
  scalar(name: string | undefined): number | undefined {
    const value = name ? this.constants.get(name) : undefined;
    return value && value.data.length === 1 ? Number(value.data[0]) : undefined;
  }

  /** Puts `node` in the place of the last of `old` (where all its inputs are ready) and removes the others. */
  replace(old: readonly Node[], node: Node): void {
    const positions = old.map(o => this.nodes.indexOf(o));
    const target = Math.max(...positions);
    old.forEach((o, i) => {
      this.#register(o, positions[i], -1);
      this.nodes[positions[i]] = undefined;
    });
    this.nodes[target] = node;
    this.#register(node, target, 1);
  }

  /** Removes a node whose outputs have become constants. */
  remove(node: Node): void {
    const position = this.nodes.indexOf(node);
    this.#register(node, position, -1);
    this.nodes[position] = undefined;
  }

  /** Adds a constant under a name that is free; returns the name. */
  constant(hint: string, value: Value): string {
    let name = hint;
    for (let i = 1; this.constants.has(name) || this.#producers.has(name); i++) name = `${hint}#${i}`;
    this.constants.set(name, value);
    return name;
  }

  /** Constants that nothing reads any more are dropped. */
  finish(): Optimized {
    const nodes = this.nodes.filter(node => node !== undefined);
    for (const name of [...this.constants.keys()]) if (this.uses(name) === 0) this.constants.delete(name);
    return { nodes, constants: this.constants };
  }
}
