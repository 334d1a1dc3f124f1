/** RNN, GRU and LSTM, unrolled over time. */
import { check } from '../../errors.ts';
import { formatShape } from '../../operator.ts';
import { zeros } from '../../ops/constant.ts';
import { where } from '../../ops/elementwise.ts';
import { linear } from '../../ops/matmul.ts';
import { stack } from '../../ops/movement.ts';
import type { Tensor } from '../../tensor.ts';
import type { Call, Import } from './call.ts';

type Activation = (x: Tensor) => Tensor;

const activations: Record<string, (alpha: number | undefined, beta: number | undefined) => Activation> = {
  relu: () => x => x.relu(),
  tanh: () => x => x.tanh(),
  sigmoid: () => x => x.sigmoid(),
  softsign: () => x => x.div(x.abs().add(1)),
  softplus: () => x => x.softplus(),
  affine:
    (alpha = 1, beta = 0) =>
    x =>
      x.mul(alpha).add(beta),
  leakyrelu:
    (alpha = 0.01) =>
    x =>
      x.leakyRelu(alpha),
  thresholdedrelu:
    (alpha = 1) =>
    x =>
      where(x.gt(alpha), x, 0),
  scaledtanh:
    (alpha = 1, beta = 1) =>
    x =>
      x.mul(beta).tanh().mul(alpha),
  hardsigmoid:
    (alpha = 0.2, beta = 0.5) =>
    x =>
      x.mul(alpha).add(beta).clamp(0, 1),
  elu:
    (alpha = 1) =>
    x =>
      x.elu(alpha),
};
/** Activations that take numbers from activation_alpha and activation_beta, in order of use. */
const takesAlpha = ['affine', 'leakyrelu', 'thresholdedrelu', 'scaledtanh', 'hardsigmoid', 'elu'];
const takesBeta = ['affine', 'scaledtanh', 'hardsigmoid'];

/** What happens between two time steps, for one direction. State: h, and c for LSTM, each [batch, hidden]. */
type Step = (gates: Tensor, state: readonly Tensor[]) => Tensor[];

interface Direction {
  readonly hidden: number;
  /** Recurrence weights [gates · hidden, hidden]. */
  readonly recurrence: Tensor;
  /** Recurrence bias [gates · hidden]. */
  readonly recurrenceBias: Tensor | undefined;
  readonly peepholes: Tensor | undefined;
  readonly activations: readonly Activation[];
  readonly clip: (x: Tensor) => Tensor;
}

interface Cell {
  readonly gates: number;
  readonly defaults: readonly string[];
  /** Whether there is a second state, c. */
  readonly hasCell: boolean;
  step(call: Call, direction: Direction): Step;
}

const columns = (x: Tensor, hidden: number): Tensor[] => x.split(x.shape.at(-1)! / hidden, -1);

const rnn: Cell = {
  gates: 1,
  defaults: ['Tanh'],
  hasCell: false,
  step:
    (_, { recurrence, recurrenceBias, activations: [f], clip }) =>
    (x, [h]) => [f(clip(x.add(linear(h, recurrence, recurrenceBias))))],
};

/** Gates in the order update z, reset r, hidden h. */
const gru: Cell = {
  gates: 3,
  defaults: ['Sigmoid', 'Tanh'],
  hasCell: false,
  step: (call, { hidden, recurrence, recurrenceBias, activations: [f, g], clip }) => {
    const resetLast = call.flag('linear_before_reset');
    const gateRows = recurrence.slice(0, 0, 2 * hidden);
    const hiddenRows = recurrence.slice(0, 2 * hidden);
    const gateBias = recurrenceBias?.slice(0, 0, 2 * hidden);
    const hiddenBias = recurrenceBias?.slice(0, 2 * hidden);
    return (x, [h]) => {
      const [xz, xr, xh] = columns(x, hidden);
      const [hz, hr] = columns(linear(h, gateRows, gateBias), hidden);
      const z = f(clip(xz.add(hz)));
      const r = f(clip(xr.add(hr)));
      const recurrent = resetLast ? r.mul(linear(h, hiddenRows, hiddenBias)) : linear(r.mul(h), hiddenRows, hiddenBias);
      const candidate = g(clip(xh.add(recurrent)));
      return [candidate.add(z.mul(h.sub(candidate)))];
    };
  },
};

/** Gates in the order input i, output o, forget f, cell c; peepholes i, o, f. */
const lstm: Cell = {
  gates: 4,
  defaults: ['Sigmoid', 'Tanh', 'Tanh'],
  hasCell: true,
  step: (call, { hidden, recurrence, recurrenceBias, peepholes, activations: [f, g, h], clip }) => {
    const coupled = call.flag('input_forget');
    const [pi, po, pf] = peepholes ? columns(peepholes, hidden) : [];
    const peep = (x: Tensor, p: Tensor | undefined, c: Tensor) => (p ? x.add(c.mul(p)) : x);
    return (x, [state, cell]) => {
      const [xi, xo, xf, xc] = columns(x.add(linear(state, recurrence, recurrenceBias)), hidden);
      const input = f(clip(peep(xi, pi, cell)));
      const forget = coupled ? input.neg().add(1) : f(clip(peep(xf, pf, cell)));
      const next = forget.mul(cell).add(input.mul(g(clip(xc))));
      const output = f(clip(peep(xo, po, next)));
      return [output.mul(h(next)), next];
    };
  },
};

