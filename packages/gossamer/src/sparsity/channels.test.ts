import {
  concat,
  conv,
  linear,
  type Outputs,
  Parameter,
  Random,
  type Spec,
  type Tensor,
  tensor,
  traceGraph,
  unfold,
} from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { type ChannelCoupling, coupledChannels } from './channels.ts';

const parameter = (name: string, ...shape: number[]) => {
  const size = shape.reduce((a, b) => a * b);
  return new Parameter({ dtype: 'float32', shape, data: new Random(size).normal(size) }, { name });
};
const image: Spec = { dtype: 'float32', shape: [1, 3, 4, 4] };

function follow(fn: (x: Tensor) => Outputs, input = image): ChannelCoupling {
  return coupledChannels(traceGraph(fn, [input]));
}

/** Channels of an axis of a parameter, by position. */
function channelsOf({ places }: ChannelCoupling, name: string, axis: number): number[] {
  const found = places.find(p => p.parameter.name === name && p.axis === axis && !p.rows);
  return [...(found?.channels.channel ?? [])];
}

/** Sizes of the sets of interchangeable channels that an axis has, in order of their first channel there. */
function setsOf(coupling: ChannelCoupling, name: string, axis: number): number[] {
  const own = channelsOf(coupling, name, axis);
  const found = coupling.interchangeable.filter(set => set.some(c => own.includes(c)));
  return found.map(set => set.length).sort((a, b) => a - b);
}

const convs = (x: Tensor, ...weights: Parameter[]) => weights.reduce<Tensor>((h, w) => conv(h, w), x);

const a = parameter('a', 8, 3, 3, 3);
const b = parameter('b', 6, 8, 1, 1);
const out = parameter('out', 5, 6, 1, 1);

