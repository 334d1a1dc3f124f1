import { describe, expect, it } from 'vitest';
import { distance, f32, i64, numbers, type Options, random, run, value } from '../../test/operators.ts';
import type { Attribute } from '../load/graph.ts';
import type { Value } from '../values.ts';

const domain = 'com.microsoft';
const fused = (op: string, inputs: (Value | undefined)[], options: Options = {}) =>
  run(op, inputs, { ...options, domain, version: 1 });
const relu = (v: number) => Math.max(v, 0);
const plus = (a: Value, b: Value) => run('Add', [a, b])[0];

describe('fused layers equal their parts', () => {
  const x = random([2, 3, 4], 1);

  it.each([
    ['Gelu', [x], [], {}],
    ['BiasGelu', [x, random([4], 2)], [random([4], 2)], {}],
    ['FastGelu', [x, random([4], 2)], [random([4], 2)], { approximate: 'tanh' }],
  ])('%s', (op, inputs, [bias], attributes: Record<string, Attribute>) => {
    const expected = run('Gelu', [bias ? plus(x, bias) : x], { attributes });
    expect(distance(numbers(fused(op, inputs)), numbers(expected))).toBeLessThan(1e-6);
  });

  it('FusedConv', () => {
    const [image, w, b, z] = [
      random([1, 2, 4, 4], 1),
      random([3, 2, 3, 3], 2),
      random([3], 3),
      random([1, 3, 2, 2], 4),
    ];
    const plain = numbers([plus(run('Conv', [image, w, b])[0], z)]);
    const make = (activation: string, activation_params: number[] = []) =>
      numbers(fused('FusedConv', [image, w, b, z], { attributes: { activation, activation_params } }));
    expect(distance(make('Relu'), plain.map(relu))).toBeLessThan(1e-6);
    expect(
      distance(
        make('LeakyRelu', [0.5]),
        plain.map(v => (v < 0 ? v / 2 : v)),
      ),
    ).toBeLessThan(1e-6);
    expect(
      distance(
        make('Clip', [-0.5, 1]),
        plain.map(v => Math.min(Math.max(v, -0.5), 1)),
      ),
    ).toBeLessThan(1e-6);
  });

  it('FusedMatMul and FusedGemm', () => {
    const [a, b] = [random([2, 4, 3], 1), random([2, 5, 4], 2)];
    const turn = (v: Value) => run('Transpose', [v], { attributes: { perm: [0, 2, 1] } })[0];
    const y = fused('FusedMatMul', [a, b], { attributes: { transA: 1, transB: 1, alpha: 2 } });
    expect(
      distance(
        numbers(y),
        numbers(run('MatMul', [turn(a), turn(b)])).map(v => 2 * v),
      ),
    ).toBeLessThan(1e-5);
    const [p, q] = [random([3, 4], 3), random([4, 2], 4)];
    const z = fused('FusedGemm', [p, q], { attributes: { activation: 'Relu' } });
    expect(distance(numbers(z), numbers(run('Gemm', [p, q])).map(relu))).toBeLessThan(1e-6);
  });

  it('SkipLayerNormalization and its simplified sister', () => {
    const [skip, gain, shift, bias] = [random([1, 3, 4], 2), random([4], 3), random([4], 4), random([4], 5)];
    const sum = plus(plus(x, skip), bias);
    const attributes = { epsilon: 1e-3 };
    const [y, , , total] = fused('SkipLayerNormalization', [x, skip, gain, shift, bias], { attributes, outputs: 4 });
    expect(numbers([total])).toEqual(numbers([sum]));
    expect(distance(numbers([y]), numbers(run('LayerNormalization', [sum, gain, shift], { attributes })))).toBeLessThan(
      1e-6,
    );
    const z = fused('SkipSimplifiedLayerNormalization', [x, skip, gain, bias], { attributes });
    const rms = run('RMSNormalization', [sum, gain], { attributes, version: 23 });
    expect(distance(numbers(z), numbers(rms))).toBeLessThan(1e-6);
    expect(numbers(run('SimplifiedLayerNormalization', [sum, gain], { attributes }))).toEqual(numbers(rms));
  });

  it('EmbedLayerNormalization looks three tables up', () => {
    const tables = [random([5, 4], 1), random([3, 4], 2), random([2, 4], 3)];
    const ids = value('int32', [1, 3], [4, 0, 2]);
    const kinds = value('int32', [1, 3], [0, 1, 1]);
    const norm = [f32([4], [1]), f32([4], [0])];
    const mask = value('int32', [1, 3], [1, 1, 0]);
    const [y, lengths, sum] = fused('EmbedLayerNormalization', [ids, kinds, ...tables, ...norm, mask], { outputs: 3 });
    const parts = [ids, i64([1, 3], [0, 1, 2]), kinds].map((at, i) => run('Gather', [tables[i], at])[0]);
    expect(distance(numbers([sum]), numbers([parts.reduce(plus)]))).toBeLessThan(1e-6);
    expect(
      distance(numbers([y]), numbers(run('LayerNormalization', [sum, ...norm], { attributes: { epsilon: 1e-12 } }))),
    ).toBeLessThan(1e-5);
    expect(numbers([lengths])).toEqual([2]);
    expect(() =>
      fused('EmbedLayerNormalization', [
        value('int32', [1, 1], [5]),
        undefined,
        ...tables.slice(0, 2),
        undefined,
        ...norm,
      ]),
    ).toThrow(/index 5 is outside an embedding of 5 rows/);
  });
});

