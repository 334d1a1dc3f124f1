import { describe, expect, it } from 'vitest';
import { gradients } from '../gradients.ts';
import { type Tensor, tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import {
  type AttentionOptions,
  causalMask,
  rotaryEmbedding,
  rotaryTables,
  scaledDotProductAttention,
} from './attention.ts';

const attention = scaledDotProductAttention;

/** Attention head by head in float64. `sees` and `bias` are asked for every (batch, head, query, key). */
async function naive(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  scale: number,
  score: (b: number, h: number, i: number, j: number) => number,
): Promise<number[]> {
  const [batch, heads, n, d] = q.shape;
  const [, shared, m] = k.shape;
  const width = v.shape[3];
  const [Q, K, V] = [await q.data(), await k.data(), await v.data()];
  const out: number[] = [];
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const kh = b * shared + Math.floor(h / (heads / shared));
      for (let i = 0; i < n; i++) {
        const weights = Array.from({ length: m }, (_, j) => {
          let s = 0;
          for (let c = 0; c < d; c++) s += Q[((b * heads + h) * n + i) * d + c] * K[(kh * m + j) * d + c];
          return Math.exp(s * scale + score(b, h, i, j));
        });
        const total = weights.reduce((a, w) => a + w, 0);
        for (let c = 0; c < width; c++) {
          const value = weights.reduce((a, w, j) => a + w * V[(kh * m + j) * width + c], 0);
          out.push(total === 0 ? 0 : value / total);
        }
      }
    }
  }
  return out;
}

async function compare(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions, score: Parameters<typeof naive>[4]) {
  const actual = await attention(q, k, v, options).data();
  const expected = await naive(q, k, v, options.scale ?? 1 / Math.sqrt(q.shape[3]), score);
  expect(actual.length).toBe(expected.length);
  expected.forEach((e, i) => {
    expect(Math.abs(actual[i] - e)).toBeLessThan(1e-5);
  });
}

const q = randn([2, 4, 3, 6], 'q');
const k = randn([2, 4, 5, 6], 'k');
const v = randn([2, 4, 5, 7], 'v');

describe('scaledDotProductAttention', () => {
  it('equals the definition', async () => {
    await compare(q, k, v, {}, () => 0);
    await compare(q, k, v, { scale: 0.3 }, () => 0);
  });

  it('aligns the causal mask with the end', async () => {
    await compare(q, k, v, { causal: true }, (_b, _h, i, j) => (j <= i + 2 ? 0 : -Infinity));
    await compare(k, q, randn([2, 4, 3, 7], 1), { causal: true }, (_b, _h, i, j) => (j <= i - 2 ? 0 : -Infinity));
  });

  it('takes bool and additive masks, and gives 0 where nothing is seen', async () => {
    const seen = Uint8Array.from({ length: 15 }, (_, e) => Number(e >= 10 || (e < 5 && e % 2 === 0)));
    const mask = tensor(seen, [3, 5], 'bool');
    await compare(q, k, v, { mask }, (_b, _h, i, j) => (seen[i * 5 + j] ? 0 : -Infinity));
    await compare(q, k, v, { mask, causal: true }, (_b, _h, i, j) => (seen[i * 5 + j] && j <= i + 2 ? 0 : -Infinity));
    const added = Float32Array.from({ length: 30 }, (_, e) => (e < 5 || e % 4 === 0 ? -Infinity : Math.sin(e)));
    const bias = tensor(added, [2, 1, 3, 5]);
    await compare(q, k, v, { mask: bias }, (b, _h, i, j) => added[(b * 3 + i) * 5 + j]);
    await compare(q, k, v, { mask: bias, causal: true }, (b, _h, i, j) =>
      j <= i + 2 ? added[(b * 3 + i) * 5 + j] : -Infinity,
    );
    const padding = tensor(Uint8Array.of(1, 1, 1, 0, 0, 1, 0, 0, 0, 0), [2, 1, 1, 5], 'bool');
    await compare(q, k, v, { mask: padding }, (b, _h, _i, j) => (j < (b === 0 ? 3 : 1) ? 0 : -Infinity));
  });

  it('shares key heads between groups of query heads', async () => {
    const [k2, v2] = [randn([2, 2, 5, 6], 'k2'), randn([2, 2, 5, 7], 'v2')];
    await compare(q, k2, v2, { causal: true }, (_b, _h, i, j) => (j <= i + 2 ? 0 : -Infinity));
    await checkGradients((a, b, c) => attention(a, b, c, { causal: true }), [q, k2, v2], { samples: 6 });
  });

  it('has right gradients, the mask included', async () => {
    const bias = randn([3, 5], 'bias');
    await checkGradients((a, b, c, mask) => attention(a, b, c, { mask }), [q, k, v, bias], { samples: 6 });
  });

  it('gives zero, not NaN, gradients to a query that sees nothing', async () => {
    const mask = tensor(Uint8Array.of(0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), [3, 5], 'bool');
    await checkGradients((a, b, c) => attention(a, b, c, { mask }), [q, k, v], { samples: 6 });
    const [dq] = gradients(attention(q, k, v, { mask }).square().sum(), [q]);
    expect((await dq.slice(2, 0, 1).data()).every(x => x === 0)).toBe(true);
  });

  it('works without a head axis and lets the weights be changed', async () => {
    const [a, b, c] = [randn([3, 4], 1), randn([5, 4], 2), randn([5, 4], 3)];
    const plain = a.matmul(b.transpose()).div(2).softmax();
    expect(await attention(a, b, c).tolist()).toEqual(await plain.matmul(c).tolist());
    const seen: Tensor[] = [];
    const y = attention(a, b, c, {
      weights: p => {
        seen.push(p);
        return p.mul(2);
      },
    });
    expect(await y.sum().item()).toBeCloseTo(2 * (await attention(a, b, c).sum().item()), 4);
    expect(seen[0].shape).toEqual([3, 5]);
  });

  it('names what does not fit', () => {
    expect(() => attention(q, randn([2, 4, 5, 5]), v)).toThrow(
      'attention: q [2, 4, 3, 6], k [2, 4, 5, 5], v [2, 4, 5, 7]: the widths of q and k differ',
    );
    expect(() => attention(q, k, randn([2, 4, 4, 7]))).toThrow('k and v differ in the number of keys');
    expect(() => attention(q, randn([2, 3, 5, 6]), randn([2, 3, 5, 7]))).toThrow(
      '4 query heads cannot share 3 key heads',
    );
    expect(() => attention(q, k, v, { mask: randn([7, 1, 1, 3, 5]) })).toThrow(
      'the mask [7, 1, 1, 3, 5] does not broadcast',
    );
  });
});

