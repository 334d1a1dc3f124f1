import { describe, expect, it } from 'vitest';
import { detect } from './pattern.ts';

const matrix = (rows: string[]) => ({
  weight: Float32Array.from(rows.join(''), c => (c === '.' ? 0 : 1)),
  rows: rows.length,
  cols: rows[0].length,
  rowStride: rows[0].length,
  colStride: 1,
});
const names = (rows: string[]) =>
  detect(matrix(rows)).patterns.map(p =>
    p.kind === 'block' ? `${p.rows}×1` : p.kind === 'nm' ? `${p.n}:${p.m}` : 'csr',
  );

describe('detect', () => {
  it('counts', () => {
    expect(detect(matrix(['x..x', '.x..']))).toMatchObject({ density: 3 / 8, nonzeros: 3 });
    expect(detect({ ...matrix(['x']), rows: 0 })).toMatchObject({ density: 1, nonzeros: 0 });
  });

  it('finds blocks of rows, with a smaller last one', () => {
    expect(names(['x.x.', 'x.x.', '.x..', '.x..'])).toEqual(['2×1', 'csr']);
    expect(names(['xxx.xx', 'xxx.xx', 'xxx.xx', 'xxx.xx', '.xxxxx', '.xxxxx'])).toEqual(['4×1', '2×1', 'csr']);
    expect(names(['xxx.xx', 'xxx.xx', 'xxx.xx', '.xxxxx'])).toEqual(['csr']);
    expect(names(['xxx.xx', '.xxxx.', '.xxxx.', 'xxx.xx'])).toEqual(['csr']);
    expect(names(['xx', 'xx'])).toEqual(['csr']);
    const tall = Array.from({ length: 32 }, (_, i) => (i < 16 ? 'xxx.x' : '.xxx.'));
    expect(names(tall)).toEqual(['16×1', '8×1', '4×1', '2×1', 'csr']);
  });

  it('finds N:M groups only where they are nearly full', () => {
    expect(names(['xx..x..x', '.xx.x.x.', 'x.x.x..x'])).toContain('2:4');
    expect(names(['xx..x..x', '.xx.x.x.', 'x.x.x..x'])).toContain('4:8');
    expect(names(['x....x..', '..x....x'])).toContain('1:4');
    expect(names(['xx......', '..x....x'])).not.toContain('2:4');
    expect(names(['xxx.x...', '..xx....'])).not.toContain('2:4');
  });

  it('reads strided weights', () => {
    const weight = Float32Array.of(1, 0, 1, 0, 0, 1, 0, 1);
    const stored = { weight, rows: 4, cols: 2, rowStride: 1, colStride: 4 };
    expect(detect(stored).patterns).toEqual([{ kind: 'csr' }]);
    expect(detect(stored).nonzeros).toBe(4);
  });
});
