import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Mask } from '../../sparsity/index.ts';
import { loadCheckpoint, saveCheckpoint } from '../../train/checkpoint.ts';
import type { ImpState } from './imp.ts';
import { impCheckpoint, impState } from './imp-state.ts';

const weights = new Map([
  ['a.weight', Float32Array.of(1, 0, -2, 0)],
  ['a.bias', Float32Array.of(0.5)],
]);
const mask = new Mask([['a.weight', { shape: [2, 2], keep: Uint8Array.of(1, 0, 1, 0) }]]);

describe('impCheckpoint', () => {
  it.each<[string, ImpState]>([
    ['dense', { round: 0, mask: undefined, weights, rewind: undefined }],
    ['pruned, with a point to rewind to', { round: 3, mask, weights, rewind: new Map(weights) }],
  ])('comes back from a file: %s', async (_, state) => {
    const folder = await mkdtemp(join(tmpdir(), 'gossamer-imp-'));
    try {
      const path = await saveCheckpoint(folder, state.round, impCheckpoint(state, [{ accuracy: 0.5 }]));
      const back = impState(await loadCheckpoint(path));
      expect(back.extra).toEqual([{ accuracy: 0.5 }]);
      expect([back.state.round, back.state.weights, back.state.rewind]).toEqual([state.round, weights, state.rewind]);
      expect(back.state.mask?.equals(mask)).toBe(state.mask ? true : undefined);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('refuses the checkpoint of a plain training', () => {
    expect(() => impState({ arrays: {}, json: { step: 4 } })).toThrow('none of a round');
    expect(() => impState({ arrays: {}, json: null })).toThrow('none of a round');
  });
});
