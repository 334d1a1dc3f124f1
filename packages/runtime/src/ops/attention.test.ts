import { describe, expect, it } from 'vitest';
import { distance, f32, i64, numbers, random, run, value } from '../../test/operators.ts';
import type { Attribute } from '../load/graph.ts';
import type { Value } from '../values.ts';

const [B, H, S, T, D] = [2, 4, 3, 5, 2];
const get = (v: Value, ...index: number[]) => Number(v.data[index.reduce((flat, i, d) => flat * v.dims[d] + i, 0)]);

/** Attention by its definition; `bias` is added to scores, −∞ forbids. */
function reference(
  q: Value,
  k: Value,
  v: Value,
  bias: (n: number, h: number, i: number, j: number) => number,
  cap = 0,
): number[] {
  const share = q.dims[1] / k.dims[1];
  const out: number[] = [];
  for (let n = 0; n < q.dims[0]; n++)
    for (let h = 0; h < q.dims[1]; h++)
      for (let i = 0; i < q.dims[2]; i++) {
        const g = Math.floor(h / share);
        const scores = Array.from({ length: k.dims[2] }, (_, j) => {
          let sum = 0;
          for (let e = 0; e < D; e++) sum += get(q, n, h, i, e) * get(k, n, g, j, e);
          sum /= Math.sqrt(D);
          return (cap ? cap * Math.tanh(sum / cap) : sum) + bias(n, h, i, j);
        });
        const weights = scores.map(Math.exp);
        const total = weights.reduce((a, b) => a + b);
        for (let e = 0; e < v.dims[3]; e++)
          out.push(total === 0 ? 0 : weights.reduce((sum, w, j) => sum + w * get(v, n, g, j, e), 0) / total);
      }
  return out;
}

const q = random([B, H, S, D], 1);
const k = random([B, 2, T, D], 2);
const v = random([B, 2, T, 3], 3);
const attend = (rest: (Value | undefined)[], attributes: Record<string, Attribute> = {}, outputs = 1) =>
  run('Attention', [q, k, v, ...rest], { attributes, version: 23, outputs });

