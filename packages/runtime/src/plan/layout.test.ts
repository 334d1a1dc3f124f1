import { describe, expect, it } from 'vitest';
import { random } from '../testing.ts';
import { align, type Live, layout } from './layout.ts';

describe('layout', () => {
  it('lets a chain of equal layers live in two buffers', () => {
    const chain = Array.from({ length: 20 }, (_, i): Live => ({ bytes: 6400, first: i, last: i + 1 }));
    expect(layout(chain)).toBe(2 * 6400);
  });

  it('never overlaps buffers alive at the same time, and stays at or above the peak of live bytes', () => {
    for (let seed = 0; seed < 200; seed++) {
      const next = random(seed);
      const buffers = Array.from({ length: 40 }, (): Live => {
        const first = Math.floor(next() * 30);
        return { bytes: Math.floor(next() * 1000), first, last: first + Math.floor(next() * 8) };
      });
      const size = layout(buffers);
      let peak = 0;
      for (let t = 0; t < 40; t++) {
        const alive = buffers
          .filter(b => b.first <= t && t <= b.last && b.bytes > 0)
          .sort((a, b) => a.address! - b.address!);
        for (let i = 1; i < alive.length; i++)
          expect(alive[i].address).toBeGreaterThanOrEqual(alive[i - 1].address! + align(alive[i - 1].bytes));
        peak = Math.max(
          peak,
          alive.reduce((sum, b) => sum + align(b.bytes), 0),
        );
      }
      expect(size).toBeGreaterThanOrEqual(peak);
      expect(size).toBeLessThanOrEqual(peak * 1.5);
    }
  });
});
