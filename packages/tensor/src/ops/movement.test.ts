import { describe, expect, it } from 'vitest';
import { Random } from '../random.ts';
import { type Tensor, tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { concat, pad, slices, split, stack } from './movement.ts';

const count = (shape: readonly number[]) =>
  tensor(
    Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => i + 1),
    shape,
  );
const line = count([5]);

/** Every movement, as functions of a [2, 3, 4] tensor, for gradients. */
const movements: [name: string, f: (x: Tensor) => Tensor][] = [
  ['reshape', x => x.reshape([4, -1])],
  ['flatten', x => x.flatten(0, 1)],
  ['transpose', x => x.transpose([2, 0, 1])],
  ['transpose, last two', x => x.transpose()],
  ['expand', x => x.unsqueeze(1).expand([5, 2, 2, 3, 4])],
  ['squeeze', x => x.slice(0, 0, 1).squeeze(0)],
  ['slice', x => x.slice(1, 1, 3)],
  ['slice, strided', x => x.slice(2, 1, 4, 2)],
  ['slice, strided from the start', x => x.slice(2, 0, 4, 3)],
  ['slice, backwards', x => x.slice(2, 3, 0, -2)],
  ['slice, backwards to the first', x => x.slice(1, undefined, undefined, -1)],
  ['slice, one element', x => x.slice(2, 2, 3, 5)],
  ['slice, empty', x => x.slice(2, 2, 2).sum()],
  [
    'slices',
    x =>
      slices(x, [
        [0, 1, 2],
        [2, 1, 3],
      ]),
  ],
  ['flip', x => x.flip([0, 2])],
  [
    'pad',
    x =>
      x.pad(
        [
          [0, 1, 0],
          [2, 2, 3],
        ],
        'constant',
        7,
      ),
  ],
  [
    'pad, reflected',
    x =>
      x.pad(
        [
          [1, 2, 1],
          [2, 3, 2],
        ],
        'reflect',
      ),
  ],
  ['pad, reflected before', x => x.pad([[2, 1, 0]], 'reflect')],
  [
    'pad, edge',
    x =>
      x.pad(
        [
          [1, 0, 2],
          [2, 4, 1],
        ],
        'edge',
      ),
  ],
  ['concat', x => concat([x, x.mul(2), x.slice(1, 0, 1)], 1)],
  ['stack', x => stack([x, x.square()], -1)],
  ['split', x => split(x, [1, 3], 2)[1]],
  ['tile', x => x.tile([2, 1, 3])],
];

