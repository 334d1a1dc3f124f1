import type { Tensor } from '@gossamer/tensor';
import { checkGradients, randn } from '@gossamer/tensor/testing';
import { describe, expect, it } from 'vitest';
import { gru, lstm, steps } from './recurrence.ts';
import { expectNear } from './testing.ts';

const [time, batch, width, hidden] = [4, 2, 3, 2];
const inputs = (gates: number) => [
  randn([time, batch, width], 1),
  randn([gates * hidden, width], 2),
  randn([gates * hidden, hidden], 3),
  randn([gates * hidden], 4),
];
const state = () => randn([batch, hidden], 5);

describe('lstm', () => {
  const all = [...inputs(4), state(), randn([batch, hidden], 6)] as const;

  it('is its recursion', async () => {
    const [x, w, u, b, h0, c0] = all;
    let [h, c] = [h0, c0];
    const outputs: number[] = [];
    for (const xt of steps(x)) {
      const gates = xt.matmul(w.transpose()).add(h.matmul(u.transpose())).add(b);
      const [i, f, g, o] = gates.split(4, 1);
      c = f.sigmoid().mul(c).add(i.sigmoid().mul(g.tanh()));
      h = o.sigmoid().mul(c.tanh());
      outputs.push(...(await h.data()));
    }
    const [y, last] = lstm(x, w, u, b, h0, c0);
    await expectNear(y, outputs, 1e-6);
    await expectNear(last, [...(await c.data())], 1e-6);
  });

  it('has exact first and second gradients by all inputs', () =>
    checkGradients((...xs) => lstm(...(xs as unknown as Parameters<typeof lstm>)), all, { samples: 6 }));

  it('passes the gradient of the last cell alone', () =>
    checkGradients((x, c0) => lstm(x, all[1], all[2], all[3], all[4], c0)[1], [all[0], all[5]], { second: false }));
});

describe('gru', () => {
  const all = [...inputs(3), randn([3 * hidden], 7), state()] as const;

  it('is its recursion', async () => {
    const [x, w, u, b, hb, h0] = all;
    let h: Tensor = h0;
    const outputs: number[] = [];
    for (const xt of steps(x)) {
      const [xr, xz, xn] = xt.matmul(w.transpose()).add(b).split(3, 1);
      const [hr, hz, hn] = h.matmul(u.transpose()).add(hb).split(3, 1);
      const [r, z] = [xr.add(hr).sigmoid(), xz.add(hz).sigmoid()];
      const n = xn.add(r.mul(hn)).tanh();
      h = z.neg().add(1).mul(n).add(z.mul(h));
      outputs.push(...(await h.data()));
    }
    await expectNear(gru(x, w, u, b, hb, h0), outputs, 1e-6);
  });

  it('has exact first and second gradients by all inputs', () =>
    checkGradients((...xs) => gru(...(xs as unknown as Parameters<typeof gru>)), all, { samples: 6 }));
});

it('refuses shapes that do not fit', () => {
  const [x, w, u, b] = inputs(4);
  expect(() => lstm(x, w, u, b, state(), randn([3, hidden]))).toThrow('lstm: inputs [4, 2, 3], [8, 3]');
  expect(() => gru(x, w, u, b, b, state())).toThrow('gru: inputs');
});
