import { GossamerError } from '../errors.ts';
import type { Parameter } from '../parameter.ts';
import type { Tensor } from '../tensor.ts';
import { Call, type Import, type TrainingMode, type Value } from './import/call.ts';
import { asOutput, checkFeeds } from './import/feeds.ts';
import { HostConstant } from './import/host-constant.ts';
import {
  calledFunction,
  type Functions,
  functionsOf,
  liveNodes,
  outputNames,
  refuseUnsupported,
} from './import/live.ts';
import { isWeight, type ParameterRule, parametersOf } from './import/parameters.ts';
import { findImport } from './import/registry.ts';
import { OpaqueTensor } from './opaque.ts';
import type { OnnxAttribute, OnnxFunction, OnnxModel, OnnxNode, OnnxTensor, OnnxValue } from './proto.ts';
import { describeNode } from './sort.ts';

export type { TrainingMode } from './import/call.ts';
export type { ParameterRule } from './import/parameters.ts';

export interface ImportOptions {
  /**
   * Which float initializers become parameters; the others are constants. Default: those with at least one axis that
   * are no settings of an operator (the scales of a Resize, the bounds of a Clip …).
   */
  parameters?: ParameterRule;
}

/**
 * Makes an ONNX model (operator sets 7 to 21, newer ones as far as they agree) part of Gossamer's graph: it can be run,
 * differentiated, fine-tuned, pruned and exported like one written here.
 *
 * Floats of all widths are computed in float32, integers of 16 bits and more in int32; outputs get the types that the
 * file declares. Shape computations become plain numbers, so sizes must follow from the shapes of the inputs, not from
 * their values. Functions of the model are inlined; `If` needs a condition that is known from shapes and constants;
 * `Loop` and `Scan` are refused.
 *
 * @throws a {@link GossamerError} that lists every operator that is not supported
 */
export function importOnnx(model: OnnxModel, { parameters = isWeight }: ImportOptions = {}): ImportedGraph {
  return new ImportedGraph(model, parameters);
}

/**
 * Told what every node of the graph gave, in order: a tensor for each output, undefined where it is a plain number or a
 * shape, or nobody reads it.
 */
export type ImportObserver = (node: OnnxNode, outputs: readonly (Tensor | undefined)[]) => void;

/** How nodes of one graph or function are to be read. */
interface Context {
  readonly observe?: ImportObserver | undefined;
  readonly opsets: Readonly<Record<string, number>>;
  /** What the caller of a function gives for its attributes. */
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
  readonly training: TrainingMode | undefined;
}

/** An ONNX model as a function of tensors; made by {@link importOnnx}. */
export class ImportedGraph {
  /** What {@link call} takes. Inputs with a default value in the file keep that value and are not among them. */
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  /** By the names of their initializers, float32; running statistics of batch normalisation are not trainable. */
  readonly parameters: ReadonlyMap<string, Parameter>;
  readonly #model: OnnxModel;
  readonly #functions: Functions;
  readonly #initializers: ReadonlyMap<string, Value>;

