import { describe, expect, it } from 'vitest';
import { cutText } from './text.ts';

describe('cutText', () => {
  it('cuts at fractions or just after the next separator, and loses nothing', () => {
    expect(cutText('0123456789', [0.5, 0.3, 0.2])).toEqual(['01234', '567', '89']);
    expect(cutText('aa;bb;cc;dd;', [0.5, 0.25, 0.25], ';')).toEqual(['aa;bb;cc;', 'dd;', '']);
    expect(cutText('abc', [0.5, 0.5], ';')).toEqual(['abc', '']);
    expect(cutText('a;b', [0.1, 0.1, 0.8], ';')).toEqual(['a;', 'b', '']);
  });
});
