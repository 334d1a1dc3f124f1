/** What nodes read, their subgraphs included. */
import type { Graph, Node } from '../load/graph.ts';
import { subgraphsOf } from '../ops/interpret.ts';

interface Reads {
  readonly names: readonly string[];
  readonly control: boolean;
}

const known = new WeakMap<Node, Reads>();

function captured(graph: Graph): string[] {
  const inner = new Set([...graph.inputs.map(i => i.name), ...graph.initializers.keys()]);
  const names: string[] = [];
  for (const node of graph.nodes) {
    for (const name of reads(node)) if (!inner.has(name)) names.push(name);
    for (const name of node.outputs) inner.add(name);
  }
  for (const { name } of graph.outputs) if (!inner.has(name)) names.push(name);
  return names;
}

function look(node: Node): Reads {
  let found = known.get(node);
  if (!found) {
    const graphs = subgraphsOf(node);
    const names = [...node.inputs.filter(name => name !== ''), ...graphs.flatMap(captured)];
    known.set(node, (found = { names, control: graphs.length > 0 }));
  }
  return found;
}

/** All values that a node reads, once for each time: its inputs and what its subgraphs take from outside. */
export const reads = (node: Node): readonly string[] => look(node).names;

/** Whether a node has subgraphs (If, Loop, Scan). */
export const isControl = (node: Node): boolean => look(node).control;

/** The nodes that `wanted` values depend on, in their order, and every value that is read on the way. */
export function needed(nodes: readonly Node[], wanted: Iterable<string>): { nodes: Node[]; values: Set<string> } {
  const values = new Set(wanted);
  const kept: Node[] = [];
  for (let i = nodes.length - 1; i >= 0; i--) {
    if (!nodes[i].outputs.some(name => values.has(name))) continue;
    kept.push(nodes[i]);
    for (const name of reads(nodes[i])) values.add(name);
  }
  return { nodes: kept.reverse(), values };
}
