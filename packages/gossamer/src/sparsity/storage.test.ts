import { FormatError, Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import * as storage from './storage.ts';

const bits = (a: Float32Array) => new Uint32Array(a.buffer, a.byteOffset, a.length);

/** Weights of a density from none to all, with −0, NaN, subnormals among the values. */
function cases(): { dense: Float32Array; rows: number; keep?: Uint8Array }[] {
  const odd = [-0, Number.NaN, 1e-45, Infinity, -1];
  return Array.from({ length: 30 }, (_, seed) => {
    const random = new Random(seed);
    const [rows, columns] = random.integers(2, 1, 60);
    const keep = random.bernoulli(rows * columns, [0, 0.01, 0.1, 0.5, 1][seed % 5]);
    const dense = random.normal(keep.length).map((v, i) => (keep[i] ? (seed % 3 && i % 7 < 5 ? v : odd[i % 5]) : 0));
    // Every other case is stored by mask, with live zeros.
    if (seed % 2) for (let i = 0; i < dense.length; i += 11) dense[i] = 0;
    return seed % 2 ? { dense, rows, keep } : { dense, rows };
  });
}

describe('encodings', () => {
  it('give back every bit, and take the bytes that the accounting says', () => {
    for (const { dense, rows, keep } of cases()) {
      const n = dense.length;
      for (const width of [1, 3, 5, 8, 13]) {
        const mask = storage.encodeBitMask(dense, keep);
        const csr = storage.encodeCSR(dense, rows, keep);
        const relative = storage.encodeRelative(dense, width, keep);
        expect(bits(storage.decodeBitMask(mask, n))).toEqual(bits(dense));
        expect(bits(storage.decodeCSR(csr))).toEqual(bits(dense));
        expect(bits(storage.decodeRelative(relative, n))).toEqual(bits(dense));
        expect(storage.storageBytes(dense, rows, keep, width)).toEqual({
          dense: 4 * n,
          bitmask: mask.bits.byteLength + mask.values.byteLength,
          csr: csr.rowStart.byteLength + csr.columns.byteLength + csr.values.byteLength,
          relative: relative.gaps.byteLength + relative.values.byteLength,
        });
        if (keep) {
          expect(mask.values.length).toBe(keep.reduce((a, b) => a + b, 0));
          expect(keep.every((k, i) => ((mask.bits[i >> 3] >> (i & 7)) & 1) === k)).toBe(true);
        }
      }
    }
  });

  it('bridges long gaps by fillers, exactly at the limit', () => {
    const at = (positions: number[]) => {
      const dense = new Float32Array(200);
      for (const p of positions) dense[p] = 1;
      return [...storage.encodeRelative(dense, 5).values];
    };
    expect(at([31])).toEqual([1]);
    expect(at([32])).toEqual([0, 1]);
    expect(at([63])).toEqual([0, 1]);
    expect(at([64])).toEqual([0, 0, 1]);
    expect(at([0, 32, 65])).toEqual([1, 1, 0, 1]);
  });

  it('uses wide columns only beyond 65536', () => {
    const dense = new Float32Array(65_537);
    dense[65_536] = 1;
    expect(storage.encodeCSR(dense, 1).columns).toBeInstanceOf(Uint32Array);
    expect(storage.encodeCSR(dense.subarray(0, 65_536), 1).columns).toBeInstanceOf(Uint16Array);
    expect(storage.decodeCSR(storage.encodeCSR(dense, 1))).toEqual(dense);
  });

  it('refuse inconsistent input', () => {
    const dense = Float32Array.of(1, 0, 2, 0);
    expect(() => storage.encodeCSR(dense, 3)).toThrow('4 elements do not make 3 rows');
    expect(() => storage.encodeBitMask(dense, Uint8Array.of(1, 0, 0, 0))).toThrow('element 2 is 2 but masked');
    expect(() => storage.encodeBitMask(dense, Uint8Array.of(1))).toThrow('mask of 1 elements for 4 values');
    expect(() => storage.encodeRelative(dense, 0)).toThrow('0 bits per gap');
    const mask = storage.encodeBitMask(dense);
    const csr = storage.encodeCSR(dense, 2);
    const relative = storage.encodeRelative(dense);
    const broken = [
      () => storage.decodeBitMask(mask, 9),
      () => storage.decodeBitMask({ ...mask, bits: Uint8Array.of(7) }, 4),
      () => storage.decodeBitMask({ ...mask, bits: Uint8Array.of(1) }, 4),
      () => storage.decodeCSR({ ...csr, columns: Uint16Array.of(0, 2) }),
      () => storage.decodeCSR({ ...csr, rowStart: Uint32Array.of(0, 2, 1) }),
      () => storage.decodeCSR({ ...csr, rowStart: Uint32Array.of(0, 3, 2) }),
      () =>
        storage.decodeCSR({ ...csr, columnCount: 4, rowStart: Uint32Array.of(0, 2, 2), columns: Uint16Array.of(1, 1) }),
      () => storage.decodeRelative(relative, 2),
      () => storage.decodeRelative({ ...relative, gaps: new Uint8Array(9) }, 4),
    ];
    for (const decode of broken) expect(decode).toThrow(FormatError);
  });
});
