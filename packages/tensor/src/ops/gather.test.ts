import { describe, expect, it } from 'vitest';
import { gradients } from '../gradients.ts';
import { configure } from '../realize.ts';
import { tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { arange } from './constant.ts';
import {
  embedding,
  gather,
  gatherElements,
  gatherND,
  oneHot,
  scatterAdd,
  scatterElements,
  scatterND,
} from './gather.ts';

const ints = (values: readonly number[], shape: readonly number[] = [values.length]) =>
  tensor(Int32Array.from(values), shape);

/** Whole numbers, so that sums in any order are exact. */
const whole = (shape: readonly number[]) =>
  tensor(
    Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => ((i * 7919) % 17) - 8),
    shape,
  );

describe('gather', () => {
  it('takes slices along any axis, negative positions from the end', async () => {
    const x = whole([3, 4, 2]);
    const nested = (await x.tolist()) as number[][][];
    const y = gather(x, ints([-1, 0, 2, 2], [2, 2]), 1);
    expect(y.shape).toEqual([3, 2, 2, 2]);
    expect(await y.tolist()).toEqual(
      nested.map(rows => [
        [rows[3], rows[0]],
        [rows[2], rows[2]],
      ]),
    );
  });

  it('keeps the dtype of x and takes a scalar position', async () => {
    const y = gather(ints([5, 6, 7]), ints([1], []));
    expect([y.dtype, y.shape, await y.item()]).toEqual(['int32', [], 6]);
  });

  it('has right gradients when positions repeat, on every axis', async () => {
    for (const axis of [0, 1, 2]) {
      await checkGradients(
        x => gather(x, ints([1, 0, -1, 1]), axis).mul(gather(x, ints([0, 1, 1, 1]), axis)),
        [randn([3, 2, 4], axis)],
      );
    }
  });

  it('refuses float positions and unknown axes', () => {
    expect(() => gather(whole([2, 2]), randn([2]))).toThrow('gather: indices are float32, expected int32');
    expect(() => gather(whole([2, 2]), ints([0]), 2)).toThrow('gather: axis 2 is out of range for a tensor of rank 2');
  });

  it('fails when it runs on a position outside of the axis', async () => {
    await expect(gather(whole([2, 2]), ints([2])).data()).rejects.toThrow(/out of data bounds/);
  });
});

describe('embedding', () => {
  it.each([
    [5, 32, 'a product with the one-hot matrix'],
    [700, 3, 'element by element'],
  ])('has the exact gradient for %i × %i (%s)', async (vocabulary, width) => {
    const n = 3000;
    const ids = Int32Array.from({ length: n }, (_, i) => ((i * 31) % (vocabulary + 2)) - 2);
    const g = whole([n, width]);
    const weight = whole([vocabulary, width]);
    const [dw] = gradients(embedding(weight, tensor(ids)).mul(g).sum(), [weight]);
    const expected = new Float32Array(vocabulary * width);
    const updates = await g.data();
    ids.forEach((id, i) => {
      for (let j = 0; j < width; j++) expected[((id + vocabulary) % vocabulary) * width + j] += updates[i * width + j];
    });
    expect(await dw.data()).toEqual(expected);
  });

  it('loses no update to concurrent additions', async () => {
    // ONNX Runtime's ScatterND(add) does, on exactly this kind of input.
    const [rows, width, n] = [40, 16, 50_000];
    const updates = whole([n, width]);
    const expected = new Float32Array(rows * width);
    (await updates.data()).forEach((v, e) => {
      expected[(Math.floor(e / width) % rows) * width + (e % width)] += v;
    });
    configure({ threads: 2 });
    const ids = tensor(Int32Array.from({ length: n }, (_, i) => i % rows));
    expect(await scatterAdd([rows, width], ids, updates).data()).toEqual(expected);
    configure({ threads: undefined });
  });

  it('is differentiable twice', async () => {
    await checkGradients(w => embedding(w, ints([0, 2, 2, 1], [2, 2])).square(), [randn([3, 4])]);
    await checkGradients(w => embedding(w, ints([0, 2, 2, 39], [2, 2])).square(), [randn([40, 2])]);
  });

  it('wants a matrix', () => {
    expect(() => embedding(randn([3]), ints([0]))).toThrow(
      'embedding: the weight is [3], expected [vocabulary, width]',
    );
  });
});

describe('scatterAdd', () => {
  it.each([0, 1, 2])('adds slices along axis %i as the brute force does', async axis => {
    const shape = [3, 4, 5];
    const at = [1, 2, -1, 1, 0, 1];
    const x = whole(shape);
    const updates = whole([...shape.slice(0, axis), 2, 3, ...shape.slice(axis + 1)]);
    const expected = (await x.data()).slice();
    const lead = shape.slice(0, axis).reduce((n, d) => n * d, 1);
    const rest = shape.slice(axis + 1).reduce((n, d) => n * d, 1);
    const u = await updates.data();
    for (let l = 0; l < lead; l++) {
      at.forEach((p, i) => {
        const row = (p + shape[axis]) % shape[axis];
        for (let r = 0; r < rest; r++) {
          expected[(l * shape[axis] + row) * rest + r] += u[(l * at.length + i) * rest + r];
        }
      });
    }
    const indices = ints(at, [2, 3]);
    expect(await scatterAdd(x, indices, updates, axis).data()).toEqual(expected);
    const fromZero = await scatterAdd(shape, indices, updates, axis).add(x).data();
    expect(fromZero).toEqual(expected);
    await checkGradients((a, b) => scatterAdd(a, indices, b, axis).square(), [randn(shape), randn(updates.shape, 1)]);
  });

  it('adds integers exactly', async () => {
    const y = scatterAdd([2, 1], ints([0, 1, 0]), ints([2 ** 24, 1, 1], [3, 1]));
    expect(await y.tolist()).toEqual([[2 ** 24 + 1], [1]]);
  });

  it('says which shape the updates should have', () => {
    expect(() => scatterAdd([4, 3], ints([0, 1]), randn([2, 2]))).toThrow(
      'scatterAdd: updates [2, 2], expected [2, 3] for indices [2] on axis 0 of [4, 3]',
    );
  });
});