  constructor(model: OnnxModel, rule: ParameterRule) {
    const { graph } = model;
    this.#functions = functionsOf(model);
    refuseUnsupported(model, this.#functions);
    this.#model = model;
    this.inputs = graph.inputs.filter(i => !graph.initializers.has(i.name));
    this.outputs = graph.outputs;
    this.parameters = parametersOf(model, rule);
    this.#initializers = new Map<string, Value>([...constantsOf(graph.initializers), ...this.parameters]);
  }

  /**
   * The outputs for one set of inputs, as lazy tensors. The node list is interpreted for the shapes that are fed; inside
   * of `compile` that happens once for each combination of shapes.
   *
   * @param feeds a tensor for every input, by name
   * @param training how BatchNormalization and Dropout behave in training; absent: inference
   * @param observe which tensors the file's nodes became
   */
  call(
    feeds: Readonly<Record<string, Tensor>>,
    training?: TrainingMode,
    observe?: ImportObserver,
  ): Record<string, Tensor> {
    const { graph, opsets } = this.#model;
    const scope = new Scope([...this.#initializers, ...checkFeeds(this.inputs, feeds)]);
    this.#run(graph.nodes, outputNames(graph), scope, { opsets, attributes: {}, training, observe });
    return Object.fromEntries(graph.outputs.map(o => [o.name, asOutput(scope.get(o.name), o)]));
  }

  #run(nodes: readonly OnnxNode[], wanted: readonly string[], scope: Scope, context: Context): void {
    for (const node of liveNodes(nodes, wanted)) {
      const opset = context.opsets[node.domain] ?? 1;
      try {
        const outputs = this.#evaluate(bind(node, context.attributes), opset, scope, context);
        node.outputs.forEach((name, i) => {
          if (name !== '' && outputs[i]) scope.set(name, outputs[i]);
        });
        context.observe?.(
          node,
          node.outputs.map((_, i) => (outputs[i] instanceof HostConstant ? undefined : outputs[i])),
        );
      } catch (error) {
        throw error instanceof GossamerError && !(error instanceof NodeError)
          ? new NodeError(node, opset, error)
          : error;
      }
    }
  }

  #evaluate(node: OnnxNode, opset: number, scope: Scope, context: Context): readonly (Value | undefined)[] {
    const inputs = node.inputs.map(name => (name === '' ? undefined : scope.get(name)));
    const called = calledFunction(this.#functions, node);
    if (called) return this.#callFunction(called, node, inputs, context);
    const call = new Call(node, opset, inputs, context.training);
    if (node.opType === 'If' && node.domain === '') return this.#choose(call, scope, context);
    const result = findImport(node.domain, node.opType)!(call);
    const [unread] = call.unread();
    if (unread !== undefined) call.fail(`attribute ${unread} is not supported`);
    return isList(result) ? result : [result];
  }

  #callFunction(
    called: OnnxFunction,
    node: OnnxNode,
    inputs: readonly (Value | undefined)[],
    { opsets, training }: Context,
  ): readonly Value[] {
    const scope = new Scope(called.inputs.flatMap((name, i) => (inputs[i] ? [[name, inputs[i]] as const] : [])));
    const attributes = { ...called.defaults, ...node.attributes };
    this.#run(called.nodes, called.outputs, scope, { opsets: { ...opsets, ...called.opsets }, attributes, training });
    return called.outputs.map(name => scope.get(name));
  }

  /** `If`: the branch that is taken becomes part of the graph. */
  #choose(call: Call, scope: Scope, context: Context): readonly Value[] {
    const [condition] = call.constant(0, 'condition').values;
    const name = condition ? 'then_branch' : 'else_branch';
    const branch = call.node.attributes[name];
    if (branch?.type !== 'graph') call.fail(`attribute ${name} is missing`);
    const inner = new Scope(constantsOf(branch.value.initializers), scope);
    const names = outputNames(branch.value);
    this.#run(branch.value.nodes, names, inner, { ...context, observe: undefined });
    return names.map(n => inner.get(n));
  }
}

const isList = (x: ReturnType<Import>): x is readonly (Value | undefined)[] => Array.isArray(x);

/** An error with the node in which it arose in front. */
class NodeError extends GossamerError {
  constructor(node: OnnxNode, opset: number, cause: GossamerError) {
    super(`importing ${describeNode(node)} (operator set ${opset}): ${cause.message}`, { cause });
  }
}

/** Values by name; those of an inner graph hide the outer ones. */
class Scope {
  readonly #values: Map<string, Value>;
  readonly #outer: Scope | undefined;

  constructor(values: Iterable<readonly [string, Value]>, outer?: Scope) {
    this.#values = new Map(values);
    this.#outer = outer;
  }

  get(name: string): Value {
    return this.find(name) ?? unknownValue(name);
  }

  set(name: string, value: Value): void {
    this.#values.set(name, value);
  }

  find(name: string): Value | undefined {
    return this.#values.get(name) ?? this.#outer?.find(name);
  }
}

function unknownValue(name: string): never {
  throw new GossamerError(
    `the value '${name}' is not there: its type is not supported, or its operator does not give it`,
  );
}

const constantsOf = (initializers: ReadonlyMap<string, OnnxTensor>): [string, Value][] =>
  [...initializers].flatMap(([name, tensor]) =>
    tensor instanceof OpaqueTensor ? [] : [[name, HostConstant.fromArray(tensor)]],
  );

/** The node with references to attributes of the calling node replaced by what that gives. */
function bind(node: OnnxNode, given: Readonly<Record<string, OnnxAttribute>>): OnnxNode {
  const entries = Object.entries(node.attributes);
  if (!entries.some(([, a]) => a.type === 'reference')) return node;
  const bound = entries.flatMap(([name, a]): [string, OnnxAttribute][] => {
    if (a.type !== 'reference') return [[name, a]];
    return Object.hasOwn(given, a.value) ? [[name, given[a.value]]] : [];
  });
  return { ...node, attributes: Object.fromEntries(bound) };
}
