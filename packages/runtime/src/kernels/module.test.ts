import { describe, expect, it } from 'vitest';
import { instantiate, supports } from './module.ts';

describe('kernel modules', () => {
  it('are found by their features', () => {
    expect(supports('simd')).toBe(true);
    expect(supports('relaxed')).toBe(true);
  });

  it.each(['simd', 'relaxed'] as const)('%s runs on plain and on shared memory', async build => {
    for (const shared of [false, true]) {
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared });
      const kernels = await instantiate(build, memory);
      kernels.barrier(0, 1, 0, 0);
      expect([...new Int32Array(memory.buffer, 0, 2)]).toEqual([0, 1]);
    }
  });
});
