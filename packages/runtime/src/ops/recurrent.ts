/** Recurrent layers: RNN, GRU and LSTM share the unrolling and differ in one step. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import { dot, type Floats, floats, need, pack, product, sigmoid, transposed, workspace } from './numeric.ts';
import { fail, type Inputs, number, numbers, type Operator, type Operators, text, texts } from './operator.ts';
import { softplus } from './scalar.ts';

type Activation = (x: number) => number;

/** Activations by lower-case name: which of alpha and beta they take, their defaults, and the function. */
const ACTIVATIONS: Record<
  string,
  readonly [defaults: readonly (number | undefined)[], make: (a: number, b: number) => Activation]
> = {
  relu: [[], () => x => Math.max(x, 0)],
  tanh: [[], () => Math.tanh],
  sigmoid: [[], () => sigmoid],
  softsign: [[], () => x => x / (1 + Math.abs(x))],
  softplus: [[], () => softplus],
  affine: [[1, 0], (a, b) => x => a * x + b],
  leakyrelu: [[0.01], a => x => (x >= 0 ? x : a * x)],
  thresholdedrelu: [[1], a => x => (x >= a ? x : 0)],
  scaledtanh: [[1, 1], (a, b) => x => a * Math.tanh(b * x)],
  hardsigmoid: [[0.2, 0.5], (a, b) => x => Math.min(Math.max(a * x + b, 0), 1)],
  elu: [[1], a => x => (x >= 0 ? x : a * Math.expm1(x))],
};

/**
 * An activation by name. Alphas and betas are taken from the front of the lists, by activations that have one; what is
 * missing has ONNX's default.
 */
export function activation(node: Node, name: string, alphas: number[], betas: number[]): Activation {
  const entry = ACTIVATIONS[name.toLowerCase()] ?? fail(node, `activation '${name}' is not one of ONNX's`);
  const [[alpha, beta], make] = entry;
  return make(alpha === undefined ? 0 : (alphas.shift() ?? alpha), beta === undefined ? 0 : (betas.shift() ?? beta));
}

/** The node's activations, as many as `defaults` for each direction. */
function activations(node: Node, defaults: readonly string[], directions: number): Activation[] {
  const every = Array.from({ length: directions }, () => defaults).flat();
  const given = texts(node, 'activations');
  // One direction's functions may stand for both.
  const names = given?.length ? every.map((_, i) => given[i % given.length]) : every;
  const alphas = [...(numbers(node, 'activation_alpha') ?? [])];
  const betas = [...(numbers(node, 'activation_beta') ?? [])];
  const clip = number(node, 'clip');
  return names.map((name, i) => {
    const f = activation(node, name, alphas, betas);
    // Gates are clipped; the cell state that enters the third function is not, as in ONNX Runtime.
    return clip === undefined || i % defaults.length === 2 ? f : x => f(Math.min(Math.max(x, -clip), clip));
  });
}

/** One direction's weights: `r` [gates · hidden, hidden] and what else a step needs, all at offsets of the whole. */
interface Direction {
  readonly f: readonly Activation[];
  readonly hidden: number;
  readonly r: Floats;
  readonly rAt: number;
  /** Recurrent bias and peepholes of this direction; zeros when absent. */
  readonly bias: Floats;
  readonly peepholes: Floats;
}

/** Advances `h` (and `c`) by one element, given the input's share of the gates at `x[at …]`. */
type Step = (x: Floats, at: number, h: Floats, c: Floats) => void;

interface Kind {
  readonly gates: number;
  readonly activations: readonly string[];
  step(node: Node, direction: Direction): Step;
  /** Whether the recurrent bias of gate `g` stays out of the input's share. */
  keepsBias?(node: Node, gate: number): boolean;
}

function geometry(node: Node, inputs: Inputs<Info>) {
  const x = need(node, inputs, 0).dims;
  const w = need(node, inputs, 1).dims;
  const r = need(node, inputs, 2).dims;
  const batchFirst = number(node, 'layout', 0) === 1;
  const [batch, length] = batchFirst ? x : [x[1], x[0]];
  const [directions, , hidden] = r;
  const expected = text(node, 'direction', 'forward') === 'bidirectional' ? 2 : 1;
  if (x.length !== 3 || w.length !== 3 || r.length !== 3 || w[2] !== x[2] || w[1] !== r[1] || directions !== expected)
    fail(node, `input [${x}], W [${w}] and R [${r}] do not fit with ${expected} direction(s)`);
  return {
    batchFirst,
    batch,
    length,
    directions,
    hidden,
    all: batchFirst ? [batch, length, directions, hidden] : [length, directions, batch, hidden],
    last: batchFirst ? [batch, directions, hidden] : [directions, batch, hidden],
  };
}

