import { describe, expect, it } from 'vitest';
import { loadOperators } from './index.ts';

describe('loadOperators', () => {
  it('loads a rare operator when it is named, whatever its family', async () => {
    const all = await loadOperators();
    const common = await loadOperators(new Set());
    expect(Object.keys(all).length).toBeGreaterThan(190);
    for (const key of Object.keys(all)) expect(await loadOperators(new Set([key])), key).toHaveProperty([key]);
    expect(common).not.toHaveProperty('LSTM');
    expect(common).toHaveProperty('Conv');
  });
});