/** Activations of all directions, with their numbers. */
function readActivations(call: Call, cell: Cell, directions: number): Activation[][] {
  const names = call.stringList('activations') ?? Array.from({ length: directions }, () => cell.defaults).flat();
  if (names.length !== directions * cell.defaults.length) {
    call.fail(`activations [${names}]: expected ${cell.defaults.length} for each of ${directions} directions`);
  }
  const [alphas, betas] = [
    [...(call.floatList('activation_alpha') ?? [])],
    [...(call.floatList('activation_beta') ?? [])],
  ];
  const all = names.map(name => {
    const key = name.toLowerCase();
    const make = Object.hasOwn(activations, key) ? activations[key] : call.fail(`activation ${name} is not known`);
    return make(
      takesAlpha.includes(key) ? alphas.shift() : undefined,
      takesBeta.includes(key) ? betas.shift() : undefined,
    );
  });
  const n = cell.defaults.length;
  return Array.from({ length: directions }, (_, d) => all.slice(d * n, (d + 1) * n));
}

const recurrent =
  (cell: Cell): Import =>
  call => {
    const batchFirst = call.flag('layout');
    const given = call.tensor(0);
    if (given.rank !== 3) call.fail(`its input is ${formatShape(given.shape)}, expected three axes`);
    const swap = (t: Tensor) => (batchFirst ? t.transpose([1, 0, 2]) : t);
    const x = swap(given);
    const [length, batch, width] = x.shape;
    const direction = call.choice('direction', 'forward', 'reverse', 'bidirectional');
    const reversed = direction === 'bidirectional' ? [false, true] : [direction === 'reverse'];
    const [w, r, b] = [call.tensor(1), call.tensor(2), call.optional(3)];
    const hidden = call.int('hidden_size') ?? r.shape[2];
    const rows = cell.gates * hidden;
    const directions = reversed.length;
    const expectShape = (what: string, t: Tensor | undefined, shape: readonly number[]) =>
      check(
        !t || formatShape(t.shape) === formatShape(shape),
        () => `${what} is ${formatShape(t!.shape)}, expected ${formatShape(shape)}`,
      );
    expectShape('W', w, [directions, rows, width]);
    expectShape('R', r, [directions, rows, hidden]);
    expectShape('B', b, [directions, 2 * rows]);
    const p = cell.hasCell ? call.optional(7) : undefined;
    expectShape('P', p, [directions, 3 * hidden]);
    const limit = call.float('clip', Infinity);
    const functions = readActivations(call, cell, directions);
    const lengths = sequenceLengths(call, length);
    const initial = [5, ...(cell.hasCell ? [6] : [])].map(i => {
      const state = call.optional(i);
      return state && swap(state);
    });
    for (const state of initial) expectShape('an initial state', state, [directions, batch, hidden]);

    const runs = reversed.map((backwards, d) => {
      const of = (t: Tensor | undefined) => t?.slice(0, d, d + 1).squeeze(0);
      const bias = of(b);
      const step = cell.step(call, {
        hidden,
        recurrence: of(r)!,
        recurrenceBias: bias?.slice(0, rows),
        peepholes: of(p),
        activations: functions[d],
        clip: t => t.clamp(-limit, limit),
      });
      const gates = linear(x, of(w)!, bias?.slice(0, 0, rows));
      let state = initial.map(s => of(s) ?? zeros([batch, hidden]));
      const outputs = new Array<Tensor>(length);
      for (let k = 0; k < length; k++) {
        const t = backwards ? length - 1 - k : k;
        const next = step(gates.slice(0, t, t + 1).squeeze(0), state);
        // Past the end of a sequence its state stays, and its output is zero.
        const going = lengths?.gt(t).unsqueeze(1);
        state = going ? next.map((s, i) => where(going, s, state[i])) : next;
        outputs[t] = going ? where(going, next[0], 0) : next[0];
      }
      return { outputs, state };
    });
    const last = runs[0].state.map((_, i) => swap(stack(runs.map(run => run.state[i]))));
    if (length === 0 || !call.wants(0))
      return [length === 0 ? zeros([0, directions, batch, hidden]) : undefined, ...last];
    const y = stack(
      runs.map(run => stack(run.outputs)),
      1,
    );
    return [batchFirst ? y.transpose([2, 0, 1, 3]) : y, ...last];
  };

/** int32 lengths [batch], or undefined if all sequences are full. */
function sequenceLengths(call: Call, length: number): Tensor | undefined {
  if (call.known(4)?.values.every(n => n === length)) return undefined;
  return call.optional(4)?.cast('int32');
}

export const RNN = recurrent(rnn);
export const GRU = recurrent(gru);
export const LSTM = recurrent(lstm);
