import { check, concat, formatShape, Parameter, Random, stack, type Tensor, zeros } from '@gossamer/tensor';
import { Dropout } from './dropout.ts';
import { fanUniform } from './init.ts';
import { Module } from './module.ts';
import { gru, lstm, steps } from './recurrence.ts';

export interface RecurrentOptions {
  /** Layers stacked on each other; default 1. */
  readonly layers?: number;
  /** Also runs backwards over time and joins both outputs; default false. */
  readonly bidirectional?: boolean;
  /** Inputs and outputs are [batch, time, features] instead of [time, batch, features]; default false. */
  readonly batchFirst?: boolean;
  readonly bias?: boolean;
  /** Dropout between layers; default 0. */
  readonly dropout?: number;
  readonly random?: Random;
}

interface Weights {
  readonly input: Tensor;
  readonly hidden: Tensor;
  readonly inputBias: Tensor;
  readonly hiddenBias: Tensor;
}

/**
 * What LSTM and GRU share: layers, directions, and PyTorch's parameters `weight_ih_l0` [gates·hidden, in], `weight_hh_l0`
 * [gates·hidden, hidden], `bias_ih_l0`, `bias_hh_l0`, for layer 1 `…_l1`, backwards `…_l0_reverse`.
 */
abstract class Recurrent<State extends readonly Tensor[]> extends Module {
  readonly inputSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly bidirectional: boolean;
  readonly batchFirst: boolean;
  readonly dropout: Dropout | undefined;
  [parameter: `weight${string}` | `bias${string}`]: Parameter | undefined;

  constructor(inputSize: number, hiddenSize: number, gates: number, options: RecurrentOptions) {
    super();
    const { layers = 1, bidirectional = false, batchFirst = false, bias = true, dropout = 0 } = options;
    const random = options.random ?? new Random(0);
    check(
      [inputSize, hiddenSize, layers].every(n => Number.isInteger(n) && n > 0),
      () =>
        `${this.constructor.name}: ${inputSize} inputs, ${hiddenSize} units, ${layers} layers: expected positive integers`,
    );
    this.inputSize = inputSize;
    this.hiddenSize = hiddenSize;
    this.layers = layers;
    this.bidirectional = bidirectional;
    this.batchFirst = batchFirst;
    this.dropout = dropout > 0 ? new Dropout(dropout, { random: random.fork('dropout') }) : undefined;
    const draw = (name: string, shape: readonly number[]) =>
      new Parameter(fanUniform(random.fork(name), shape, hiddenSize));
    const rows = gates * hiddenSize;
    for (const suffix of this.#suffixes().flat()) {
      const inputs = suffix.startsWith('L0') ? inputSize : hiddenSize * this.directions;
      this[`weightIh${suffix}`] = draw(`weightIh${suffix}`, [rows, inputs]);
      this[`weightHh${suffix}`] = draw(`weightHh${suffix}`, [rows, hiddenSize]);
      if (!bias) continue;
      this[`biasIh${suffix}`] = draw(`biasIh${suffix}`, [rows]);
      this[`biasHh${suffix}`] = draw(`biasHh${suffix}`, [rows]);
    }
  }

  get directions(): number {
    return this.bidirectional ? 2 : 1;
  }

