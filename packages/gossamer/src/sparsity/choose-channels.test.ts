import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { Sequential } from '../nn/container.ts';
import { BatchNorm2d, Conv2d, type Module, ReLU } from '../nn/index.ts';
import { channelScores, channelsByVote } from './channel-scores.ts';
import { chooseChannels, chooseChannelsByTime } from './choose-channels.ts';
import { Branches, groupsOf, image, worn } from './shrink-testing.ts';

const random = (name: string) => new Random(2).fork(name);
const input = image(3, 4);

/** 3 → 8 → 6 → 4 channels. */
const chain = () =>
  worn(
    new Sequential(
      new Conv2d(3, 8, 1, { random: random('a') }),
      new BatchNorm2d(8),
      new ReLU(),
      new Conv2d(8, 6, 1, { random: random('b') }),
      new ReLU(),
      new Conv2d(6, 4, 1, { random: random('c') }),
    ),
  );

const byId = (count: number) => new Map(Array.from({ length: count }, (_, id) => [id, id]));

describe('chooseChannels', () => {
  it('takes the lowest scores, no more than the target needs', async () => {
    const found = await groupsOf(chain(), input);
    const { flops, parameters } = found.cost();
    // Convolutions at 16 pixels: 3·8 + 8·6 + 6·4 weights.
    expect(flops).toBe(2 * 16 * (24 + 48 + 24));
    expect(parameters).toBe(24 + 8 + 2 * 8 + 48 + 6 + 24 + 4);
    for (const target of [{ flops: 0.5 }, { parameters: 70 }, { bytes: 0.4 }]) {
      const scores = byId(found.count);
      const removed = chooseChannels(found, scores, { target });
      expect(removed).toEqual([...removed.keys()]);
      const [[what, wanted]] = Object.entries(target) as ['flops' | 'parameters' | 'bytes', number][];
      const limit = wanted < 1 ? wanted * found.cost()[what] : wanted;
      expect(found.cost(removed)[what]).toBeLessThanOrEqual(limit);
      expect(found.cost(removed.slice(0, -1))[what]).toBeGreaterThan(limit);
    }
  });

  it('keeps a minimum in every group, and multiples', async () => {
    const found = await groupsOf(chain(), input);
    const left = (removed: readonly number[]) =>
      found.groups.map(g => g.channels.filter(id => !removed.includes(id)).length);
    const scores = byId(found.count);
    const all = found.cost([0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]).flops;
    expect(left(chooseChannels(found, scores, { target: { flops: all } }))).toEqual([1, 1]);
    expect(() => chooseChannels(found, scores, { target: { flops: all - 1 } })).toThrow(
      `chooseChannels: ${all - 1} flops cannot be reached: with all that may go, ${all} of 3072 are left`,
    );
    expect(left(chooseChannels(found, scores, { target: { flops: 0.6 }, minimum: 3 }))[0]).toBeGreaterThanOrEqual(3);
    // 6 is no multiple of 4: the second group has 6 or 4.
    const multiples = left(chooseChannels(found, scores, { target: { flops: 0.5 }, multipleOf: 4 }));
    expect(multiples).toEqual([4, 4]);
  });

  it('leaves channels without a score alone, and refuses scores and targets that are none', async () => {
    const found = await groupsOf(chain(), input);
    const [first, second] = found.groups;
    const scores = new Map(first.channels.map(id => [id, 1]));
    const removed = chooseChannels(found, scores, { target: { flops: 0.6 } });
    expect(removed.every(id => first.channels.includes(id))).toBe(true);
    expect(second.channels).toHaveLength(6);
    scores.set(first.channels[2], Number.NaN);
    expect(() => chooseChannels(found, scores, { target: { flops: 0.6 } })).toThrow('of 0.weight has score NaN');
    expect(() => chooseChannels(found, new Map(), { target: { flops: 0 } })).toThrow('target of 0 flops');
    expect(() => chooseChannels(found, new Map(), { target: { flops: 0.5 }, minimum: 0 })).toThrow('minimum 0');
  });

  it('bisects on a time that is measured', async () => {
    const found = await groupsOf(chain(), input);
    const measure = async (removed: readonly number[]) => 1 + found.cost(removed).flops / 1000;
    const scores = byId(found.count);
    const asked = { target: { milliseconds: 3 }, tolerance: 0 };
    const { removed, before, after } = await chooseChannelsByTime(found, scores, measure, asked);
    expect(before).toBe(4.072);
    expect(after).toBeLessThanOrEqual(3);
    expect(await measure(removed)).toBe(after);
    expect(await measure(removed.slice(0, -1))).toBeGreaterThan(3);
    const faster = await chooseChannelsByTime(found, scores, measure, { target: { speedup: 2 } });
    expect(faster.after).toBeLessThanOrEqual(2.036 * 1.02);
    const slow = chooseChannelsByTime(found, scores, measure, { target: { milliseconds: 0.5 } });
    await expect(slow).rejects.toThrow('0.500 ms cannot be reached: 4.07 ms now, 1.2');
    const easy = await chooseChannelsByTime(found, scores, measure, { target: { milliseconds: 9 } });
    expect(easy.removed).toEqual([]);
  });
});

