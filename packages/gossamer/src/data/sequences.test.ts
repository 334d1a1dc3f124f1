import { describe, expect, it } from 'vitest';
import { DataLoader } from './loader.ts';
import { bpttWindows, tokenWindows } from './sequences.ts';

const ids = Int32Array.from({ length: 23 }, (_, i) => i);

describe('tokenWindows', () => {
  it('cuts windows whose targets are the next tokens', async () => {
    const { inputs, targets } = await tokenWindows(ids, 5).all();
    expect(inputs.shape).toEqual([4, 5]);
    expect([...inputs.data]).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect([...targets.data]).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  });

  it('uses the last token as a target, and overlaps by stride', () => {
    expect(tokenWindows(ids, 22).length).toBe(1);
    expect(tokenWindows(ids, 11).length).toBe(2);
    expect(tokenWindows(ids, 5, 1).length).toBe(18);
    expect([...tokenWindows(ids, 3, 4).batch([1]).inputs.data]).toEqual([4, 5, 6]);
    expect(() => tokenWindows(ids, 23)).toThrow('23 tokens, at least 24 are needed');
    expect(() => tokenWindows(ids, 2, 0)).toThrow('stride 0');
  });
});

describe('bpttWindows', () => {
  it('continues each lane from batch to batch', async () => {
    const lanes = 3;
    const loader = new DataLoader(bpttWindows(ids, lanes, 2), { batchSize: lanes });
    const streams: number[][] = [[], [], []];
    for await (const { inputs, targets } of loader) {
      for (let lane = 0; lane < lanes; lane++) {
        const row = [...inputs.data.subarray(2 * lane, 2 * lane + 2)];
        expect([...targets.data.subarray(2 * lane, 2 * lane + 2)]).toEqual(row.map(id => id + 1));
        streams[lane].push(...row);
      }
    }
    // 22 inputs make 3 streams of 7, of which 6 fill whole steps.
    expect(streams).toEqual([0, 7, 14].map(start => Array.from({ length: 6 }, (_, i) => start + i)));
  });

  it('refuses too few tokens', () => {
    expect(() => bpttWindows(ids, 8, 3)).toThrow('23 tokens in 8 lanes leave 2 each');
    expect(() => bpttWindows(ids, 0, 3)).toThrow('lanes 0');
  });
});