  /** Field suffixes of each layer's directions. */
  #suffixes(): string[][] {
    return Array.from({ length: this.layers }, (_, k) => (this.bidirectional ? [`L${k}`, `L${k}Reverse`] : [`L${k}`]));
  }

  /** One layer in one direction: all outputs [time, batch, hidden], and the last state. */
  protected abstract layer(x: Tensor, w: Weights, state: State): { output: Tensor; last: State };

  /** Runs all layers. `states[i]` is [layers · directions, batch, hidden], layer by layer. */
  protected run(x: Tensor, states: State | undefined, kinds: number): { output: Tensor; states: State } {
    const name = this.constructor.name;
    check(
      x.rank === 3 && x.shape[2] === this.inputSize,
      () =>
        `${name}: input ${formatShape(x.shape)}: expected [${this.batchFirst ? 'batch, time' : 'time, batch'}, ${this.inputSize}]`,
    );
    let h = this.batchFirst ? x.transpose([1, 0, 2]) : x;
    const batch = h.shape[1];
    const expected = [this.layers * this.directions, batch, this.hiddenSize];
    for (const s of states ?? []) {
      check(
        formatShape(s.shape) === formatShape(expected),
        () =>
          `${name}: state ${formatShape(s.shape)}: expected [layers · directions, batch, hidden] = ${formatShape(expected)}`,
      );
    }
    const initial = states?.map(steps);
    const last: State[] = [];
    this.#suffixes().forEach((directions, k) => {
      if (k > 0 && this.dropout) h = this.dropout.forward(h);
      const outputs = directions.map((suffix, d) => {
        const first = Array.from(
          { length: kinds },
          (_, i) => initial?.[i][last.length] ?? zeros([batch, this.hiddenSize]),
        ) as unknown as State;
        const { output, last: state } = this.layer(d === 1 ? h.flip(0) : h, this.#weights(suffix), first);
        last.push(state);
        return d === 1 ? output.flip(0) : output;
      });
      h = concat(outputs, 2);
    });
    return {
      output: this.batchFirst ? h.transpose([1, 0, 2]) : h,
      states: Array.from({ length: kinds }, (_, i) => stack(last.map(s => s[i]))) as unknown as State,
    };
  }

  #weights(suffix: string): Weights {
    const input = this[`weightIh${suffix}`]!;
    const none = zeros([input.shape[0]]);
    return {
      input,
      hidden: this[`weightHh${suffix}`]!,
      inputBias: this[`biasIh${suffix}`] ?? none,
      hiddenBias: this[`biasHh${suffix}`] ?? none,
    };
  }
}

/** The last step of [time, …]. */
const end = (x: Tensor): Tensor => x.slice(0, -1).squeeze(0);

/**
 * Long short-term memory (Hochreiter & Schmidhuber 1997, with forget gates), gates in PyTorch's order i, f, g, o:
 * i, f, o = σ(…), g = tanh(…), c ← f·c + i·g, h ← o·tanh(c).
 */
export class LSTM extends Recurrent<readonly [h: Tensor, c: Tensor]> {
  constructor(inputSize: number, hiddenSize: number, options: RecurrentOptions = {}) {
    super(inputSize, hiddenSize, 4, options);
  }

  /**
   * @param x [time, batch, input] (or batch first)
   * @param state h and c, each [layers · directions, batch, hidden]; default zeros
   * @returns the output [time, batch, directions · hidden] and the last states
   */
  override forward(x: Tensor, state?: readonly [h: Tensor, c: Tensor]): [Tensor, readonly [h: Tensor, c: Tensor]] {
    const { output, states } = this.run(x, state, 2);
    return [output, states];
  }

  protected override layer(x: Tensor, w: Weights, [h, c]: readonly [Tensor, Tensor]) {
    const [output, last] = lstm(x, w.input, w.hidden, w.inputBias.add(w.hiddenBias), h, c);
    return { output, last: [end(output), last] as const };
  }
}

/**
 * Gated recurrent unit (Cho et al. 2014), gates in PyTorch's order r, z, n:
 * r, z = σ(…), n = tanh(W x + b + r·(U h + b')), h ← (1 − z)·n + z·h.
 */
export class GRU extends Recurrent<readonly [h: Tensor]> {
  constructor(inputSize: number, hiddenSize: number, options: RecurrentOptions = {}) {
    super(inputSize, hiddenSize, 3, options);
  }

  /**
   * @param x [time, batch, input] (or batch first)
   * @param state [layers · directions, batch, hidden]; default zeros
   * @returns the output [time, batch, directions · hidden] and the last state
   */
  override forward(x: Tensor, state?: Tensor): [Tensor, Tensor] {
    const { output, states } = this.run(x, state && [state], 1);
    return [output, states[0]];
  }

  protected override layer(x: Tensor, w: Weights, [h]: readonly [Tensor]) {
    const output = gru(x, w.input, w.hidden, w.inputBias, w.hiddenBias, h);
    return { output, last: [end(output)] as const };
  }
}
