import { describe, expect, it } from 'vitest';
import { bar, clock, fit, quantity, table, textWidth } from './text.ts';

describe('text', () => {
  it('shortens numbers to three digits and a suffix', () => {
    const cases = [0, 0.25, 7, 7.5, 999, 1000, 1234, 999_499, 999_996, 12_345_678, 4e9, 2.5e15, -1234];
    expect(cases.map(quantity).join(', ')).toBe(
      '0, 0.25, 7, 7.50, 999, 1.00 k, 1.23 k, 999 k, 1.00 M, 12.3 M, 4.00 G, 2500 T, -1.23 k',
    );
  });

  it('writes times as clocks do', () => {
    expect([0, 7.4, 59.6, 754, 3723, Number.POSITIVE_INFINITY].map(clock)).toEqual([
      '0:00',
      '0:07',
      '1:00',
      '12:34',
      '1:02:03',
      '–:––',
    ]);
  });

  it('draws bars in eighths, with something to see of any positive share', () => {
    expect([0, 1e-9, 0.5, 0.53, 1, 2].map(s => bar(s, 4))).toEqual(['····', '▏···', '██··', '██▏·', '████', '████']);
  });

  it('counts columns and cuts to them', () => {
    expect(['naïve', 'nai\u0308ve', '層', '🙂', '█▌'].map(textWidth)).toEqual([5, 5, 2, 2, 2]);
    expect(fit('weights', 7)).toBe('weights');
    expect(fit('weights', 6)).toBe('weigh…');
    expect(fit('層層層', 5)).toBe('層層…');
    expect(fit('層層層', 4)).toBe('層…');
  });

  it('aligns numbers right and words left, by columns of the terminal', () => {
    const text = table(
      ['layer', 'size', { head: 'note', align: 'right' }],
      [['層', '1.5 k', 'a'], null, ['total', '10', '']],
    );
    expect(text.split('\n')).toEqual([
      'layer   size  note',
      '──────────────────',
      '層     1.5 k     a',
      '──────────────────',
      'total     10',
    ]);
  });
});
