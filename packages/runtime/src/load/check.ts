/** What holds for every graph that is handed on: each value is defined once, and before it is used. */
import { FormatError } from '../errors.ts';
import { type Attribute, deeper, describeNode, type Graph, type Node } from './graph.ts';

/** Whether a value of the surrounding graphs has this name. */
type Outer = (name: string) => boolean;

/**
 * The graph with its nodes, and those of nested graphs, in an order in which every value is defined before it is used:
 * the file's order where it is one. Fails, naming node and value, if a value is defined twice or nowhere, if the
 * graph has a cycle, or if a node's domain is not imported.
 */
export function checkGraph(graph: Graph, outer: Outer = () => false, where = 'graph', depth = 0): Graph {
  const own = new Set<string>();
  for (const { name } of graph.inputs) {
    if (own.has(name)) throw new FormatError(`${where}: input '${name}' is given twice`);
    own.add(name);
  }
  for (const name of graph.initializers.keys()) own.add(name);
  const known: Outer = name => own.has(name) || outer(name);

  const nodes = sortNodes(graph.nodes, depth).map(node => {
    const title = describeNode(node);
    if (node.version === 0) {
      throw new FormatError(
        `${title}: the model imports no operator set of ${node.domain ? `the domain '${node.domain}'` : 'the standard domain'}, and defines no such function`,
      );
    }
    for (const name of node.inputs) {
      if (name !== '' && !known(name)) throw new FormatError(`${title}: input '${name}' is defined nowhere`);
    }
    const checked = checkAttributes(node, known, title, depth);
    for (const name of node.outputs) {
      if (name === '') continue;
      if (own.has(name))
        throw new FormatError(
          `${title}: output '${name}' is already defined by another node, an input or an initializer`,
        );
      own.add(name);
    }
    return checked;
  });
  for (const { name } of graph.outputs) {
    if (!known(name)) throw new FormatError(`${where}: output '${name}' is produced by no node`);
  }
  return { ...graph, nodes };
}

const isGraph = (value: unknown): value is Graph => typeof value === 'object' && value !== null && 'nodes' in value;

/** Names and graphs of the attributes that hold graphs. */
function nestedGraphs({ attributes }: Node): [name: string, Graph | Graph[]][] {
  const nested: [string, Graph | Graph[]][] = [];
  for (const name in attributes) {
    const value = attributes[name];
    if (isGraph(Array.isArray(value) ? value[0] : value)) nested.push([name, value as Graph | Graph[]]);
  }
  return nested;
}

function checkAttributes(node: Node, known: Outer, title: string, depth: number): Node {
  const nested = nestedGraphs(node);
  if (nested.length === 0) return node;
  const attributes: Record<string, Attribute> = { ...node.attributes };
  for (const [name, value] of nested) {
    const check = (graph: Graph): Graph => checkGraph(graph, known, `${title}: attribute ${name}`, deeper(depth));
    attributes[name] = Array.isArray(value) ? value.map(check) : check(value);
  }
  return { ...node, attributes };
}

/** Every name that a node reads: its inputs, and what its graphs take from outside. */
function uses(node: Node, depth: number): readonly string[] {
  const nested = nestedGraphs(node);
  if (nested.length === 0) return node.inputs;
  const names = [...node.inputs];
  for (const [, value] of nested) {
    for (const graph of [value].flat()) for (const name of freeNames(graph, deeper(depth))) names.push(name);
  }
  return names;
}

function freeNames(graph: Graph, depth: number): Set<string> {
  const own = new Set([...graph.inputs.map(({ name }) => name), ...graph.initializers.keys()]);
  for (const node of graph.nodes) for (const name of node.outputs) own.add(name);
  const free = new Set<string>();
  for (const node of graph.nodes)
    for (const name of uses(node, depth)) if (name !== '' && !own.has(name)) free.add(name);
  for (const { name } of graph.outputs) if (!own.has(name)) free.add(name);
  return free;
}

/** The nodes in an order in which every producer comes before its consumers: the given one where possible. */
function sortNodes(nodes: readonly Node[], depth: number): readonly Node[] {
  const producers = new Map<string, number>();
  nodes.forEach((node, i) => {
    for (const name of node.outputs) if (name !== '' && !producers.has(name)) producers.set(name, i);
  });
  const isInPlace = (node: Node, i: number): boolean =>
    uses(node, depth).every(name => (producers.get(name) ?? -1) < i);
  if (nodes.every(isInPlace)) return nodes;
  const needs = nodes.map(node =>
    uses(node, depth)
      .map(name => producers.get(name))
      .filter(i => i !== undefined),
  );

  // Depth first with a stack of its own: a chain of a million nodes must not overflow the call stack.
  const NEW = 0;
  const OPEN = 1;
  const DONE = 2;
  const state = new Uint8Array(nodes.length);
  const sorted: Node[] = [];
  for (let root = 0; root < nodes.length; root++) {
    const stack = state[root] === NEW ? [{ node: root, next: 0 }] : [];
    state[root] ||= OPEN;
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const need = needs[top.node][top.next++];
      if (need === undefined) {
        state[top.node] = DONE;
        sorted.push(nodes[top.node]);
        stack.pop();
      } else if (state[need] === NEW) {
        state[need] = OPEN;
        stack.push({ node: need, next: 0 });
      } else if (state[need] === OPEN) {
        const path = stack.map(({ node }) => node);
        const cycle = path.slice(path.indexOf(need)).reverse();
        const names = cycle.slice(0, 5).map(i => describeNode(nodes[i]));
        if (cycle.length > 5) names.push(`${cycle.length - 5} more`);
        throw new FormatError(`the graph has a cycle: ${[...names, names[0]].join(' → ')}`);
      }
    }
  }
  return sorted;
}