describe('causalMask', () => {
  it('shows the past', async () => {
    expect(await causalMask(3).tolist()).toEqual([
      [1, 0, 0],
      [1, 1, 0],
      [1, 1, 1],
    ]);
    expect(await causalMask(2, 4).tolist()).toEqual([
      [1, 1, 1, 0],
      [1, 1, 1, 1],
    ]);
    expect(await causalMask(2, 3, -1).tolist()).toEqual([
      [0, 0, 0],
      [1, 0, 0],
    ]);
  });
});

describe('rotaryEmbedding', () => {
  const [positions, width] = [4, 6];
  const x = randn([2, 3, positions, width], 'x');

  it.each([false, true])('rotates pairs by the angle of the position (interleaved: %s)', async interleaved => {
    const [cos, sin] = rotaryTables(positions, width, { start: 5, base: 100 });
    const actual = await rotaryEmbedding(x, cos, sin, { interleaved }).data();
    const data = await x.data();
    for (let row = 0; row < 6 * positions; row++) {
      for (let i = 0; i < width / 2; i++) {
        const angle = (5 + (row % positions)) * 100 ** ((-2 * i) / width);
        const [p, r] = interleaved ? [2 * i, 2 * i + 1] : [i, i + width / 2];
        const [a, b] = [data[row * width + p], data[row * width + r]];
        expect(actual[row * width + p]).toBeCloseTo(a * Math.cos(angle) - b * Math.sin(angle), 5);
        expect(actual[row * width + r]).toBeCloseTo(b * Math.cos(angle) + a * Math.sin(angle), 5);
      }
    }
    await checkGradients((a, c, s) => rotaryEmbedding(a, c, s, { interleaved }), [x, cos, sin], { samples: 6 });
  });

  it('makes scores depend on the distance alone', async () => {
    const [a, b] = [randn([1, width], 1), randn([1, width], 2)];
    const score = (i: number, j: number) => {
      const at = (t: Tensor, start: number) => rotaryEmbedding(t, ...rotaryTables(1, width, { start }));
      return at(a, i).mul(at(b, j)).sum().item();
    };
    expect(await score(9, 4)).toBeCloseTo(await score(25, 20), 4);
  });

  it('refuses tables that do not fit', () => {
    const [cos, sin] = rotaryTables(3, width);
    expect(() => rotaryEmbedding(x, cos, sin)).toThrow(/do(es)? not (fit|broadcast)/);
    expect(() => rotaryTables(3, 5)).toThrow('rotaryTables: width 5 is odd');
  });
});