describe('gatherElements and scatterElements', () => {
  const at = ints([0, 2, -1, 1], [2, 2]);

  it('take and put single elements', async () => {
    const x = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(await gatherElements(x, at).tolist()).toEqual([
      [1, 3],
      [6, 5],
    ]);
    expect(
      await scatterElements(
        x,
        at,
        tensor([
          [10, 20],
          [30, 40],
        ]),
      ).tolist(),
    ).toEqual([
      [10, 2, 20],
      [4, 40, 30],
    ]);
    expect(
      await scatterElements(
        [2, 3],
        ints([0, 0, 1, 1], [2, 2]),
        tensor([
          [1, 2],
          [3, 4],
        ]),
        1,
        'add',
      ).tolist(),
    ).toEqual([
      [3, 0, 0],
      [0, 7, 0],
    ]);
    expect(await gatherElements(x, ints([1, 0, 1], [1, 3]), 0).tolist()).toEqual([[4, 2, 6]]);
  });

  it('have right gradients', async () => {
    await checkGradients(x => gatherElements(x, ints([0, 0, -1, 1], [2, 2])).square(), [randn([2, 3])]);
    await checkGradients(x => gatherElements(x, at, 0).square(), [randn([3, 2])]);
    for (const reduction of ['replace', 'add'] as const) {
      await checkGradients(
        (x, u) => scatterElements(x, at, u, -1, reduction).square(),
        [randn([2, 3]), randn([2, 2], 1)],
      );
    }
  });

  it('refuse shapes that do not fit', () => {
    expect(() => gatherElements(randn([2, 3]), ints([0, 0, 0], [3, 1]))).toThrow(
      'gatherElements: indices [3, 1] do not fit [2, 3] outside axis 1',
    );
    expect(() => scatterElements([2, 3], at, randn([2, 3]))).toThrow(
      'scatterElements: indices [2, 2] and updates [2, 3] differ',
    );
  });
});

describe('gatherND and scatterND', () => {
  it('take and add slices at coordinates', async () => {
    const x = whole([2, 3, 2]);
    const nested = (await x.tolist()) as number[][][];
    const at = ints([0, -1, 1, 0, 0, 2], [3, 2]);
    expect(await gatherND(x, at).tolist()).toEqual([nested[0][2], nested[1][0], nested[0][2]]);
    expect(await gatherND(x, ints([1, 2, -1], [3])).item()).toBe(nested[1][2][1]);
    const y = scatterND(
      [2, 3, 2],
      at,
      tensor([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
    );
    expect(await y.tolist()).toEqual([
      [
        [0, 0],
        [0, 0],
        [6, 8],
      ],
      [
        [3, 4],
        [0, 0],
        [0, 0],
      ],
    ]);
  });

  it('have right gradients', async () => {
    const at = ints([0, -1, 1, 0, 0, 2], [3, 2]);
    await checkGradients(x => gatherND(x, at).square(), [randn([2, 3, 2])]);
    await checkGradients((x, u) => scatterND(x, at, u).square(), [randn([2, 3, 2]), randn([3, 2], 1)]);
  });

  it('refuse coordinates and updates that do not fit', () => {
    expect(() => gatherND(randn([2, 3]), ints([0, 0, 0], [1, 3]))).toThrow(
      'gatherND: indices [1, 3] hold 3 coordinates a row, expected 1 to 2 for [2, 3]',
    );
    expect(() => scatterND([2, 3], ints([0], [1, 1]), randn([1, 2]))).toThrow(
      'scatterND: updates [1, 2], expected [1, 3]',
    );
  });
});

describe('oneHot and arange', () => {
  it('mark the id, and nothing for ids outside', async () => {
    expect(await oneHot(ints([2, 0, -1, 3], [2, 2]), 3).tolist()).toEqual([
      [
        [0, 0, 1],
        [1, 0, 0],
      ],
      [
        [0, 0, 0],
        [0, 0, 0],
      ],
    ]);
    expect(() => oneHot(randn([2]), 3)).toThrow('oneHot: indices are float32');
  });

  it('counts from 0', async () => {
    expect(await arange(4).data<Int32Array>()).toEqual(Int32Array.of(0, 1, 2, 3));
    expect(await arange(3, 'float32').data()).toEqual(Float32Array.of(0, 1, 2));
    expect((await arange(0).data()).length).toBe(0);
  });
});
