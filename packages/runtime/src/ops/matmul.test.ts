import { describe, expect, it } from 'vitest';
import { distance, f32, numbers, random, run, value } from '../../test/operators.ts';
import type { Value } from '../values.ts';

const at = (x: Value, ...index: number[]) =>
  Number(x.data[index.reduce((flat, i, d) => flat * x.dims[d] + (x.dims[d] === 1 ? 0 : i), 0)]);

describe('MatMul', () => {
  it.each([
    [
      [3, 4],
      [4, 5],
      [3, 5],
    ],
    [[4], [4, 5], [5]],
    [[3, 4], [4], [3]],
    [[4], [4], []],
    [
      [2, 3, 4],
      [4, 5],
      [2, 3, 5],
    ],
    [
      [3, 4],
      [2, 4, 1],
      [2, 3, 1],
    ],
    [
      [2, 1, 3, 4],
      [5, 4, 2],
      [2, 5, 3, 2],
    ],
    [[2, 3, 4], [4], [2, 3]],
    [[4], [2, 4, 6], [2, 6]],
    [
      [0, 4],
      [4, 3],
      [0, 3],
    ],
    [
      [2, 0],
      [0, 3],
      [2, 3],
    ],
  ])('%j × %j → %j', (a, b, dims) => {
    const [x, y] = [random(a, 1), random(b, 2)];
    const [z] = run('MatMul', [x, y]);
    expect(z.dims).toEqual(dims);
    // The same sums, with vectors written as matrices and every leading axis by broadcasting.
    const [left, right] = [
      { ...x, dims: a.length === 1 ? [1, ...a] : a },
      { ...y, dims: b.length === 1 ? [...b, 1] : b },
    ];
    const rank = Math.max(left.dims.length, right.dims.length);
    const [p, q] = [left, right].map(v => ({ ...v, dims: [...new Array(rank - v.dims.length).fill(1), ...v.dims] }));
    const [m, n, k] = [p.dims[rank - 2], q.dims[rank - 1], p.dims[rank - 1]];
    const lead = p.dims.slice(0, -2).map((size, d) => (size === 1 ? q.dims[d] : size));
    const expected: number[] = [];
    for (let g = 0; g < lead.reduce((x, y) => x * y, 1); g++) {
      const index: number[] = [];
      for (let d = lead.length - 1, rest = g; d >= 0; rest = Math.floor(rest / lead[d--])) index[d] = rest % lead[d];
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let e = 0; e < k; e++) sum += at(p, ...index, i, e) * at(q, ...index, e, j);
          expected.push(sum);
        }
    }
    expect(distance(numbers([z]), expected)).toBeLessThan(1e-5);
  });

  it('wraps integers exactly', () => {
    const int = (numbers: number[]) => value('int32', [1, 1], numbers);
    expect(numbers(run('MatMul', [int([123456789]), int([987654321])]))).toEqual([Math.imul(123456789, 987654321)]);
    const big = (n: bigint): Value => ({ type: 'int64', dims: [1, 1], data: BigInt64Array.of(n) });
    const [y] = run('MatMul', [big(2n ** 62n + 1n), big(3n)]);
    expect(y.data[0]).toBe(BigInt.asIntN(64, 3n * (2n ** 62n + 1n)));
  });

  it('refuses inner dimensions that differ', () => {
    expect(() => run('MatMul', [random([64, 128], 1), random([64, 10], 2)])).toThrow(
      /\[64,128\] × \[64,10\].*128 and 64 differ/,
    );
    expect(() => run('MatMul', [f32([], [1]), f32([1], [1])])).toThrow(/scalar/);
  });
});

describe('Gemm', () => {
  const a = random([3, 5], 1);
  const b = random([5, 4], 2);
  const turn = (x: Value): Value =>
    f32(
      [x.dims[1], x.dims[0]],
      Array.from({ length: x.data.length }, (_, i) => at(x, i % x.dims[0], Math.floor(i / x.dims[0]))),
    );
  const product = numbers(run('MatMul', [a, b]));

  it.each([
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ])('transA %i, transB %i', (transA, transB) => {
    const y = run('Gemm', [transA ? turn(a) : a, transB ? turn(b) : b], { attributes: { transA, transB } });
    expect(distance(numbers(y), product)).toBeLessThan(1e-5);
    const tall = random([6, 5], 3);
    const z = run('Gemm', [transA ? turn(tall) : tall, transB ? turn(b) : b], { attributes: { transA, transB } });
    expect(distance(numbers(z), numbers(run('MatMul', [tall, b])))).toBeLessThan(1e-5);
  });

  it.each([[[]], [[1]], [[4]], [[1, 4]], [[3, 1]], [[3, 4]]])('adds C of shape %j', dims => {
    const c = random(dims, 5);
    const y = run('Gemm', [a, b, c], { attributes: { alpha: 0.5, beta: 2 } });
    const full = { ...c, dims: [1, 1].slice(dims.length).concat(dims) };
    expect(
      distance(
        numbers(y),
        product.map((v, i) => 0.5 * v + 2 * at(full, Math.floor(i / 4), i % 4)),
      ),
    ).toBeLessThan(1e-5);
  });

  it('refuses a C that is larger than the product', () => {
    expect(() => run('Gemm', [a, b, random([2, 3, 4], 1)])).toThrow(/does not broadcast to \[3,4\]/);
  });
});
