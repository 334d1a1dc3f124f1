import { describe, expect, it } from 'vitest';
import { detect, type Pattern, type Sparsity } from './pattern.ts';

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

/** What `detect` must find, element by element. */
function definition(weight: Float32Array, rows: number, cols: number): Sparsity {
  const at = (row: number, col: number) => weight[row * cols + col] !== 0;
  const nonzeros = weight.filter(w => w !== 0).length;
  const density = nonzeros / weight.length;
  const patterns: Pattern[] = [];
  for (const height of [16, 8, 4, 2]) {
    let fits = density < 1 && height / 2 < rows;
    for (let row = 0; row < rows; row++)
      for (let col = 0; col < cols; col++) fits &&= at(row, col) === at(row - (row % height), col);
    if (fits) patterns.push({ kind: 'block', rows: height });
  }
  for (const m of [4, 8, 16]) {
    let n = 0;
    for (let row = 0; row < rows; row++) {
      for (let first = 0; first < cols; first += m) {
        let found = 0;
        for (let col = first; col < Math.min(cols, first + m); col++) if (at(row, col)) found++;
        n = Math.max(n, found);
      }
    }
    if (n > 0 && n <= m / 2 && cols >= m && density >= (0.9 * n) / m) patterns.push({ kind: 'nm', n, m });
  }
  return { density, nonzeros, patterns: [...patterns, { kind: 'csr' }] };
}

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

  it('agrees with the definitions on random matrices of all patterns', () => {
    let state = 1;
    const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
    const seen = new Set<string>();
    for (let trial = 0; trial < 600; trial++) {
      const rows = 1 + Math.floor(random() * 20);
      const cols = 1 + Math.floor(random() * 40);
      const block = [1, 1, 2, 4, 8, 16][trial % 6];
      const [n, m] = [
        [1, 1],
        [2, 4],
        [1, 4],
        [4, 8],
        [8, 16],
      ][trial % 5];
      const share = random() < 0.5 ? 1 : random();
      const dense = new Float32Array(rows * cols);
      for (let row = 0; row < rows; row++) {
        for (let col = 0; col < cols; col++) {
          const kept = (col + Math.floor(row / block) + (col >> 2)) % m < n && random() < share;
          const above = row % block > 0 ? dense[(row - 1) * cols + col] : undefined;
          dense[row * cols + col] = above ?? (kept ? 1 : 0);
        }
      }
      const turned = dense.map((_, i) => dense[(i % rows) * cols + Math.floor(i / rows)]);
      const expected = definition(dense, rows, cols);
      for (const pattern of expected.patterns) seen.add(JSON.stringify(pattern));
      expect(detect({ weight: dense, rows, cols, rowStride: cols, colStride: 1 })).toEqual(expected);
      expect(detect({ weight: turned, rows, cols, rowStride: 1, colStride: rows })).toEqual(expected);
    }
    expect(seen.size).toBeGreaterThan(8);
  });
});
