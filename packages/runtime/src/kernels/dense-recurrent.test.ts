import { expect, it } from 'vitest';
import { gruCell, gruReset, lstmCell } from './dense-recurrent.ts';
import { bench } from './testing.ts';

const wave = (length: number, phase: number) => Float32Array.from({ length }, (_, i) => Math.sin(1.3 * i + phase) * 2);
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

function expectClose(actual: Float32Array, expected: number[]): void {
  for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 5);
}

for (const threads of [1, 3]) {
  for (const hidden of [1, 4, 7, 37]) {
    it(`cells of ${hidden} units, ${threads} threads`, async () => {
      const e = await bench('relaxed', threads);
      const batch = 2;
      const each = (f: (b: number, j: number, at: number) => number) =>
        Array.from({ length: batch * hidden }, (_, at) => f(Math.floor(at / hidden), at % hidden, at));
      const before = wave(batch * hidden, 1);

      const gates = wave(4 * batch * hidden, 2);
      const gate = (k: number) => (b: number, j: number) => gates[(b * 4 + k) * hidden + j];
      for (const peep of [undefined, wave(3 * hidden, 3)]) {
        const [cell, h] = [e.put(before), e.floats(batch * hidden)];
        lstmCell(e, { gates: e.put(gates), cell, h, peepholes: peep && e.put(peep), batch, hidden });
        const p = (k: number, j: number) => peep?.[k * hidden + j] ?? 0;
        const c = each((b, j, at) => {
          const forget = sigmoid(gate(2)(b, j) + p(2, j) * before[at]);
          return forget * before[at] + sigmoid(gate(0)(b, j) + p(0, j) * before[at]) * Math.tanh(gate(3)(b, j));
        });
        expectClose(e.view(cell, c.length), c);
        expectClose(
          e.view(h, c.length),
          each((b, j, at) => sigmoid(gate(1)(b, j) + p(1, j) * c[at]) * Math.tanh(c[at])),
        );
      }

      const [x, r, product] = [wave(3 * batch * hidden, 4), wave(3 * batch * hidden, 5), wave(batch * hidden, 6)];
      const sum = (k: number, b: number, j: number) => x[(b * 3 + k) * hidden + j] + r[(b * 3 + k) * hidden + j];
      const common = { x: e.put(x), h: e.put(r), batch, hidden };
      for (const candidate of [undefined, product]) {
        const state = e.put(before);
        gruCell(e, { ...common, before: state, y: state, candidate: candidate && e.put(candidate) });
        const expected = each((b, j, at) => {
          const third = (b * 3 + 2) * hidden + j;
          const fresh = Math.tanh(x[third] + (candidate?.[at] ?? sigmoid(sum(1, b, j)) * r[third]));
          return (1 - sigmoid(sum(0, b, j))) * fresh + sigmoid(sum(0, b, j)) * before[at];
        });
        expectClose(e.view(state, expected.length), expected);
      }
      const y = e.floats(batch * hidden);
      gruReset(e, { ...common, before: e.put(before), y });
      expectClose(
        e.view(y, batch * hidden),
        each((b, j, at) => sigmoid(sum(1, b, j)) * before[at]),
      );
    });
  }
}