describe('coupledChannels', () => {
  it('is one channel from the filter that makes it to the weights that read it', () => {
    const bias = parameter('bias', 8);
    const c = follow(x => convs(conv(x, a, { bias, padding: 1 }).relu(), b, out));
    expect(channelsOf(c, 'bias', 0)).toEqual(channelsOf(c, 'a', 0));
    expect(channelsOf(c, 'b', 1)).toEqual(channelsOf(c, 'a', 0));
    expect(channelsOf(c, 'out', 1)).toEqual(channelsOf(c, 'b', 0));
    expect(setsOf(c, 'a', 0)).toEqual([8]);
    expect(setsOf(c, 'b', 0)).toEqual([6]);
    // The network's input and output, and windows, stay.
    expect(setsOf(c, 'a', 1)).toEqual([]);
    expect(setsOf(c, 'a', 2)).toEqual([]);
    expect(setsOf(c, 'out', 0)).toEqual([]);
    expect(channelsOf(c, 'a', 1).every(ch => c.isFixed(ch))).toBe(true);
  });

  it('a residual sum makes its branches one', () => {
    const [first, second] = [parameter('first', 6, 8, 1, 1), parameter('second', 6, 8, 1, 1)];
    const c = follow(x => {
      const h = conv(x, a);
      return conv(conv(h, first).add(conv(h, second)), out);
    });
    expect(channelsOf(c, 'second', 0)).toEqual(channelsOf(c, 'first', 0));
    expect(setsOf(c, 'first', 0)).toEqual([6]);
  });

  it('concatenation puts channels side by side; each part moves by itself', () => {
    const wide = parameter('wide', 5, 14, 1, 1);
    const c = follow(x => {
      const h = conv(x, a);
      return conv(concat([h, conv(h, b)], 1), wide);
    });
    expect(channelsOf(c, 'wide', 1)).toEqual([...channelsOf(c, 'a', 0), ...channelsOf(c, 'b', 0)]);
    expect(setsOf(c, 'wide', 1)).toEqual([6, 8]);
  });

  it('a tensor joined with itself stays as it is', () => {
    const wide = parameter('wide', 5, 16, 1, 1);
    const c = follow(x => {
      const h = conv(x, a);
      return conv(concat([h, h], 1), wide);
    });
    expect(setsOf(c, 'wide', 1)).toEqual([]);
  });

  it('slices divide the channels they cut', () => {
    const c = follow(x => {
      const h = conv(x, a, { padding: 1 });
      return conv(h.slice(1, 0, 6), out).add(conv(h.slice(1, 2, 8), out));
    });
    // Both cuts go through one weight: channel i and i + 2 are the same, so none is free.
    expect(setsOf(c, 'a', 0)).toEqual([]);
    const d = follow(x => conv(conv(x, a).slice(1, 0, 6), out));
    expect(setsOf(d, 'a', 0)).toEqual([2, 6]);
  });

  it('flattening spreads a channel over positions, its parts', () => {
    const fc = parameter('fc', 5, 8 * 4);
    const c = follow(x => linear(conv(x, a).flatten(), fc));
    const place = c.places.find(p => p.parameter === fc && p.axis === 1)!;
    expect([...place.channels.channel]).toEqual(channelsOf(c, 'a', 0).flatMap(ch => [ch, ch, ch, ch]));
    expect([...place.channels.part]).toEqual(Array.from({ length: 32 }, (_, i) => i % 4));
    expect(setsOf(c, 'a', 0)).toEqual([8]);
  });

  it('keeps channels inside the groups of a convolution, whose rows read channels of their own', () => {
    const grouped = parameter('grouped', 6, 4, 3, 3);
    const c = follow(x => conv(conv(conv(x, a), grouped, { groups: 2, padding: 1 }), out));
    expect(setsOf(c, 'a', 0)).toEqual([4, 4]);
    expect(setsOf(c, 'grouped', 0)).toEqual([3, 3]);
    const reads = c.places.filter(p => p.parameter === grouped && p.rows);
    expect(reads.map(p => [p.rows, [...p.channels.channel]])).toEqual([
      [{ start: 0, end: 3 }, channelsOf(c, 'a', 0).slice(0, 4)],
      [{ start: 3, end: 6 }, channelsOf(c, 'a', 0).slice(4)],
    ]);
  });

  it('a depthwise filter belongs to its channel', () => {
    const depthwise = parameter('depthwise', 8, 1, 3, 3);
    const c = follow(x => convs(conv(conv(x, a), depthwise, { groups: 8, padding: 1 }), b, out));
    expect(channelsOf(c, 'depthwise', 0)).toEqual(channelsOf(c, 'a', 0));
    expect(setsOf(c, 'a', 0)).toEqual([8]);
  });

  it('heads of attention move as a whole, queries and keys with values', () => {
    const [q, k, v, o] = ['q', 'k', 'v', 'o'].map(name => parameter(name, 12, 12));
    const c = follow(
      x => {
        const heads = (w: Parameter) => linear(x, w).reshape([1, 5, 3, 4]).transpose([0, 2, 1, 3]);
        const scores = heads(q)
          .matmul(heads(k).transpose([0, 1, 3, 2]))
          .softmax(-1);
        return linear(scores.matmul(heads(v)).transpose([0, 2, 1, 3]).reshape([1, 5, 12]), o);
      },
      { dtype: 'float32', shape: [1, 5, 12] },
    );
    const perHead = channelsOf(c, 'o', 1);
    expect(new Set(perHead).size).toBe(3);
    for (const name of ['q', 'k', 'v']) expect(channelsOf(c, name, 0)).toEqual(perHead);
    expect(setsOf(c, 'q', 0)).toEqual([3]);
    expect(setsOf(c, 'o', 0)).toEqual([]);
  });

  it('fixes channels along which there is an order, and those that a constant tells apart', () => {
    const levels = tensor(
      Float32Array.from({ length: 8 }, (_, i) => i),
      [8, 1, 1],
    );
    for (const told of [(h: Tensor) => h.cumsum(1), (h: Tensor) => h.add(levels)]) {
      const c = follow(x => convs(told(conv(x, a)), b, out));
      expect(setsOf(c, 'a', 0)).toEqual([]);
    }
    const scale = parameter('scale', 8, 1, 1);
    const c = follow(x => convs(conv(x, a).mul(scale), b, out));
    expect(setsOf(c, 'a', 0)).toEqual([8]);
  });

  it('names the operator that it cannot follow, and where it is', () => {
    expect(() => follow(x => unfold(conv(x, a), [2, 2]).mean())).toThrow(
      'channels: unfold of [1, 8, 2, 2] after a: its channels cannot be followed through this operator',
    );
    expect(() => follow(x => unfold(x, [2, 2]).mean())).not.toThrow();
  });
});