describe('attention', () => {
  const [q, k, v] = [random([2, 3, 8], 1), random([2, 5, 8], 2), random([2, 5, 8], 3)];
  const standard = (inputs: (Value | undefined)[], attributes = {}, heads = [2, 2]) =>
    numbers(
      run('Attention', inputs, {
        version: 23,
        attributes: { q_num_heads: heads[0], kv_num_heads: heads[1], ...attributes },
      }),
    );
  const multiHead = (inputs: (Value | undefined)[], attributes = {}) =>
    numbers(fused('MultiHeadAttention', inputs, { attributes: { num_heads: 2, ...attributes } }));

  it('MultiHeadAttention: biases, masks and causality', () => {
    expect(distance(multiHead([q, k, v]), standard([q, k, v]))).toBeLessThan(1e-6);
    const bias = random([24], 4);
    const parts = [0, 8, 16].map(at => f32([8], (bias.data as Float32Array).slice(at, at + 8)));
    const shifted = [q, k, v].map((x, i) => plus(x, parts[i]));
    expect(distance(multiHead([q, k, v, bias]), standard(shifted))).toBeLessThan(1e-6);
    const lengths = value('int32', [2], [5, 2]);
    const allowed = value('bool', [2, 1, 1, 5], [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]);
    const filter = { mask_filter_value: -1e9 };
    expect(distance(multiHead([q, k, v, undefined, lengths], filter), standard([q, k, v, allowed]))).toBeLessThan(1e-6);
    const same = [q, random([2, 3, 8], 5), random([2, 3, 8], 6)];
    expect(distance(multiHead(same, { unidirectional: 1 }), standard(same, { is_causal: 1 }))).toBeLessThan(1e-6);
  });

  it('MultiHeadAttention: packed operands', () => {
    const heads = (x: Value) => ({ ...x, dims: [2, 5, 2, 1, 4] });
    const same = random([2, 5, 8], 7);
    const [packed] = run('Concat', [same, k, v].map(heads), { attributes: { axis: 3 } });
    expect(distance(multiHead([packed]), standard([same, k, v]))).toBeLessThan(1e-6);
    const [pair] = run('Concat', [k, v].map(heads), { attributes: { axis: 3 } });
    expect(distance(multiHead([q, pair]), standard([q, k, v]))).toBeLessThan(1e-6);
  });

  it('Attention projects with one weight', () => {
    const [x, w, b] = [random([2, 3, 6], 1), random([6, 24], 2), random([24], 3)];
    const projected = plus(run('MatMul', [x, w])[0], b);
    const parts = run('Split', [projected, i64([3], [8, 8, 8])], { attributes: { axis: 2 }, outputs: 3 });
    const y = fused('Attention', [x, w, b], { attributes: { num_heads: 2, unidirectional: 1 } });
    expect(distance(numbers(y), standard(parts, { is_causal: 1 }))).toBeLessThan(1e-6);
  });

  it('GroupQueryAttention: a prompt, then tokens one by one with rotary positions', () => {
    const [S, size] = [4, 4];
    const [qs, ks, vs] = [random([1, S, 16], 1), random([1, S, 8], 2), random([1, S, 8], 3)];
    const [cos, sin] = [Math.cos, Math.sin].map(f =>
      f32(
        [S, 2],
        Array.from({ length: 2 * S }, (_, i) => f(i / 3)),
      ),
    );
    const turn = (x: Value, num_heads: number) =>
      run('RotaryEmbedding', [x, cos, sin, i64([1, S], [0, 1, 2, 3])], { version: 23, attributes: { num_heads } })[0];
    const expected = standard([turn(qs, 4), turn(ks, 2), vs], { is_causal: 1 }, [4, 2]);
    const attributes = { num_heads: 4, kv_num_heads: 2, do_rotary: 1 };
    const row = (x: Value, from: number, to: number) =>
      f32([1, to - from, x.dims[2]], (x.data as Float32Array).slice(from * x.dims[2], to * x.dims[2]));
    let cache: Value[] = [f32([1, 2, 0, size], []), f32([1, 2, 0, size], [])];
    const got: number[] = [];
    for (const [from, to] of [
      [0, 2],
      [2, 3],
      [3, 4],
    ]) {
      const inputs = [qs, ks, vs].map(x => row(x, from, to));
      const lengths = [value('int32', [1], [to - 1]), value('int32', [], [to])];
      const [y, ...present] = fused('GroupQueryAttention', [...inputs, ...cache, ...lengths, cos, sin], {
        attributes,
        outputs: 3,
      });
      cache = present;
      got.push(...numbers([y]));
    }
    expect(distance(got, expected)).toBeLessThan(1e-6);
    const local = fused(
      'GroupQueryAttention',
      [qs, ks, vs, undefined, undefined, value('int32', [1], [S - 1]), value('int32', [], [S])],
      {
        attributes: { num_heads: 4, kv_num_heads: 2, local_window_size: 1 },
      },
    );
    // Each token sees itself alone.
    expect(numbers(local).slice(0, 16)).toEqual(
      [0, 1].flatMap(h => [0, 1].flatMap(() => numbers([vs]).slice(4 * h, 4 * h + 4))),
    );
  });

  it('refuses what it does not have', () => {
    const sink = [undefined, undefined, undefined, undefined, random([4], 1)];
    const lengths = [value('int32', [1], [0]), value('int32', [], [1])];
    const one = [random([1, 1, 16], 1), random([1, 1, 8], 2), random([1, 1, 8], 3), undefined, undefined, ...lengths];
    expect(() =>
      fused('GroupQueryAttention', [...one, ...sink], { attributes: { num_heads: 4, kv_num_heads: 2 } }),
    ).toThrow(/head_sink/);
  });
});