describe('channelScores', () => {
  const norms = async (model: Module, name: string) => {
    const p = model.stateDict().get(name)!;
    const width = p.size / p.shape[0];
    const data = await p.data();
    return Array.from({ length: p.shape[0] }, (_, o) => [...data.subarray(o * width, (o + 1) * width)]);
  };

  it('are norms of filters, distances between them, or scales', async () => {
    const model = chain();
    const found = await groupsOf(model, input);
    const [first] = found.groups;
    const filters = await norms(model, '0.weight');
    const expected = {
      l1: filters.map(f => f.reduce((n, w) => n + Math.abs(w), 0)),
      l2: filters.map(f => Math.hypot(...f)),
      fpgm: filters.map(f => filters.reduce((n, other) => n + Math.hypot(...f.map((w, i) => w - other[i])), 0)),
      gamma: (await norms(model, '1.weight')).map(([g]) => Math.abs(g)),
    };
    for (const [score, values] of Object.entries(expected)) {
      const scores = await channelScores(model, found, score as 'l1', { normalize: false });
      first.channels.forEach((id, i) => {
        expect(scores.get(id), score).toBeCloseTo(values[i], 5);
      });
      expect(scores.size).toBe(score === 'gamma' ? 8 : 14);
    }
    const relative = await channelScores(model, found, 'l1');
    for (const { channels } of found.groups) {
      expect(channels.reduce((n, id) => n + relative.get(id)!, 0) / channels.length).toBeCloseTo(1, 6);
    }
    const drawn = await channelScores(model, found, 'random', { random: random('scores') });
    expect(new Set(drawn.values()).size).toBe(found.count);
    await expect(channelScores(model, found, 'random')).rejects.toThrow('need a random generator');
  });

  it('combines the layers that share channels', async () => {
    const model = worn(new Branches());
    const found = await groupsOf(model, image(3, 8));
    // The left branch, the convolution behind and the sum have the same channels.
    const id = found.requireChannel('left.weight', 3);
    const [left, after] = [await norms(model, 'left.weight'), await norms(model, 'after.weight')].map(filters =>
      filters[3].reduce((n, w) => n + Math.abs(w), 0),
    );
    const score = async (aggregate: 'mean' | 'sum' | 'max' | 'min') =>
      (await channelScores(model, found, 'l1', { aggregate, normalize: false })).get(id);
    expect(await score('sum')).toBeCloseTo(left + after, 4);
    expect(await score('mean')).toBeCloseTo((left + after) / 2, 4);
    expect(await score('max')).toBeCloseTo(Math.max(left, after), 4);
    expect(await score('min')).toBeCloseTo(Math.min(left, after), 4);
  });
});

describe('channelsByVote', () => {
  it('removes the smallest number that a member gave up, most votes first, and leaves one', async () => {
    const found = await groupsOf(worn(new Branches()), image(3, 8));
    const at = (position: number) => found.requireChannel('left.weight', position);
    const votes = new Map([
      ['left.weight', Uint8Array.of(1, 1, 0, 0, 0, 1, 0, 0)],
      ['after.weight', Uint8Array.of(0, 0, 0, 0, 1, 1, 0, 0)],
    ]);
    expect(channelsByVote(found, votes)).toEqual([at(5), at(0)]);
    votes.set('after.weight', new Uint8Array(8));
    expect(channelsByVote(found, votes)).toEqual([]);
    const all = new Map([['squeeze.weight', new Uint8Array(5).fill(1)]]);
    expect(channelsByVote(found, all)).toHaveLength(4);
    expect(() => channelsByVote(found, new Map([['squeeze.weight', new Uint8Array(4)]]))).toThrow(
      '4 votes for the 5 channels of squeeze.weight',
    );
  });
});
