import { describe, expect, it } from 'vitest';
import { distance, f32, numbers, random, run, value } from '../../test/operators.ts';
import type { Attribute } from '../load/graph.ts';
import type { Value } from '../values.ts';

const [T, N, I, H] = [4, 2, 3, 2];
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const list = (x: Value | undefined) => (x ? Array.from(x.data as Float32Array) : undefined);

/** One direction by the equations of the specification; gate g of unit j from input and state. */
function reference(
  op: string,
  x: Value,
  w: Value,
  r: Value,
  b: Value,
  options: { linear?: boolean; peepholes?: Value; lengths?: number[]; reverse?: boolean },
) {
  const [xs, ws, rs, bs, ps] = [x, w, r, b, options.peepholes].map(list) as number[][];
  const gates = { RNN: 1, GRU: 3, LSTM: 4 }[op]!;
  const y = new Array(T * N * H).fill(0);
  const last = new Array(N * H).fill(0);
  for (let n = 0; n < N; n++) {
    let [h, c] = [new Array(H).fill(0), new Array(H).fill(0)];
    const count = options.lengths?.[n] ?? T;
    for (let s = 0; s < count; s++) {
      const t = options.reverse ? count - 1 - s : s;
      const input = (g: number, j: number) => {
        let sum = bs[g * H + j];
        for (let i = 0; i < I; i++) sum += ws[(g * H + j) * I + i] * xs[(t * N + n) * I + i];
        return sum;
      };
      const state = (g: number, j: number, from: number[]) =>
        from.reduce((sum, v, i) => sum + rs[(g * H + j) * H + i] * v, 0);
      const own = (g: number, j: number) => bs[(gates + g) * H + j];
      const units = Array.from({ length: H }, (_, j) => j);
      if (op === 'RNN') h = units.map(j => Math.tanh(input(0, j) + state(0, j, h) + own(0, j)));
      else if (op === 'GRU') {
        const z = units.map(j => sigmoid(input(0, j) + state(0, j, h) + own(0, j)));
        const reset = units.map(j => sigmoid(input(1, j) + state(1, j, h) + own(1, j)));
        const candidate = units.map(j =>
          Math.tanh(
            input(2, j) +
              (options.linear
                ? reset[j] * (state(2, j, h) + own(2, j))
                : state(
                    2,
                    j,
                    h.map((v, i) => v * reset[i]),
                  ) + own(2, j)),
          ),
        );
        h = units.map(j => (1 - z[j]) * candidate[j] + z[j] * h[j]);
      } else {
        const gate = (g: number, j: number) => input(g, j) + state(g, j, h) + own(g, j);
        const p = (g: number, j: number) => (ps ? ps[g * H + j] : 0);
        const next = units.map(
          j =>
            sigmoid(gate(2, j) + p(2, j) * c[j]) * c[j] + sigmoid(gate(0, j) + p(0, j) * c[j]) * Math.tanh(gate(3, j)),
        );
        h = units.map(j => sigmoid(gate(1, j) + p(1, j) * next[j]) * Math.tanh(next[j]));
        c = next;
      }
      for (let j = 0; j < H; j++) y[(t * N + n) * H + j] = h[j];
    }
    for (let j = 0; j < H; j++) last[n * H + j] = h[j];
  }
  return { y, last };
}

const weights = (op: string, directions: number, seed: number) => {
  const gates = { RNN: 1, GRU: 3, LSTM: 4 }[op]!;
  return [
    random([directions, gates * H, I], seed),
    random([directions, gates * H, H], seed + 1),
    random([directions, 2 * gates * H], seed + 2),
  ];
};
const half = (v: Value, d: number): Value => ({
  ...v,
  dims: [1, ...v.dims.slice(1)],
  data: (v.data as Float32Array).slice((d * v.data.length) / 2, ((d + 1) * v.data.length) / 2),
});

