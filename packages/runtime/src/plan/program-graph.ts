/** A graph being rewritten: nodes in topological order, constants, and who makes and uses each value. */
import { FormatError } from '../errors.ts';
import { type Graph, isSparse, type Node, type SparseValue } from '../load/graph.ts';
import { dense } from '../ops/create.ts';
import { bytesOf, sizeOf, type Value } from '../values.ts';
import { needed, reads } from './reads.ts';

/** Bytes that all constants stored as coordinates may take when written out … */
const DENSE_LIMIT = 2 ** 31;
/** … unless they are at most so many times as large as their entries: a few bytes must not ask for gigabytes. */
const EXPANSION = 1000;

/** Constants by name, all dense. */
function written(initializers: ReadonlyMap<string, Value | SparseValue>): Map<string, Value> {
  let [total, entries] = [0, 0];
  return new Map(
    [...initializers].map(([name, value]) => {
      if (!isSparse(value)) return [name, value];
      const bytes = value.type === 'string' ? 8 : bytesOf(value.type);
      total += sizeOf(value.dims) * bytes;
      entries += value.indices.length * bytes;
      if (total > DENSE_LIMIT && total > EXPANSION * entries)
        throw new FormatError(
          `sparse initializer '${name}': [${value.dims}] with ${value.indices.length} entries takes ${total} bytes written out, more than ${DENSE_LIMIT}`,
        );
      return [name, dense(value)];
    }),
  );
}

export interface Optimized {
  readonly nodes: readonly Node[];
  readonly constants: ReadonlyMap<string, Value>;
}

export class Rewriting {
  /** In order of computation; undefined where a node was removed. */
  readonly nodes: (Node | undefined)[];
  readonly constants: Map<string, Value>;
  readonly #inputs: ReadonlySet<string>;
  readonly #uses = new Map<string, number>();
  readonly #producers = new Map<string, number>();

  /** @throws FormatError when sparse constants are too large to be written out */
  constructor(graph: Graph) {
    const outputs = graph.outputs.map(({ name }) => name);
    this.nodes = needed(graph.nodes, outputs).nodes;
    this.constants = written(graph.initializers);
    this.#inputs = new Set(graph.inputs.map(({ name }) => name));
    for (const name of outputs) this.#count(name, 1);
    for (const [i, node] of this.nodes.entries()) this.#register(node!, i, 1);
  }

  #count(name: string, by: number): void {
    this.#uses.set(name, this.uses(name) + by);
  }

  #register(node: Node, index: number, by: 1 | -1): void {
    // What a subgraph reads from outside counts as used, so that it is never fused away.
    for (const name of reads(node)) this.#count(name, by);
    for (const name of node.outputs) {
      if (name === '') continue;
      if (by > 0) this.#producers.set(name, index);
      else this.#producers.delete(name);
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

  /** The producer when nothing else reads the value, and nothing its other outputs. */
  sole(name: string, ...ops: string[]): Node | undefined {
    const node = this.uses(name) === 1 ? this.producer(name, ...ops) : undefined;
    return node?.outputs.every(output => output === name || this.uses(output) === 0) ? node : undefined;
  }

  /** The value of a constant with one element, that adds no dimension to what it is combined with. */
  scalar(name: string | undefined): number | undefined {
    const value = name ? this.constants.get(name) : undefined;
    return value && value.data.length === 1 && value.dims.length <= 1 ? Number(value.data[0]) : undefined;
  }

  #take(node: Node): number {
    const position = this.position(node.outputs.find(name => name !== '')!);
    this.#register(node, position, -1);
    this.nodes[position] = undefined;
    return position;
  }

  /** Puts `node` in the place of the last of `old` (where all its inputs are ready) and removes the others. */
  replace(old: readonly Node[], node: Node): void {
    const target = Math.max(...old.map(o => this.#take(o)));
    this.nodes[target] = node;
    this.#register(node, target, 1);
  }

  /** Removes a node whose outputs have become constants. */
  remove(node: Node): void {
    this.#take(node);
  }

  /** Adds a constant under a name that is free; returns the name. */
  constant(hint: string, value: Value): string {
    const taken = (name: string) =>
      this.constants.has(name) || this.#producers.has(name) || this.#inputs.has(name) || this.uses(name) > 0;
    let name = hint;
    for (let i = 1; taken(name); i++) name = `${hint}#${i}`;
    this.constants.set(name, value);
    return name;
  }

  /** Constants that nothing reads any more are dropped, and with them the file's bytes if little of it is in use. */
  finish(): Optimized {
    const nodes = this.nodes.filter(node => node !== undefined);
    for (const name of [...this.constants.keys()]) if (this.uses(name) === 0) this.constants.delete(name);
    const inUse = new Map<ArrayBufferLike, number>();
    for (const { data } of this.constants.values())
      if (ArrayBuffer.isView(data)) inUse.set(data.buffer, (inUse.get(data.buffer) ?? 0) + data.byteLength);
    for (const [name, value] of this.constants) {
      const { data } = value;
      if (ArrayBuffer.isView(data) && inUse.get(data.buffer)! < data.buffer.byteLength / 2)
        this.constants.set(name, { ...value, data: data.slice() });
    }
    return { nodes, constants: this.constants };
  }
}
