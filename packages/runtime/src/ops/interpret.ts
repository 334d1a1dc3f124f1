/** Runs a graph node by node with the plain operators: the reference that every faster backend must equal. */
import { RuntimeError, UnsupportedError } from '../errors.ts';
import { type Attribute, type Graph, isSparse, type Node, type SparseValue } from '../load/graph.ts';
import type { Value } from '../values.ts';
import { dense } from './create.ts';
import { type Context, describe, type Operators, operatorKey } from './operator.ts';

/** Looks up a value of the surrounding graphs by name. */
export type Scope = (name: string) => Value | undefined;

const isGraph = (item: unknown): item is Graph => typeof item === 'object' && item !== null && 'nodes' in item;

/** The graphs among a node's attributes: bodies and branches. */
export const subgraphsOf = (node: Node): Graph[] =>
  (Object.values(node.attributes) as (Attribute | Attribute[])[]).flatMap(item =>
    isGraph(item) ? item : Array.isArray(item) ? (item as unknown[]).filter(isGraph) : [],
  );

/** Names that a node reads: its inputs, and whatever its subgraphs mention (a superset of what they take from outside). */
function namesRead(node: Node): string[] {
  const inner = subgraphsOf(node).flatMap(graph => [
    ...graph.nodes.flatMap(namesRead),
    ...graph.outputs.map(output => output.name),
  ]);
  return [...node.inputs, ...inner];
}

/** For each node, the values that nothing needs after it. */
const released = new WeakMap<Graph, readonly (readonly string[])[]>();

function releasedAfter(graph: Graph): readonly (readonly string[])[] {
  let lists = released.get(graph);
  if (!lists) {
    const seen = new Set(graph.outputs.map(output => output.name));
    lists = graph.nodes
      .map(node => [...namesRead(node), ...node.outputs])
      .reverse()
      .map(names => names.filter(name => name !== '' && !seen.has(name) && seen.add(name)))
      .reverse();
    released.set(graph, lists);
  }
  return lists;
}

/** Sparse constants, written out once for each graph that is alive. */
const written = new WeakMap<SparseValue, Value>();

function constantOf(stored: Value | SparseValue): Value {
  if (!isSparse(stored)) return stored;
  let value = written.get(stored);
  if (!value) written.set(stored, (value = dense(stored)));
  return value;
}

/** Checks that every operator of a graph, and each attribute, is known; throws an UnsupportedError naming the node. */
export function checkOperators(graph: Graph, operators: Operators): void {
  for (const node of graph.nodes) {
    const key = operatorKey(node);
    const operator = Object.hasOwn(operators, key) ? operators[key] : undefined;
    if (!operator) throw new UnsupportedError(`${describe(node)}: operator ${key} is not supported`);
    for (const name of Object.keys(node.attributes)) {
      if (!operator.attributes.includes(name)) {
        throw new UnsupportedError(`${describe(node)}: attribute ${name} of ${key}-${node.version} is not supported`);
      }
    }
    for (const inner of subgraphsOf(node)) checkOperators(inner, operators);
  }
}

/**
 * Computes a graph's outputs. `feeds` holds its inputs by name; `outer` resolves names of surrounding graphs. A value is let
 * go after its last use. Expects a graph that `checkOperators` has passed.
 */
export function interpret(
  graph: Graph,
  feeds: ReadonlyMap<string, Value>,
  operators: Operators,
  outer: Scope = () => undefined,
): Map<string, Value> {
  const values = new Map(feeds);
  const lookUp: Scope = name => {
    const value = values.get(name);
    if (value) return value;
    const stored = graph.initializers.get(name);
    return stored ? constantOf(stored) : outer(name);
  };
  const resolve = (name: string, reader: string): Value => {
    const value = lookUp(name);
    if (!value) throw new RuntimeError(`${reader}: the value ${name} is missing; feed it or check the graph's inputs`);
    return value;
  };
  const context: Context = {
    evaluate(inner, inputs) {
      const named = new Map(inner.inputs.map(({ name }, i) => [name, inputs[i]]));
      const results = interpret(inner, named, operators, lookUp);
      return inner.outputs.map(({ name }) => results.get(name)!);
    },
  };
  const done = releasedAfter(graph);
  graph.nodes.forEach((node, i) => {
    const inputs = node.inputs.map(name => (name === '' ? undefined : resolve(name, describe(node))));
    const outputs = operators[operatorKey(node)].run(node, inputs, context);
    node.outputs.forEach((name, k) => {
      if (name === '') return;
      if (!outputs[k]) throw new RuntimeError(`${describe(node)}: output ${k} (${name}) is not produced`);
      values.set(name, outputs[k]);
    });
    for (const name of done[i]) values.delete(name);
  });
  return new Map(graph.outputs.map(({ name }) => [name, resolve(name, `output of graph ${graph.name}`)]));
}
