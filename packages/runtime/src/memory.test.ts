import { describe, expect, it } from 'vitest';
import { RuntimeError } from './errors.ts';
import { Memory } from './memory.ts';
import { random } from './testing.ts';

describe('Memory', () => {
  it('gives aligned blocks that never overlap, and reuses what comes back', () => {
    const memory = new Memory(false);
    const next = random(1);
    const live: { address: number; bytes: number; mark: number }[] = [];
    let peak = 0;
    for (let i = 0; i < 2000; i++) {
      if (live.length > 20 || (live.length && next() < 0.4)) {
        const [block] = live.splice(Math.floor(next() * live.length), 1);
        const view = memory.view('uint8', block.address, block.bytes);
        expect(view.every(byte => byte === block.mark)).toBe(true);
        memory.free(block.address, block.bytes);
      } else {
        const bytes = 1 + Math.floor(next() * 20_000);
        const address = memory.allocate(bytes);
        expect(address % 64).toBe(0);
        const mark = i % 251;
        (memory.view('uint8', address, bytes) as Uint8Array).fill(mark);
        live.push({ address, bytes, mark });
      }
      peak = Math.max(
        peak,
        live.reduce((sum, { bytes }) => sum + bytes + 64, 0),
      );
    }
    expect(memory.bytes).toBeLessThan(2 * peak + 3 * 65536);
    for (const { address, bytes } of live) memory.free(address, bytes);
    // All of it is one block again.
    expect(memory.allocate(1)).toBe(65536);
  });

  it('puts bytes of views into larger buffers', () => {
    const memory = new Memory(false);
    const address = memory.put(Float32Array.of(1, 2, 3, 4).subarray(1, 3));
    expect([...memory.view('float32', address, 2)]).toEqual([2, 3]);
  });

  it('has one arena, which grows in place while it is the last block', () => {
    const memory = new Memory(false);
    const first = memory.arena(1000);
    expect(memory.arena(500)).toBe(first);
    expect(memory.arena(200_000)).toBe(first);
    expect(memory.bytes).toBeLessThan(65536 + 200_000 + 2 * 65536);
    expect(memory.allocate(64)).toBeGreaterThanOrEqual(first + 200_000);
  });

  it('moves the arena when something lies behind it, and gives its old place to others', () => {
    const memory = new Memory(false);
    const first = memory.arena(128_000);
    const behind = memory.allocate(64);
    const second = memory.arena(128_064);
    expect(second).toBeGreaterThan(behind);
    expect(memory.arena(0)).toBe(second);
    expect(memory.allocate(128_000)).toBe(first);
    // Growing sequences do not move it each time.
    expect(memory.arena(180_000)).toBe(second);
  });

  it('sees memory that has grown, also where it is shared', () => {
    for (const shared of [false, true]) {
      const memory = new Memory(shared);
      const before = memory.bytes;
      const address = memory.allocate(10 * 65536);
      expect(memory.bytes).toBeGreaterThan(before);
      expect(memory.view('float64', address, 10 * 8192).length).toBe(81_920);
    }
  });

  it('says how much is missing', () => {
    const memory = new Memory(false);
    expect(() => memory.allocate(2 ** 33)).toThrow(RuntimeError);
    expect(() => memory.allocate(2 ** 33)).toThrow('8192 MiB needed');
    expect(() => memory.arena(2 ** 60)).toThrow(/MiB needed/);
    // The failure took nothing.
    expect(memory.allocate(64)).toBe(65536);
  });
});
