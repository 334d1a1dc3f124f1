import { check, formatShape, type NDArray, Parameter, type Tensor } from '@gossamer/tensor';
import type { Projection } from './projection.ts';

/** What an update rule sees of one parameter in one step. */
export interface Update {
  readonly value: Tensor;
  readonly grad: Tensor;
  /** The parameter's state, in the order of {@link Rule.state}. */
  readonly state: readonly Tensor[];
  /** Learning rate, a scalar tensor: it changes without a new graph. */
  readonly rate: Tensor;
  readonly weightDecay: number;
  /** Number of this step, a scalar tensor that starts at 1. */
  readonly count: Tensor;
}

/** An algorithm: what it remembers of each parameter, and one step as an equation on tensors. */
export interface Rule {
  /** Names of the state tensors, each shaped like the parameter and zero at first. */
  readonly state: readonly string[];
  update(step: Update): { readonly value: Tensor; readonly state: readonly Tensor[] };
}

/** Parameters with settings of their own; what is absent comes from the optimiser's options. */
export interface Group {
  readonly parameters: readonly Parameter[];
  /** Factor on the learning rate; default 1. */
  readonly lrScale?: number;
  readonly weightDecay?: number;
  readonly projection?: Projection;
}

export interface OptimizerOptions {
  readonly learningRate?: number;
  /** Default 0 (AdamW, LAMB: 0.01). */
  readonly weightDecay?: number;
  /** Whether weight decay also acts on biases and the scales of norms (rank ≤ 1); default true. A group's own decay always acts. */
  readonly decayVectors?: boolean;
  /** Applied to every parameter after its step: w ← P(w). Default none. */
  readonly projection?: Projection;
}

interface Slot {
  readonly parameter: Parameter;
  readonly state: readonly Parameter[];
  readonly lrScale: number;
  readonly weightDecay: number;
  readonly projection: Projection | undefined;
}

const scalar = (value: number): Parameter =>
  new Parameter({ dtype: 'float32', shape: [], data: Float32Array.of(value) }, { trainable: false });

/**
 * Turns gradients into new parameter values by a {@link Rule}. `step` only builds tensors and assigns them: call it in a
 * compiled function, where a whole training step becomes one graph, or eagerly and realise the parameters afterwards.
 *
 * ```ts
 * const optimizer = new SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9 });
 * const train = compile((x: Tensor, y: Tensor) => {
 *   const loss = crossEntropy(model.forward(x), y);
 *   optimizer.step(gradients(loss, optimizer.parameters));
 *   return loss;
 * });
 * ```
 */
export class Optimizer {
  readonly parameters: readonly Parameter[];
  /** Scalar that every step reads; see {@link setLearningRate}. */
  readonly learningRate: Parameter;
  /** The learning rate given at first: what the factors of a schedule multiply. */
  readonly initialLearningRate: number;
  /** Scalar that counts the steps taken. */
  readonly count: Parameter;
  readonly #rule: Rule;
  readonly #slots: readonly Slot[];

