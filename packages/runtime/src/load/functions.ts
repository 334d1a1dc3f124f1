/** Functions that a model defines: every call is replaced by the function's nodes. */
import { FormatError } from '../errors.ts';
import { type Attribute, deeper, describeNode, type Graph, type Node } from './graph.ts';
import type { ParsedNode } from './parse.ts';

export interface FunctionDefinition {
  readonly op: string;
  readonly domain: string;
  readonly overload: string;
  /** How errors name it. */
  readonly name: string;
  readonly opsets: ReadonlyMap<string, number>;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Names of all attributes it takes. */
  readonly attributes: ReadonlySet<string>;
  readonly defaults: Readonly<Record<string, Attribute>>;
  readonly nodes: readonly ParsedNode[];
}

/** What identifies a function, and a call of it. */
const keyOf = ({ domain, op, overload = '' }: Pick<ParsedNode, 'domain' | 'op' | 'overload'>): string =>
  `${domain}:${op}:${overload}`;

/** Functions that call others that call others … : no deeper than this. */
const MAX_DEPTH = 64;
/** Characters of names, roughly: some 200,000 nodes. Ten functions that call each other ten times would be 10¹⁰. */
const MAX_SIZE = 2 ** 25;

/** The surroundings of the nodes that are being copied. */
interface Scope {
  /** The model's name of a value. */
  readonly rename: (name: string) => string;
  /** Put in front of the names of nodes. */
  readonly prefix: string;
  /** Attributes of the call, with defaults. */
  readonly attributes: Readonly<Record<string, Attribute>>;
  /** Keys of the functions that are being expanded, outermost first. */
  readonly calls: readonly string[];
  /** Of the graph they are copied to. */
  readonly depth: number;
}

/** The graph without calls of the functions, nested graphs included. Inner values get names of their own. */
export function inlineFunctions(graph: Graph, definitions: readonly FunctionDefinition[]): Graph {
  const functions = new Map(definitions.map(definition => [keyOf(definition), definition]));
  for (const definition of definitions) {
    if (functions.get(keyOf(definition)) !== definition)
      throw new FormatError(`the function ${definition.name} is defined twice`);
  }
  let calls = 0;
  let size = 0;
  /** What each copied graph added to `size`: an attribute that is handed on adds it again. */
  const sizes = new Map<Graph, number>();

  const spend = (cost: number): void => {
    if ((size += cost) > MAX_SIZE) {
      throw new FormatError(
        'the functions of the model call each other so often that it would have hundreds of thousands of nodes',
      );
    }
  };

  const expandGraph = (inner: Graph, scope: Scope): Graph => {
    const values = <T extends { readonly name: string }>(list: readonly T[]): T[] =>
      list.map(value => ({ ...value, name: scope.rename(value.name) }));
    const before = size;
    const copy = {
      name: inner.name,
      nodes: expandNodes(inner.nodes, scope),
      inputs: values(inner.inputs),
      outputs: values(inner.outputs),
      initializers: new Map([...inner.initializers].map(([name, value]) => [scope.rename(name), value])),
    };
    sizes.set(copy, size - before);
    return copy;
  };

  const expandAttribute = (value: Attribute, scope: Scope): Attribute => {
    if (Array.isArray(value)) return value.map(item => expandAttribute(item, scope)) as Attribute;
    return typeof value === 'object' && 'nodes' in value
      ? expandGraph(value, { ...scope, depth: deeper(scope.depth) })
      : value;
  };

  const expandNodes = (nodes: readonly ParsedNode[], scope: Scope, target: Node[] = []): Node[] => {
    for (const node of nodes) {
      spend(64);
      const attributes: Record<string, Attribute> = {};
      for (const key in node.attributes) attributes[key] = expandAttribute(node.attributes[key], scope);
      for (const key in node.references) {
        // An attribute that the caller leaves out, and that has no default, is left out here too.
        const name = node.references[key];
        if (!Object.hasOwn(scope.attributes, name)) continue;
        attributes[key] = scope.attributes[name];
        for (const item of [attributes[key]].flat()) spend(sizes.get(item as Graph) ?? 0);
      }
      const { op, domain, version } = node;
      const name = scope.prefix + node.name;
      const inputs = node.inputs.map(scope.rename);
      const outputs = node.outputs.map(scope.rename);
      const copy: Node = { name, op, domain, version, inputs, outputs, attributes };
      const key = keyOf(node);
      const definition = functions.get(key);
      if (definition) expandCall(copy, definition, { ...scope, calls: [...scope.calls, key] }, target);
      else target.push(copy);
    }
    return target;
  };

  /** Appends the nodes of a function to `target` in place of a call; `outer.calls` ends with the function's key. */
  const expandCall = (node: Node, definition: FunctionDefinition, outer: Scope, target: Node[]): void => {
    const { name, inputs, outputs, attributes } = definition;
    const stack = outer.calls;
    const fail = (message: string): never => {
      throw new FormatError(`${describeNode(node)}: ${message}`);
    };
    if (stack.indexOf(stack[stack.length - 1]) < stack.length - 1) fail(`the function ${name} calls itself`);
    if (stack.length > MAX_DEPTH) fail(`functions call each other more than ${MAX_DEPTH} deep`);
    if (node.inputs.length > inputs.length || node.outputs.length > outputs.length) {
      fail(
        `${node.inputs.length} inputs and ${node.outputs.length} outputs, the function ${name} has ${inputs.length} and ${outputs.length}`,
      );
    }
    for (const key in node.attributes) if (!attributes.has(key)) fail(`the function ${name} has no attribute ${key}`);

    const prefix = `${node.op}#${calls++}/`;
    const names = new Map(inputs.map((input, i) => [input, node.inputs[i] ?? '']));
    const copies: Node[] = [];
    outputs.forEach((output, i) => {
      const result = node.outputs[i];
      if (!result) return;
      const source = names.get(output);
      // An input that is handed through, or an output that is given twice.
      if (source === undefined) names.set(output, result);
      else copies.push(identity(`${prefix}${output}`, definition, source, result));
    });
    const rename = (value: string): string => {
      const given = value === '' ? '' : names.get(value);
      if (given !== undefined) return given;
      spend(prefix.length + value.length);
      return prefix + value;
    };
    const scope: Scope = { ...outer, rename, prefix, attributes: {} };
    const given: Record<string, Attribute> = { ...node.attributes };
    for (const key in definition.defaults) {
      if (!Object.hasOwn(given, key)) given[key] = expandAttribute(definition.defaults[key], scope);
    }
    expandNodes(definition.nodes, { ...scope, attributes: given }, target);
    for (const copy of copies) target.push(copy);
  };

  return expandGraph(graph, { rename: name => name, prefix: '', attributes: {}, calls: [], depth: 0 });
}

const identity = (name: string, { opsets }: FunctionDefinition, source: string, target: string): Node => ({
  name,
  op: 'Identity',
  domain: '',
  version: opsets.get('') ?? 1,
  inputs: [source],
  outputs: [target],
  attributes: {},
});