describe('movement', () => {
  it('has right gradients', async () => {
    await checkGradients(x => movements.map(([, f]) => f(x).square()), [randn([2, 3, 4])], { samples: 24 });
  });

  it('reshapes without touching elements', async () => {
    const x = count([2, 3, 4]);
    expect(x.reshape([-1, 6]).shape).toEqual([4, 6]);
    expect(await x.reshape([4, 6]).data()).toEqual(await x.data());
    expect(x.flatten().shape).toEqual([2, 12]);
    expect(x.flatten(0, 1).shape).toEqual([6, 4]);
    expect(x.unsqueeze(-1).shape).toEqual([2, 3, 4, 1]);
    expect(x.unsqueeze(0).squeeze().shape).toEqual([2, 3, 4]);
    expect(tensor(3).flatten().shape).toEqual([1]);
    expect(() => x.reshape([5, -1])).toThrow('reshape: [2, 3, 4] (24 elements) does not fit [5, -1]');
    expect(() => x.reshape([-1, -1])).toThrow('does not fit [-1, -1]');
    expect(() => x.squeeze(1)).toThrow('squeeze: axes [1] of [2, 3, 4] are not all 1');
  });

  it('reshapes tensors without elements', async () => {
    const empty = tensor(new Float32Array(0), [0, 3]);
    const y = empty.reshape([3, 0]).add(1);
    expect([y.shape, (await y.data()).length]).toEqual([[3, 0], 0]);
    expect(() => empty.reshape([0, -1])).toThrow('does not fit [0, -1]');
  });

  it('permutes axes', async () => {
    const nested = (await count([2, 3, 4]).tolist()) as number[][][];
    const y = (await count([2, 3, 4]).transpose([2, 0, 1]).tolist()) as number[][][];
    for (let i = 0; i < 2; i++)
      for (let j = 0; j < 3; j++) for (let k = 0; k < 4; k++) expect(y[k][i][j]).toBe(nested[i][j][k]);
    expect(() => line.transpose()).toThrow('transpose: [last two] is not a permutation of the 1 axes of [5]');
    expect(() => count([2, 3]).transpose([0, 0])).toThrow('transpose: [0,0] is not a permutation');
    expect(() => count([2, 3]).expand([3, 3])).toThrow(/expand/);
    expect(() => count([2, 1]).expand([1, 1])).toThrow('expand: [2, 1] does not expand to [1, 1]');
  });

  it('slices as Python does, for every start, end and step', async () => {
    const python = (start: number | undefined, end: number | undefined, step: number) => {
      const n = 5;
      const clip = (p: number, low: number, high: number) => Math.min(high, Math.max(low, p < 0 ? p + n : p));
      const [low, high] = step > 0 ? [0, n] : [-1, n - 1];
      const from = start === undefined ? (step > 0 ? 0 : n - 1) : clip(start, low, high);
      const to = end === undefined ? (step > 0 ? n : -1) : clip(end, low, high);
      const out: number[] = [];
      for (let i = from; step > 0 ? i < to : i > to; i += step) out.push(i + 1);
      return out;
    };
    const bounds = [undefined, -7, -5, -2, 0, 1, 4, 5, 9];
    const cases = bounds.flatMap(s => bounds.flatMap(e => [1, 2, 4, -1, -2, -9].map(step => [s, e, step] as const)));
    // One graph for all of them.
    const parts = cases.map(([s, e, step]) => line.slice(0, s, e, step));
    const expected = cases.map(c => python(...c));
    expect(parts.map(p => p.shape)).toEqual(expected.map(e => [e.length]));
    expect(await concat(parts).tolist()).toEqual(expected.flat());
    expect(() => line.slice(0, 0, 1, 0)).toThrow('slice: step 0 must be a non-zero integer');
    expect(() => slices(line, [[0, 2, 6]])).toThrow('slices: [2, 6) is outside axis 0 of [5]');
  });

  it('slices and flips matrices along an axis', async () => {
    const x = count([2, 3]);
    expect(await x.flip().tolist()).toEqual([
      [6, 5, 4],
      [3, 2, 1],
    ]);
    expect(await x.flip(0).tolist()).toEqual([
      [4, 5, 6],
      [1, 2, 3],
    ]);
    expect(await x.slice(-1, -2).tolist()).toEqual([
      [2, 3],
      [5, 6],
    ]);
  });

  it('pads with a value, a reflection or the border, in any dtype', async () => {
    const x = count([3]);
    expect(await x.pad([[0, 1, 2]]).tolist()).toEqual([0, 1, 2, 3, 0, 0]);
    expect(await pad(x, [[0, 1, 2]], 'constant', -1).tolist()).toEqual([-1, 1, 2, 3, -1, -1]);
    expect(await pad(x, [[0, 2, 1]], 'reflect').tolist()).toEqual([3, 2, 1, 2, 3, 2]);
    expect(await pad(x, [[0, 2, 1]], 'edge').tolist()).toEqual([1, 1, 1, 2, 3, 3]);
    expect(
      await tensor(Int32Array.of(1, 2))
        .pad([[0, 1, 1]], 'constant', 9)
        .tolist(),
    ).toEqual([9, 1, 2, 9]);
    expect(
      await tensor([true])
        .pad([[0, 1, 1]])
        .tolist(),
    ).toEqual([0, 1, 0]);
    expect(() => pad(x, [[0, 3, 0]], 'reflect')).toThrow('pad: [3, 0] on axis 0 of [3] is not allowed in mode reflect');
    expect(() => pad(x, [[0, -1, 0]])).toThrow('pad: [-1, 0]');
    expect(() =>
      x.pad([
        [0, 1, 1],
        [-1, 1, 0],
      ]),
    ).toThrow('pad: axes [0,0] repeat');
  });

  it('joins and cuts', async () => {
    const [a, b] = [count([1, 2]), count([2, 2])];
    expect(await concat([a, b]).tolist()).toEqual([
      [1, 2],
      [1, 2],
      [3, 4],
    ]);
    expect(stack([b, b], 1).shape).toEqual([2, 2, 2]);
    expect(split(line, [2, 0, 3]).map(t => t.shape)).toEqual([[2], [0], [3]]);
    expect(await count([2, 2]).tile([1, 2]).tolist()).toEqual([
      [1, 2, 1, 2],
      [3, 4, 3, 4],
    ]);
    expect(() => concat([a, b], 1)).toThrow('concat: shapes [1, 2], [2, 2] differ outside axis 1');
    expect(() => concat([a, a.cast('int32')])).toThrow('concat: dtypes float32 and int32 differ; cast one');
    expect(() => concat([])).toThrow('concat: no tensors given');
    expect(() => split(line, 2)).toThrow('split: axis 0 of [5] cannot be cut into 2');
    expect(() => line.tile([1, 2])).toThrow('tile: 2 repeats for a tensor of rank 1');
  });

  it('undoes itself: random chains of flips, transposes and pads', async () => {
    const random = new Random('movement');
    const x = count([2, 3, 4]);
    let y = x;
    const undo: ((t: Tensor) => Tensor)[] = [];
    for (let step = 0; step < 12; step++) {
      const axis = Math.floor(random.uniform(1)[0] * 3);
      if (step % 3 === 0) {
        y = y.flip(axis);
        undo.push(t => t.flip(axis));
      } else if (step % 3 === 1) {
        const perm = [...random.permutation(3)];
        y = y.transpose(perm);
        undo.push(t => t.transpose(perm.map((_, i) => perm.indexOf(i))));
      } else {
        const n = y.shape[axis];
        y = y.pad([[axis, 1, 2]]);
        undo.push(t => t.slice(axis, 1, 1 + n));
      }
    }
    expect(await undo.reduceRight((t, f) => f(t), y).data()).toEqual(await x.data());
  });
});