  /**
   * @param parameters a list, or groups with settings of their own
   * @throws if a parameter comes twice or is not float32
   */
  constructor(parameters: readonly Parameter[] | readonly Group[], rule: Rule, options: OptimizerOptions) {
    const { learningRate = 1e-3, weightDecay = 0, decayVectors = true, projection } = options;
    check(
      learningRate >= 0 && weightDecay >= 0,
      () => `optimiser: learning rate ${learningRate}, weight decay ${weightDecay}: expected numbers ≥ 0`,
    );
    this.#rule = rule;
    this.#slots = asGroups(parameters).flatMap(group =>
      group.parameters.map(parameter => ({
        parameter,
        state: rule.state.map(name => zerosLike(parameter, name)),
        lrScale: group.lrScale ?? 1,
        weightDecay: group.weightDecay ?? (decayVectors || parameter.rank > 1 ? weightDecay : 0),
        projection: group.projection ?? projection,
      })),
    );
    this.parameters = this.#slots.map(s => s.parameter);
    check(this.parameters.length > 0, 'optimiser: no parameters given');
    check(new Set(this.parameters).size === this.parameters.length, 'optimiser: a parameter is given twice');
    this.initialLearningRate = learningRate;
    this.learningRate = scalar(learningRate);
    this.count = scalar(0);
  }

  /** Assigns each parameter its next value. `grads[i]` belongs to `parameters[i]`. */
  step(grads: readonly Tensor[]): void {
    check(
      grads.length === this.#slots.length,
      () => `optimiser: ${grads.length} gradients for ${this.#slots.length} parameters`,
    );
    const count = this.count.add(1);
    this.#slots.forEach(({ parameter, state, lrScale, weightDecay, projection }, i) => {
      const grad = grads[i];
      check(
        formatShape(grad.shape) === formatShape(parameter.shape),
        () => `optimiser: gradient ${i} is ${formatShape(grad.shape)}, ${parameter} expected`,
      );
      const rate = lrScale === 1 ? this.learningRate : this.learningRate.mul(lrScale);
      const next = this.#rule.update({ value: parameter, grad, state, rate, weightDecay, count });
      for (const [k, s] of state.entries()) s.assign(next.state[k]);
      parameter.assign(projection ? projection(next.value, { parameter, rate }) : next.value);
    });
    this.count.assign(count);
  }

  /** Changes the learning rate from the next step on; compiled steps stay valid. */
  setLearningRate(value: number): void {
    this.learningRate.set(Float32Array.of(value));
  }

  /** What the rule remembers of a parameter (momentum, …), each of its shape: masks of sparse training act here too. */
  stateOf(parameter: Parameter): readonly Parameter[] {
    const slot = this.#slots.find(s => s.parameter === parameter);
    check(slot, () => `optimiser: ${parameter} is none of its parameters`);
    return slot.state;
  }

  /**
   * All state by name: `step`, `learning_rate`, and `<parameter>.<state>`, e.g. `fc.weight.exp_avg`. A parameter without
   * a name of its own goes by its position.
   */
  stateDict(): Map<string, Parameter> {
    const names = this.parameters.map(p => p.name);
    const dict = new Map([
      ['step', this.count],
      ['learning_rate', this.learningRate],
    ]);
    this.#slots.forEach(({ state }, i) => {
      const own = names[i] !== '' && names.indexOf(names[i]) === i && names.lastIndexOf(names[i]) === i;
      for (const [k, name] of this.#rule.state.entries()) dict.set(`${own ? names[i] : i}.${name}`, state[k]);
    });
    return dict;
  }

  /** Restores what {@link stateDict} held; the run continues with the same bits. All entries must be there and fit. */
  loadStateDict(state: Iterable<readonly [string, NDArray]> | Readonly<Record<string, NDArray>>): this {
    loadState('optimiser', this.stateDict(), state);
    return this;
  }
}

/** Sets every parameter of `own` to the entry of its name. */
export function loadState(
  what: string,
  own: ReadonlyMap<string, Parameter>,
  state: Iterable<readonly [string, NDArray]> | Readonly<Record<string, NDArray>>,
): void {
  const entries = new Map(Symbol.iterator in state ? state : Object.entries(state));
  for (const [name, p] of own) {
    const value = entries.get(name);
    check(value, () => `${what}: the saved state has no ${name}; was it saved by another kind or for another model?`);
    check(
      formatShape(value.shape) === formatShape(p.shape) && value.dtype === p.dtype,
      () =>
        `${what}: saved ${name} is ${value.dtype}${formatShape(value.shape)}, expected ${p.dtype}${formatShape(p.shape)}`,
    );
  }
  for (const name of entries.keys()) check(own.has(name), () => `${what}: the saved state's ${name} has no place here`);
  for (const [name, p] of own) p.set(entries.get(name)!.data.slice());
}

function zerosLike(p: Parameter, name: string): Parameter {
  check(p.dtype === 'float32', () => `optimiser: ${p} is not float32`);
  return new Parameter(
    { dtype: 'float32', shape: p.shape, data: new Float32Array(p.size) },
    { name: `${p.name}.${name}`, trainable: false },
  );
}

const asGroups = (list: readonly Parameter[] | readonly Group[]): readonly Group[] =>
  list.length > 0 && list[0] instanceof Parameter
    ? [{ parameters: list as readonly Parameter[] }]
    : (list as readonly Group[]);
