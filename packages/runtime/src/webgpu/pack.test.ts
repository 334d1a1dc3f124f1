import { describe, expect, it } from 'vitest';
import { checkWeight, groupOf, keptOf, type Packed, type Pattern, pack, sparsityOf, type Weight } from './pack.ts';
import { generator, randomWeight } from './testing.ts';

/** The dense rows that a packed weight stands for. */
function unpack({ values, index }: Packed, rows: number, cols: number, pattern: Pattern): Float32Array {
  const data = new Float32Array(rows * cols);
  const nm = sparsityOf(pattern);
  if (nm) {
    const kept = keptOf(nm, cols);
    for (let row = 0; row < rows; row++) {
      for (let slot = 0; slot < kept; slot++) {
        const word = index![row * Math.ceil(kept / 8) + Math.floor(slot / 8)];
        const col = Math.floor(slot / nm.n) * nm.m + ((word >>> ((slot % 8) * 4)) & 15);
        expect(col).toBeLessThan(cols);
        data[row * cols + col] += values[row * kept + slot];
      }
    }
    return data;
  }
  const group = groupOf(pattern);
  const groups = Math.ceil(rows / group);
  for (let g = 0; g < groups; g++) {
    for (let entry = index![g]; entry < index![g + 1]; entry++) {
      for (let row = g * group; row < Math.min((g + 1) * group, rows); row++) {
        data[row * cols + index![groups + 1 + entry]] = values[entry * group + row - g * group];
      }
    }
  }
  return data;
}

const PATTERNS: readonly Pattern[] = [
  'csr',
  { block: 2 },
  { block: 4 },
  { block: 5 },
  { n: 1, m: 4 },
  { n: 2, m: 4 },
  { n: 4, m: 8 },
  { n: 16, m: 16 },
  { n: 3, m: 5 },
];

describe('pack', () => {
  it.each(PATTERNS.map(pattern => [JSON.stringify(pattern), pattern] as const))(
    '%s keeps every value',
    (_, pattern) => {
      const random = generator(3);
      for (const rows of [0, 1, 7, 20]) {
        for (const cols of [0, 1, 3, 16, 35]) {
          const weight = randomWeight(random, rows, cols, pattern);
          expect(unpack(pack(weight, 0, rows), rows, cols, pattern)).toEqual(weight.data);
          const from = groupOf(pattern);
          if (from > rows) continue;
          expect(unpack(pack(weight, from, rows), rows - from, cols, pattern)).toEqual(
            weight.data.subarray(from * cols),
          );
        }
      }
    },
  );

  it('stores nothing for zeros', () => {
    const data = Float32Array.of(0, 2, 0, 0, 0, 3, 0, -0, 0, 0, 0, 0, 0, 0, 0, 1);
    const weight = { data, rows: 4, cols: 4 };
    expect(pack({ ...weight, pattern: 'csr' }, 0, 4)).toEqual({
      values: Float32Array.of(2, 3, 1),
      index: Uint32Array.of(0, 1, 2, 2, 3, 1, 1, 3),
    });
    expect(pack({ ...weight, pattern: { block: 2 } }, 0, 4)).toEqual({
      values: Float32Array.of(2, 3, 0, 1),
      index: Uint32Array.of(0, 1, 2, 1, 3),
    });
    expect(pack({ ...weight, pattern: { n: 1, m: 2 } }, 0, 2)).toEqual({
      values: Float32Array.of(2, 0, 3, 0),
      index: Uint32Array.of(1, 1),
    });
  });

  it('refuses more values than N:M holds', () => {
    const weight: Weight = { data: Float32Array.of(0, 0, 1, 1, 1, 0), rows: 2, cols: 3, pattern: { n: 1, m: 2 } };
    expect(() => pack(weight, 0, 2)).toThrow(
      "row 1 has more than 1 non-zeros in columns 0 to 1, so it is not 1:2; use 'csr'",
    );
  });

  it.each([
    [{ block: 0 }, 'blocks of 0 rows'],
    [{ block: 2.5 }, 'blocks of 2.5 rows'],
    [{ block: 17 }, 'blocks of 17 rows'],
    [{ n: 3, m: 2 }, 'pattern 3:2'],
    [{ n: 1, m: 32 }, 'pattern 1:32'],
    [{ n: 0, m: 4 }, 'pattern 0:4'],
  ])('refuses the pattern %j', (pattern, message) => {
    expect(() => checkWeight({ data: new Float32Array(4), rows: 2, cols: 2, pattern })).toThrow(message);
  });
});
