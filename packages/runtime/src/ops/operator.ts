/** What an operator is to the runtime: its attributes, its shape rule and its plain implementation, in one place. */

import { RuntimeError } from '../errors.ts';
import { type Attribute, describeNode as describe, type Graph, type Node } from '../load/graph.ts';
import type { Info, Value } from '../values.ts';

/** An input of a node; undefined when an optional input is omitted. */
export type Inputs<T = Value> = readonly (T | undefined)[];

/** What a plain implementation may ask of its surroundings. */
export interface Context {
  /** Runs a subgraph (If, Loop, Scan bodies) on its formal inputs; outer values are visible by name. */
  evaluate(graph: Graph, inputs: readonly Value[]): Value[];
}

export interface Operator {
  /** Names of all attributes that are understood; any other in a file is an error at load. */
  readonly attributes: readonly string[];
  /** The exact ONNX semantics on typed arrays, for every version the runtime accepts (see `node.version`). */
  run(node: Node, inputs: Inputs, context: Context): Value[];
  /**
   * Types and shapes of the outputs. Inputs carry `value` when they are constants. Without this rule the planner finds
   * them by running the operator on zeros. An operator that is costly (convolutions, products, recurrences) must have it.
   */
  infer?(node: Node, inputs: Inputs<Info>): Info[];
  /** Positions of inputs whose values, not only shapes, decide the outputs' shapes (Reshape: [1]). */
  readonly shapeInputs?: readonly number[];
  /** The output shape depends on the data itself (NonZero): always computed at run time. Same for random draws. */
  readonly dynamic?: boolean;
}

/** Operators by name: the standard domain under the plain name, others as `domain:Name`. */
export type Operators = Readonly<Record<string, Operator>>;

/** Registry key of a node. */
export const operatorKey = (node: Node): string => (node.domain === '' ? node.op : `${node.domain}:${node.op}`);

export { describe };

/** Fails with a message that names the node. */
export function fail(node: Node, message: string): never {
  throw new RuntimeError(`${describe(node)}: ${message}`);
}

function attribute<T extends Attribute>(kind: (value: Attribute) => boolean, expected: string) {
  return <D extends T | undefined>(node: Node, name: string, fallback?: D): T | D => {
    const value = node.attributes[name];
    if (value === undefined) return fallback as D;
    if (!kind(value)) fail(node, `attribute ${name} is ${JSON.stringify(value)?.slice(0, 60)}, expected ${expected}`);
    return value as T;
  };
}

/** Typed readers of attributes: the value, or the fallback when the attribute is absent. */
export const number = attribute<number>(value => typeof value === 'number', 'a number');
export const text = attribute<string>(value => typeof value === 'string', 'a string');
export const numbers = attribute<number[]>(
  value => Array.isArray(value) && value.every(item => typeof item === 'number'),
  'a list of numbers',
);
export const texts = attribute<string[]>(
  value => Array.isArray(value) && value.every(item => typeof item === 'string'),
  'a list of strings',
);
export const subgraph = attribute<Graph>(value => typeof value === 'object' && 'nodes' in value, 'a graph');
export const constant = attribute<Value>(value => typeof value === 'object' && 'data' in value, 'a tensor');
