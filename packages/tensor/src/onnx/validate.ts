import { bytesPerElement, sizeOf } from '../dtype.ts';
import { FormatError } from '../errors.ts';
import { graphsOf } from './captured.ts';
import { OpaqueTensor } from './opaque.ts';
import type { OnnxFunction, OnnxGraph, OnnxModel, OnnxNode, OnnxTensor, OnnxValue } from './proto.ts';
import { describeNode } from './sort.ts';

/** Versions of the standard operator set that are accepted. Importing operators is tested for 7 to 21. */
export const opsetRange = { min: 7, max: 26 } as const;

/** Nested graphs (a branch within a branch …) go at most this deep. */
export const maxGraphDepth = 16;

/**
 * Throws a {@link FormatError} unless the model is well formed: a supported operator set, and graph and functions that
 * pass {@link validateGraph}.
 */
export function validateModel(model: OnnxModel): void {
  const { opsets, functions = [] } = model;
  const opset = opsets[''];
  const range = `operator sets ${opsetRange.min} to ${opsetRange.max} are supported`;
  if (opset === undefined) throw new FormatError(`the model names no version of the standard operator set; ${range}`);
  if (opset < opsetRange.min || opset > opsetRange.max)
    throw new FormatError(
      `operator set ${opset}: ${range}; convert the model with onnx.version_converter or export it anew`,
    );
  validateGraph(model.graph);
  for (const f of functions) validateFunction(f);
}

/**
 * Throws a {@link FormatError} unless every value has exactly one origin (input, initializer or node; an initializer
 * may give an input its default), every value that is used comes from earlier in the graph or from a graph around it
 * (`outer`), the nodes have operators, and tensors have the size of their shape.
 */
export function validateGraph(graph: OnnxGraph, outer: ReadonlySet<string> = new Set()): void {
  checkGraph(graph, new Scope(outer), `graph '${graph.name}'`, 1);
}

/** Names known at one point of a graph, and in the graphs around it. */
class Scope {
  readonly #outer: Scope | ReadonlySet<string>;
  readonly #names = new Set<string>();

  constructor(outer: Scope | ReadonlySet<string>) {
    this.#outer = outer;
  }

  has(name: string): boolean {
    return this.#names.has(name) || this.#outer.has(name);
  }

  /** Known in this graph itself. Inputs and constants of a nested graph may hide a name from outside. */
  owns(name: string): boolean {
    return this.#names.has(name);
  }

  add(name: string): void {
    this.#names.add(name);
  }
}

function checkGraph(graph: OnnxGraph, scope: Scope, where: string, depth: number): void {
  const fail = (message: string): never => {
    throw new FormatError(`${where}: ${message}`);
  };
  if (depth > maxGraphDepth) fail(`graphs are nested more than ${maxGraphDepth} deep`);
  const inputs = new Set<string>();
  for (const value of [...graph.inputs, ...graph.outputs, ...(graph.valueInfo ?? [])]) checkDimensions(value, where);
  for (const { name } of graph.inputs) {
    if (name === '') fail('an input has no name');
    if (scope.owns(name)) fail(`two values are named '${name}' (the second is an input)`);
    inputs.add(name);
    scope.add(name);
  }
  for (const [name, tensor] of graph.initializers) {
    if (name === '') fail('an initializer has no name');
    if (scope.owns(name) && !inputs.has(name)) fail(`two values are named '${name}' (the second is an initializer)`);
    scope.add(name);
    checkTensor(tensor, `${where}: initializer '${name}'`);
  }
  checkNodes(graph.nodes, scope, where, depth);
  const outputs = new Set<string>();
  for (const { name } of graph.outputs) {
    if (!scope.has(name)) fail(`output '${name}' is never produced`);
    if (outputs.has(name)) fail(`output '${name}' is listed twice`);
    outputs.add(name);
  }
}

function checkNodes(nodes: readonly OnnxNode[], scope: Scope, where: string, depth: number): void {
  for (const node of nodes) {
    // Built only when needed: writing validates thousands of nodes.
    const here = (): string => `${where}: node ${describeNode(node)}`;
    if (node.opType === '') throw new FormatError(`${here()}: has no operator`);
    for (const input of node.inputs) {
      if (input === '' || scope.has(input)) continue;
      const later = nodes.some(other => other.outputs.includes(input));
      throw new FormatError(
        `${here()}: input '${input}' is ${later ? 'used before it is produced' : 'never produced'}`,
      );
    }
    for (const key in node.attributes) {
      const attribute = node.attributes[key];
      if (attribute.type === 'tensor') checkTensor(attribute.value, `${here()}, attribute '${key}'`);
      else if (attribute.type === 'tensors')
        for (const t of attribute.value) checkTensor(t, `${here()}, attribute '${key}'`);
      for (const nested of graphsOf(attribute))
        checkGraph(nested, new Scope(scope), `${here()}, attribute '${key}'`, depth + 1);
    }
    for (const output of node.outputs) {
      if (output === '') continue;
      if (scope.has(output))
        throw new FormatError(`${here()}: two values are named '${output}' (the second is its output)`);
      scope.add(output);
    }
  }
}

function validateFunction(f: OnnxFunction): void {
  const where = `function '${f.domain}::${f.name}'`;
  const scope = new Scope(new Set<string>());
  for (const input of f.inputs) {
    if (scope.has(input)) throw new FormatError(`${where}: input '${input}' is listed twice`);
    scope.add(input);
  }
  checkNodes(f.nodes, scope, where, 1);
  for (const output of f.outputs)
    if (!scope.has(output)) throw new FormatError(`${where}: output '${output}' is never produced`);
}

function checkDimensions({ name, shape }: OnnxValue, where: string): void {
  const bad = shape?.find(d => typeof d === 'number' && !(Number.isSafeInteger(d) && d >= 0));
  if (bad !== undefined) throw new FormatError(`${where}: value '${name}' has the dimension ${bad}`);
}

function checkTensor(tensor: OnnxTensor, where: string): void {
  if (tensor instanceof OpaqueTensor) return;
  const { dtype, shape, data } = tensor;
  if (!shape.every(d => Number.isSafeInteger(d) && d >= 0))
    throw new FormatError(`${where}: invalid shape [${shape.join(', ')}]`);
  if (sizeOf(shape) !== data.length)
    throw new FormatError(
      `${where}: shape [${shape.join(', ')}] has ${sizeOf(shape)} elements, its data ${data.length}`,
    );
  if (data.BYTES_PER_ELEMENT !== bytesPerElement(dtype))
    throw new FormatError(`${where}: ${dtype} data in a ${data.constructor.name}`);
}
