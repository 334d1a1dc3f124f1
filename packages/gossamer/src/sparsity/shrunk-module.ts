import {
  check,
  GossamerError,
  type Node,
  type Outputs,
  type Parameter,
  Tensor,
  type Traced,
  traceGraph,
} from '@gossamer/tensor';
import { Module } from '../nn/module.ts';
import { sliceGraph } from './graph-slices.ts';
import { followRemoved } from './removal.ts';

/** What is left of one parameter of a model. */
export interface SlicedParameter {
  readonly name: string;
  readonly original: Parameter;
  readonly small: Parameter;
  /** Along each axis, 1 at the positions that are gone; undefined: none are. */
  readonly removed: readonly (Uint8Array | undefined)[];
}

/**
 * A module without some of its channels; made by {@link shrink}. It builds the graph of the module that it was made
 * from, in the same mode, and keeps of every tensor what belongs to the channels left. So it trains as that one does
 * (batch statistics and dropout included), traces, exports and can be shrunk again. Parameters have their old names.
 */
export class ShrunkModule extends Module {
  readonly #base: Module;
  readonly #parameters: ReadonlyMap<Parameter, SlicedParameter>;
  readonly #biases: ReadonlyMap<Parameter, Parameter>;
  readonly #biasNames: readonly (readonly [string, Parameter])[];

  /**
   * @param base is called for its graph; its own parameters are neither used nor changed
   * @param biases of layers that had none, by the parameter of `base` that is the layer's weight
   */
  constructor(base: Module, parameters: readonly SlicedParameter[], biases: ReadonlyMap<Parameter, Parameter>) {
    super();
    this.#base = base;
    this.#parameters = new Map(parameters.map(p => [p.original, p]));
    this.#biases = biases;
    this.#biasNames = [...biases.values()].map(bias => [bias.name, bias]);
    this.training = base.training;
  }

  override forward(...inputs: Tensor[]): Outputs {
    check(
      inputs.every(x => x instanceof Tensor),
      'shrink: the model takes other arguments than tensors, so its graph cannot be rebuilt',
    );
    const { traced, result } = this.#trace(inputs);
    const sliceOf = (node: Node) => {
      const parameter = traced.parameters.get(node);
      return parameter && this.#parameters.get(parameter);
    };
    const followed = followRemoved(traced, (node, axis) => sliceOf(node)?.removed[axis]);
    const given = new Map(traced.inputs.map((node, i) => [node, inputs[i]]));
    const slices = sliceGraph(traced, followed, {
      leaf: node => given.get(node) ?? sliceOf(node)?.small.current(),
      bias: weight => this.#biases.get(traced.parameters.get(weight)!)?.current(),
    });
    for (const [parameter, node] of traced.assigned) {
      const own = this.#parameters.get(parameter);
      if (!own) throw new GossamerError(`shrink: ${parameter} is assigned, but is no parameter of the model`);
      own.small.assign(slices.tensor(node));
    }
    const sliced = (t: Tensor): Tensor => slices.tensor(t.node);
    if (result instanceof Tensor) return sliced(result);
    if (Array.isArray(result)) return (result as Tensor[]).map(sliced);
    return Object.fromEntries(Object.entries(result).map(([name, t]) => [name, sliced(t)]));
  }

  /** The graph of the module that this one was made from, in this one's mode. */
  #trace(inputs: readonly Tensor[]): { traced: Traced; result: Outputs } {
    const modes = [...this.#base.namedModules()].map(([, m]) => [m, m.training] as const);
    this.#base.train(this.training);
    try {
      let result: Outputs | undefined;
      const call = (...xs: Tensor[]) => {
        result = this.#base.forward(...xs) as Outputs;
        return result;
      };
      const traced = traceGraph(call, inputs, { caller: 'shrink', effects: true });
      return { traced, result: result! };
    } finally {
      for (const [m, training] of modes) m.training = training;
    }
  }

  /** The parameters under the names that they had, and what draws random numbers. */
  override *members(): Generator<[string, unknown]> {
    for (const { name, small } of this.#parameters.values()) yield [name, small];
    for (const [name, bias] of this.#biasNames) yield [name, bias];
    yield* this.#base.namedGenerators();
    yield* super.members();
  }
}