describe('Attention', () => {
  it('shares keys between groups of heads', () => {
    expect(
      distance(
        numbers(attend([])),
        reference(q, k, v, () => 0),
      ),
    ).toBeLessThan(1e-6);
  });

  it.each([[[S, T]], [[1, T]], [[H, S, T]], [[B, 1, S, T]]])('adds a mask [%j]', dims => {
    const mask = random(dims, 4);
    const full = { ...mask, dims: [1, 1, 1, 1].slice(dims.length).concat(dims) };
    const bias = (...at: number[]) => get(full, ...at.map((i, d) => (full.dims[d] === 1 ? 0 : i)));
    expect(distance(numbers(attend([mask])), reference(q, k, v, bias))).toBeLessThan(1e-6);
  });

  it('forbids where a mask is false; a query that may see nothing gives zero', () => {
    const allowed = value('bool', [S, T], [1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0]);
    const bias = (_: number, __: number, i: number, j: number) => (get(allowed, i, j) ? 0 : -Infinity);
    const y = numbers(attend([allowed]));
    expect(distance(y, reference(q, k, v, bias))).toBeLessThan(1e-6);
    expect(y.slice(3, 6)).toEqual([0, 0, 0]);
  });

  it('caps scores before the mask, and shows each stage', () => {
    const mask = value('bool', [1, T], [1, 1, 0, 1, 1]);
    const bias = (_: number, __: number, ___: number, j: number) => (j === 2 ? -Infinity : 0);
    const outputs = [0, 1, 2, 3].map(mode => attend([mask], { softcap: 0.1, qk_matmul_output_mode: mode }, 4));
    expect(distance(numbers(outputs[0]), reference(q, k, v, bias, 0.1))).toBeLessThan(1e-6);
    const [raw, capped, masked, weights] = outputs.map(each => numbers([each[3]]));
    expect(
      distance(
        capped,
        raw.map(s => 0.1 * Math.tanh(s / 0.1)),
      ),
    ).toBeLessThan(1e-6);
    expect(masked.every((s, i) => (i % T === 2 ? s === -Infinity : s === capped[i]))).toBe(true);
    expect(weights.slice(0, T).reduce((a, b) => a + b)).toBeCloseTo(1, 5);
  });

  it('continues a cache: step by step equals all at once', () => {
    const [keys, values] = [random([B, 2, S, D], 5), random([B, 2, S, 3], 6)];
    const whole = numbers(run('Attention', [q, keys, values], { attributes: { is_causal: 1 }, version: 23 }));
    const causal = (_: number, __: number, i: number, j: number) => (j <= i ? 0 : -Infinity);
    expect(distance(whole, reference(q, keys, values, causal))).toBeLessThan(1e-6);
    const rows = (x: Value, from: number, to: number): Value => {
      const [n, h, s, e] = x.dims;
      const data = Array.from({ length: n * h }, (_, b) =>
        Array.from(x.data as Float32Array).slice((b * s + from) * e, (b * s + to) * e),
      );
      return f32([n, h, to - from, e], data.flat());
    };
    let cache: (Value | undefined)[] = [undefined, undefined];
    const steps = Array.from({ length: S }, (_, t) => {
      const inputs = [q, keys, values].map(x => rows(x, t, t + 1));
      const [y, ...present] = run('Attention', [...inputs, undefined, ...cache], {
        attributes: { is_causal: 1 },
        version: 23,
        outputs: 3,
      });
      cache = present;
      return y;
    });
    const woven = Array.from({ length: B * H }, (_, b) =>
      steps.flatMap(y => numbers([y]).slice(b * 3, b * 3 + 3)),
    ).flat();
    expect(distance(woven, whole)).toBeLessThan(1e-6);
    expect(numbers([cache[0]!])).toEqual(numbers([keys]));
  });

  it('sees a window to either side of its own place', () => {
    const [keys, values] = [random([B, 2, S, D], 5), random([B, 2, S, 3], 6)];
    const attributes = { left_window_size: 1, right_window_size: 0 };
    const near = (_: number, __: number, i: number, j: number) => (j <= i && j >= i - 1 ? 0 : -Infinity);
    const y = numbers(run('Attention', [q, keys, values], { attributes, version: 25 }));
    expect(distance(y, reference(q, keys, values, near))).toBeLessThan(1e-6);
  });

  it('reads heads side by side', () => {
    const flat = (x: Value): Value => {
      const [n, h, s, e] = x.dims;
      const data: number[] = [];
      for (let b = 0; b < n; b++)
        for (let t = 0; t < s; t++)
          for (let i = 0; i < h; i++) for (let c = 0; c < e; c++) data.push(get(x, b, i, t, c));
      return f32([n, s, h * e], data);
    };
    const [y] = run('Attention', [flat(q), flat(k), flat(v)], {
      attributes: { q_num_heads: H, kv_num_heads: 2 },
      version: 23,
    });
    const [expected] = attend([]);
    expect(numbers([y])).toEqual(numbers([flat(expected)]));
  });

  it('refuses heads that do not divide', () => {
    expect(() => run('Attention', [q, random([B, 3, T, D], 1), v], { version: 23 })).toThrow(/4 heads.*3/);
  });
});

describe('RotaryEmbedding', () => {
  const angles = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7];
  const [cos, sin] = [Math.cos, Math.sin].map(f => f32([4, 2], angles.map(f)));

  it.each([0, 1])('turns pairs by the angle of their position (interleaved %i)', interleaved => {
    const x = random([1, 1, 2, 5], 1);
    const y = numbers(
      run('RotaryEmbedding', [x, cos, sin, i64([1, 2], [3, 1])], {
        version: 23,
        attributes: { interleaved, rotary_embedding_dim: 4 },
      }),
    );
    [3, 1].forEach((position, s) => {
      for (let i = 0; i < 2; i++) {
        const [a, b] = interleaved ? [2 * i, 2 * i + 1] : [i, i + 2];
        const t = angles[2 * position + i];
        const [p, r] = [get(x, 0, 0, s, a), get(x, 0, 0, s, b)];
        expect(y[5 * s + a]).toBeCloseTo(p * Math.cos(t) - r * Math.sin(t), 6);
        expect(y[5 * s + b]).toBeCloseTo(p * Math.sin(t) + r * Math.cos(t), 6);
      }
      expect(y[5 * s + 4]).toBe(get(x, 0, 0, s, 4));
    });
  });

  it('without positions has an angle for each token, and needs to know the heads of a flat input', () => {
    const x = random([1, 4, 8], 2);
    const cache = (v: Value): Value => ({ ...v, dims: [1, 4, 2] });
    const y = run('RotaryEmbedding', [x, cache(cos), cache(sin)], { version: 23, attributes: { num_heads: 2 } });
    const positions = i64([1, 4], [0, 1, 2, 3]);
    expect(numbers(y)).toEqual(
      numbers(run('RotaryEmbedding', [x, cos, sin, positions], { version: 23, attributes: { num_heads: 2 } })),
    );
    expect(() => run('RotaryEmbedding', [x, cos, sin, positions], { version: 23 })).toThrow(/num_heads/);
  });
});