describe.each(['RNN', 'GRU', 'LSTM'])('%s', op => {
  const x = random([T, N, I], 9);
  const outputs = op === 'LSTM' ? 3 : 2;

  it('follows its equations, forward and in reverse, with lengths of its own for each batch', () => {
    const [w, r, b] = weights(op, 1, 20);
    for (const direction of ['forward', 'reverse']) {
      const [y, last] = run(op, [x, w, r, b, value('int32', [N], [4, 2])], {
        attributes: { direction, hidden_size: H },
        outputs,
      });
      const expected = reference(op, x, w, r, b, { lengths: [4, 2], reverse: direction === 'reverse' });
      expect(distance(numbers([y]), expected.y)).toBeLessThan(1e-5);
      expect(distance(numbers([last]), expected.last)).toBeLessThan(1e-5);
    }
  });

  it('runs both directions side by side, in either layout', () => {
    const [w, r, b] = weights(op, 2, 30);
    const attributes = { direction: 'bidirectional', hidden_size: H };
    const [y, last] = run(op, [x, w, r, b], { attributes, outputs });
    const each = [0, 1].map(d => reference(op, x, half(w, d), half(r, d), half(b, d), { reverse: d === 1 }));
    expect(y.dims).toEqual([T, 2, N, H]);
    const block = N * H;
    const woven = Array.from(
      { length: T * 2 * block },
      (_, i) => each[Math.floor(i / block) % 2].y[Math.floor(i / (2 * block)) * block + (i % block)],
    );
    expect(distance(numbers([y]), woven)).toBeLessThan(1e-5);
    expect(distance(numbers([last]), [...each[0].last, ...each[1].last])).toBeLessThan(1e-5);
    const swapped = f32(
      [N, T, I],
      Array.from({ length: T * N * I }, (_, i) => {
        const [n, t, e] = [Math.floor(i / (T * I)), Math.floor(i / I) % T, i % I];
        return Number(x.data[(t * N + n) * I + e]);
      }),
    );
    const [z, end] = run(op, [swapped, w, r, b], { attributes: { ...attributes, layout: 1 }, outputs });
    expect([z.dims, end.dims]).toEqual([
      [N, T, 2, H],
      [N, 2, H],
    ]);
    const first = (v: Value, at: number) => Number(v.data[at]);
    for (let t = 0; t < T; t++)
      for (let d = 0; d < 2; d++)
        for (let n = 0; n < N; n++)
          expect(first(z, ((n * T + t) * 2 + d) * H)).toBe(first(y, ((t * 2 + d) * N + n) * H));
  });

  it('continues from an initial state', () => {
    const [w, r, b] = weights(op, 1, 40);
    const part = (from: number, to: number) =>
      f32([to - from, N, I], (x.data as Float32Array).slice(from * N * I, to * N * I));
    const whole = run(op, [x, w, r, b], { outputs });
    const [, h, c] = run(op, [part(0, 2), w, r, b], { outputs });
    const [, last] = run(op, [part(2, T), w, r, b, undefined, h, ...(c ? [c] : [])], { outputs });
    expect(distance(numbers([last]), numbers([whole[1]]))).toBeLessThan(1e-6);
  });
});

describe('options', () => {
  const x = random([T, N, I], 50);

  it('GRU applies the reset gate after the product when it is linear', () => {
    const [w, r, b] = weights('GRU', 1, 60);
    const y = numbers(run('GRU', [x, w, r, b], { attributes: { linear_before_reset: 1 } }));
    expect(distance(y, reference('GRU', x, w, r, b, { linear: true }).y)).toBeLessThan(1e-5);
  });

  it('LSTM looks at its cell through peepholes', () => {
    const [w, r, b] = weights('LSTM', 1, 70);
    const peepholes = random([1, 3 * H], 73);
    const y = numbers(run('LSTM', [x, w, r, b, undefined, undefined, undefined, peepholes]));
    expect(distance(y, reference('LSTM', x, w, r, b, { peepholes }).y)).toBeLessThan(1e-5);
  });

  it('activations take alphas and betas in order, and see clipped inputs', () => {
    const one = f32([1, 1, 1], [1]);
    const step = (input: number, attributes: Record<string, Attribute>) =>
      numbers(run('RNN', [f32([1, 1, 1], [input]), one, one], { attributes }))[0];
    expect(step(3, { activations: ['Affine'], activation_alpha: [2], activation_beta: [1] })).toBe(7);
    expect(step(3, { activations: ['Affine'], activation_alpha: [2], activation_beta: [1], clip: 0.5 })).toBe(2);
    expect(step(-1, { activations: ['LeakyRelu'], activation_alpha: [0.25] })).toBe(-0.25);
    expect(step(0.5, { activations: ['ThresholdedRelu'] })).toBe(0);
    expect(step(-4, { activations: ['HardSigmoid'] })).toBe(0);
    expect(() => step(1, { activations: ['Sine'] })).toThrow(/'Sine'/);
    const both = f32([2, 1, 1], [1]);
    const pair = run('RNN', [f32([1, 1, 1], [-2]), both, both], {
      attributes: { direction: 'bidirectional', activations: ['relu', 'leakyrelu'], activation_alpha: [0.5] },
    });
    expect(numbers(pair)).toEqual([0, -1]);
  });
});