describe('quantised operators', () => {
  const scale = (s: number) => f32([], [s]);
  const zero = (z: number) => value('uint8', [], [z]);
  const x = value('uint8', [1, 1, 4], [0, 100, 128, 255]);

  it('compute between two conversions', () => {
    const triple = [x, scale(0.1), zero(128)];
    const y = value('uint8', [1], [10]);
    expect(numbers(fused('QLinearAdd', [...triple, y, scale(1), zero(0), scale(0.5), zero(0)]))).toEqual([
      0, 14, 20, 45,
    ]);
    expect(
      numbers(fused('QLinearLeakyRelu', [...triple, scale(0.1), zero(128)], { attributes: { alpha: 0.5 } })),
    ).toEqual([64, 114, 128, 255]);
    expect(numbers(fused('QLinearGlobalAveragePool', [...triple, scale(0.1), zero(128)]))).toEqual([121]);
    const joined = fused('QLinearConcat', [scale(0.2), zero(0), ...triple, ...triple], { attributes: { axis: -1 } });
    expect([joined[0].dims, numbers(joined)]).toEqual([
      [1, 1, 8],
      [0, 0, 0, 64, 0, 0, 0, 64],
    ]);
  });

  it.each([
    [2, 3],
    [4, 20],
    [8, 20],
  ])('MatMulNBits unpacks %i bits', (bits, k) => {
    const [n, block] = [3, 16];
    const blocks = Math.ceil(k / block);
    const levels = Array.from({ length: n * blocks * block }, (_, i) => (i * 7 + 3) % 2 ** bits);
    const per = 8 / bits;
    const bytes = Array.from({ length: levels.length / per }, (_, i) =>
      Array.from({ length: per }, (_, j) => levels[i * per + j] << (j * bits)).reduce((a, b) => a | b),
    );
    const [a, scales] = [random([2, k], 1), random([n * blocks], 2)];
    const inputs = [a, value('uint8', [n, blocks, (block * bits) / 8], bytes), scales];
    const weight = f32(
      [n, k],
      Array.from({ length: n * k }, (_, i) => {
        const [row, column] = [Math.floor(i / k), i % k];
        const at = row * blocks + Math.floor(column / block);
        return (levels[at * block + (column % block)] - 2 ** (bits - 1)) * Number(scales.data[at]);
      }),
    );
    const y = fused('MatMulNBits', inputs, { attributes: { K: k, N: n, bits, block_size: block } });
    expect(distance(numbers(y), numbers(run('Gemm', [a, weight], { attributes: { transB: 1 } })))).toBeLessThan(1e-3);
  });

  it('DynamicQuantizeMatMul is close to the product, MatMulIntegerToFloat equals it', () => {
    const [a, b] = [
      random([3, 8], 1),
      value(
        'int8',
        [8, 2],
        Array.from({ length: 16 }, (_, i) => i * 9 - 70),
      ),
    ];
    const scales = f32([2], [0.01, 0.02]);
    const weight = f32(
      [8, 2],
      Array.from(b.data as Int8Array, (v, i) => v * Number(scales.data[i % 2])),
    );
    const y = fused('DynamicQuantizeMatMul', [a, b, scales]);
    expect(distance(numbers(y), numbers(run('MatMul', [a, weight])))).toBeLessThan(0.05);
    const bytes = value('uint8', [1, 8], [1, 2, 3, 4, 5, 6, 7, 8]);
    const z = fused('MatMulIntegerToFloat', [bytes, b, scale(0.5), scales, zero(4)]);
    const left = f32(
      [1, 8],
      Array.from({ length: 8 }, (_, i) => (i - 3) / 2),
    );
    expect(distance(numbers(z), numbers(run('MatMul', [left, weight])))).toBeLessThan(1e-5);
  });
});