function unroll(kind: Kind, node: Node, inputs: Inputs): Value[] {
  const x = need(node, inputs, 0);
  const { batchFirst, batch, length, directions, hidden, all, last } = geometry(node, inputs);
  const { type } = x;
  const [xs, w, r] = [0, 1, 2].map(i => floats(need(node, inputs, i)));
  const [b, lengths, h0, c0, p] = [3, 4, 5, 6, 7].map(i => inputs[i] && floats(inputs[i]));
  const width = kind.gates * hidden;
  const features = x.dims[2];
  const functions = activations(node, kind.activations, directions);
  const y = workspace(type, sizeOf(all));
  const ends = [workspace(type, sizeOf(last)), workspace(type, sizeOf(last))];
  const [h, c] = [workspace(type, hidden), workspace(type, hidden)];
  const share = workspace(type, batch * length * width);
  for (let d = 0; d < directions; d++) {
    const at = 2 * d * width;
    const inputBias = workspace(type, width);
    if (b)
      for (let j = 0; j < width; j++)
        inputBias[j] = b[at + j] + (kind.keepsBias?.(node, Math.floor(j / hidden)) ? 0 : b[at + width + j]);
    const step = kind.step(node, {
      f: functions.slice(d * kind.activations.length),
      hidden,
      r,
      rAt: d * width * hidden,
      bias: b ? b.subarray(at + width, at + 2 * width) : workspace(type, width),
      peepholes: p ? p.subarray(3 * d * hidden, 3 * (d + 1) * hidden) : workspace(type, 3 * hidden),
    });
    for (let row = 0; row < batch * length; row++) share.set(inputBias, row * width);
    const turned = transposed(width, features, w.subarray(d * width * features, (d + 1) * width * features));
    product(batch * length, width, features, xs, 0, turned, 0, share, 0);
    const backwards = d === 1 || text(node, 'direction', 'forward') === 'reverse';
    for (let n = 0; n < batch; n++) {
      const state = (batchFirst ? n * directions + d : d * batch + n) * hidden;
      if (h0) h.set(h0.subarray(state, state + hidden));
      else h.fill(0);
      if (c0) c.set(c0.subarray(state, state + hidden));
      else c.fill(0);
      const count = lengths ? Math.min(lengths[n], length) : length;
      for (let s = 0; s < count; s++) {
        const t = backwards ? count - 1 - s : s;
        step(share, (batchFirst ? n * length + t : t * batch + n) * width, h, c);
        y.set(h, (batchFirst ? (n * length + t) * directions + d : (t * directions + d) * batch + n) * hidden);
      }
      ends[0].set(h, state);
      ends[1].set(c, state);
    }
  }
  return [pack(type, all, y), pack(type, last, ends[0]), pack(type, last, ends[1])].slice(0, node.outputs.length);
}

const recurrent = (kind: Kind, more: readonly string[]): Operator => ({
  attributes: [
    'activations',
    'activation_alpha',
    'activation_beta',
    'clip',
    'direction',
    'hidden_size',
    'output_sequence',
    'layout',
    ...more,
  ],
  infer(node, inputs) {
    const { type } = need(node, inputs, 0);
    const { all, last } = geometry(node, inputs);
    return [all, last, last].map(dims => ({ type, dims })).slice(0, node.outputs.length);
  },
  run: (node, inputs) => unroll(kind, node, inputs),
});

export const operators: Operators = {
  RNN: recurrent(
    {
      gates: 1,
      activations: ['Tanh'],
      step(_, { f, hidden, r, rAt }) {
        const next = new Float64Array(hidden);
        return (x, at, h) => {
          for (let j = 0; j < hidden; j++) next[j] = f[0](x[at + j] + dot(hidden, r, rAt + j * hidden, h, 0));
          h.set(next);
        };
      },
    },
    [],
  ),
  // Gates z, r, h.
  GRU: recurrent(
    {
      gates: 3,
      activations: ['Sigmoid', 'Tanh'],
      keepsBias: (node, gate) => gate === 2 && number(node, 'linear_before_reset', 0) !== 0,
      step(node, { f, hidden, r, rAt, bias }) {
        const linear = number(node, 'linear_before_reset', 0) !== 0;
        const update = new Float64Array(hidden);
        const reset = new Float64Array(hidden);
        const gate = (g: number, j: number, state: Floats) => dot(hidden, r, rAt + (g * hidden + j) * hidden, state, 0);
        return (x, at, h) => {
          for (let j = 0; j < hidden; j++) {
            update[j] = f[0](x[at + j] + gate(0, j, h));
            reset[j] = f[0](x[at + hidden + j] + gate(1, j, h));
            if (!linear) reset[j] *= h[j];
          }
          // With linear_before_reset the reset gate scales the product, otherwise the state that enters it.
          for (let j = 0; j < hidden; j++) {
            const recurrence = linear ? reset[j] * (gate(2, j, h) + bias[2 * hidden + j]) : gate(2, j, reset);
            const candidate = f[1](x[at + 2 * hidden + j] + recurrence);
            update[j] = (1 - update[j]) * candidate + update[j] * h[j];
          }
          h.set(update);
        };
      },
    },
    ['linear_before_reset'],
  ),
  // Gates i, o, f, c; peepholes i, o, f.
  LSTM: recurrent(
    {
      gates: 4,
      activations: ['Sigmoid', 'Tanh', 'Tanh'],
      step(node, { f, hidden, r, rAt, peepholes: p }) {
        const coupled = number(node, 'input_forget', 0) !== 0;
        const next = new Float64Array(hidden);
        return (x, at, h, c) => {
          for (let j = 0; j < hidden; j++) {
            const gate = (g: number) => x[at + g * hidden + j] + dot(hidden, r, rAt + (g * hidden + j) * hidden, h, 0);
            const input = f[0](gate(0) + p[j] * c[j]);
            const forget = coupled ? 1 - input : f[0](gate(2) + p[2 * hidden + j] * c[j]);
            c[j] = forget * c[j] + input * f[1](gate(3));
            next[j] = f[0](gate(1) + p[hidden + j] * c[j]) * f[2](c[j]);
          }
          h.set(next);
        };
      },
    },
    ['input_forget'],
  ),
};
