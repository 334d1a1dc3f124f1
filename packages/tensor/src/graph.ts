import type { DType, TypedArray } from './dtype.ts';
import { sizeOf } from './dtype.ts';
import type { Attributes, Operator } from './operator.ts';

export interface Spec {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

let created = 0;

/**
 * One value of the graph: an operator applied to earlier nodes, or a leaf that holds data. A realised node is a leaf:
 * its data is kept, its operator and inputs are dropped, so that the graph behind it can be freed.
 */
export class Node implements Spec {
  /** Creation order; sorting by it is a topological order. */
  readonly id = created++;
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Outputs of an operator that has several; each is selected by a `part` node. */
  readonly parts: readonly Spec[] | undefined;
  data: TypedArray | undefined;
  /** The data may be seen by the caller or another graph, so its buffer must not be recycled. */
  pinned = false;
  op: Operator;
  inputs: readonly Node[];
  attributes: Attributes;

  constructor(op: Operator, inputs: readonly Node[], attributes: Attributes, spec: Spec, parts?: readonly Spec[]) {
    this.op = op;
    this.inputs = inputs;
    this.attributes = attributes;
    this.shape = spec.shape;
    this.dtype = spec.dtype;
    this.parts = parts;
  }

  /** Turns the node into a leaf. */
  settle(data: TypedArray): void {
    this.data = data;
    this.op = leaf;
    this.inputs = [];
    this.attributes = {};
  }

  get isLeaf(): boolean {
    return this.op === leaf;
  }

  get size(): number {
    return sizeOf(this.shape);
  }
}

/** The operator of leaves: data, parameters, placeholders of a compiled function. */
export const leaf: Operator = {
  name: 'leaf',
  infer: () => {
    throw new Error('leaf nodes are made by leafNode');
  },
};

/** A leaf with data, or a placeholder without. */
export function leafNode(spec: Spec, data?: TypedArray): Node {
  const node = new Node(leaf, [], {}, { shape: spec.shape, dtype: spec.dtype });
  node.data = data;
  return node;
}

/** All nodes that `roots` depend on, themselves included, in topological order. */
export function reachable(roots: Iterable<Node>): Node[] {
  const seen = new Set<Node>(roots);
  const stack = [...seen];
  while (stack.length > 0) {
    for (const input of stack.pop()!.inputs) {
      if (!seen.has(input)) {
        seen.add(input);
        stack.push(input);
      }
    }
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

/** JSON with −0, NaN and ±Infinity told apart, for structural keys. */
export function attributesKey(attributes: Attributes): string {
  return JSON.stringify(attributes, (_, v) =>
    typeof v === 'number' && (!Number.isFinite(v) || Object.is(v, -0)) ? `#${Object.is(v, -0) ? '-0' : v}` : v,
  );
}

/** The graph behind `roots` as text, one node a line, for debugging and tests. */
export function formatGraph(...roots: { node: Node }[]): string {
  const nodes = reachable(roots.map(r => r.node));
  const names = new Map(nodes.map((n, i) => [n, `%${i}`]));
  return nodes
    .map(n => {
      const attributes = attributesKey(n.attributes);
      const args = n.inputs.map(x => names.get(x)).join(', ');
      return `${names.get(n)} = ${n.op.name}(${args})${attributes === '{}' ? '' : ` ${attributes}`} : ${n.dtype}[${n.shape}]`;
    })
    .join('\n');
}
