import { describe, expect, it } from 'vitest';
import { deriveKey, type Key, threefry, threefryFill } from './threefry.ts';

const ONES: Key = [0xffffffff, 0xffffffff];

describe('threefry2x32-20', () => {
  // kat_vectors of Random123 1.14; jax's tests/random_test.py uses the same three.
  it.each([
    { counter: [0, 0], key: [0, 0], words: [0x6b200159, 0x99ba4efe] },
    { counter: ONES, key: ONES, words: [0x1cb996fc, 0xbb002be7] },
    { counter: [0x243f6a88, 0x85a308d3], key: [0x13198a2e, 0x03707344], words: [0xc4923a9c, 0x483df7a0] },
  ] as const)('known answer for key $key', ({ counter, key, words }) => {
    expect(threefry(key, counter)).toEqual(words);
  });

  it('fills blocks in counter order and carries into the high word', () => {
    const key: Key = [7, 9];
    const out = new Uint32Array(6);
    threefryFill(key, 0xffffffff, 4, out);
    expect([...out]).toEqual([...threefry(key, [0xffffffff, 4]), ...threefry(key, [0, 5]), ...threefry(key, [1, 5])]);
  });

  it('leaves everything after an odd length alone', () => {
    const out = new Uint32Array(4).fill(1);
    threefryFill([1, 2], 3, 0, out, 1);
    expect([...out]).toEqual([threefry([1, 2], [3, 0])[0], 1, 1, 1]);
  });

  it('flips half of the output bits when one bit of key or counter flips', () => {
    const base = threefry([1, 2], [3, 4]);
    let flipped = 0;
    for (let bit = 0; bit < 128; bit++) {
      const words = [1, 2, 3, 4];
      words[bit >> 5] = (words[bit >> 5] ^ (1 << (bit & 31))) >>> 0;
      const [a, b] = threefry([words[0], words[1]], [words[2], words[3]]);
      for (const x of [a ^ base[0], b ^ base[1]]) for (let i = 0; i < 32; i++) flipped += (x >>> i) & 1;
    }
    // 128 × 64 fair coins: mean 4096, standard deviation 45.
    expect(Math.abs(flipped - 4096)).toBeLessThan(200);
  });
});

describe('deriveKey', () => {
  it('gives different keys to names that differ in kind, length or padding', () => {
    const names = ['', '\0', '1', 1, 'a', 'a\0', 'abcdefgh', 'abcdefgh\0', 'é', 0, 2 ** 32, 2 ** 32 + 1];
    const keys = new Set(names.map(name => deriveKey([1, 2], name).join()));
    expect(keys.size).toBe(names.length);
    expect(deriveKey([1, 2], 'a')).not.toEqual(deriveKey([1, 3], 'a'));
  });
});
