import { expect, it } from 'vitest';
import { loadExtensions } from './extensions.ts';
import type { Products } from './products.ts';

it('loads what a graph names, and nothing else', async () => {
  const lowered = async (...keys: string[]) => {
    const extensions = await loadExtensions(new Set(keys));
    return extensions.flatMap(extension => Object.keys(extension.lowerings({} as Products)));
  };
  expect(await lowered('Conv', 'Relu', 'MatMul')).toEqual([]);
  expect(await lowered('GRU', 'Conv')).toEqual(['LSTM', 'GRU']);
  expect(await lowered('MatMul', 'Softmax')).toContain('strided:Attention');
  expect(await lowered('com.microsoft:GroupQueryAttention')).toContain('com.microsoft:GroupQueryAttention');
});
