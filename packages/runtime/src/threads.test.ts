import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { unary } from './kernels/elementwise.ts';
import { compile, instantiate } from './kernels/module.ts';
import { Memory } from './memory.ts';
import type { Emitter } from './plan/emitter.ts';
import { type Call, Threads } from './threads.ts';

async function start(count: number) {
  const memory = new Memory(count > 1);
  const kernels = await instantiate('simd', memory.wasm);
  const module = await compile('simd', count > 1);
  return { memory, module, kernels, threads: await Threads.create(kernels, module, memory, count) };
}

/** y = 2·x + 1 and y = max(x, 0) as calls. */
function elementwise(name: 'linear' | 'relu', x: number, y: number, size: number): Call {
  const calls: Call[] = [];
  const step = (kernel: string, ...args: unknown[]) => calls.push({ kernel, args: args as number[] });
  unary({ step } as unknown as Emitter, name, { x, y, size, alpha: 2, beta: 1 });
  return calls[0];
}

describe('Threads', () => {
  it.each([1, 2, 3, 4])('%i run thousands of small programs of dependent steps', async count => {
    const { memory, threads } = await start(count);
    const size = 37;
    const [a, b] = [memory.allocate(size * 4), memory.allocate(size * 4)];
    const step = (x: number, y: number) => elementwise('linear', x, y, size);
    const programs = Array.from({ length: 20 }, (_, i) =>
      threads.prepare(Array.from({ length: 1 + (i % 5) }, () => [step(a, b), step(b, a)]).flat()),
    );
    for (let round = 0; round < 150; round++) {
      const program = programs[round % programs.length];
      const x = memory.view('float32', a, size) as Float32Array;
      x.forEach((_, i) => {
        x[i] = i / 8;
      });
      threads.run(program);
      const steps = program.calls.length;
      for (let i = 0; i < size; i++) expect(memory.view('float32', a, size)[i]).toBe((i / 8 + 1) * 2 ** steps - 1);
    }
    const timed: number[] = [];
    threads.run(programs[4], (i, ms) => {
      expect(ms).toBeGreaterThanOrEqual(0);
      timed.push(i);
    });
    expect(timed).toEqual(programs[4].calls.map((_, i) => i));
    threads.run(threads.prepare([]));
    threads.release();
  });

  it('several pools work side by side, on memory that grows after they started', async () => {
    const pools = await Promise.all([start(2), start(3), start(2)]);
    for (let round = 0; round < 60; round++) {
      for (const { memory, threads } of pools) {
        const size = 1000 + round;
        // Each program lies in memory that the workers have not seen yet.
        const x = memory.allocate(70_000);
        const y = memory.allocate(size * 4);
        (memory.view('float32', x, size) as Float32Array).fill(-round);
        const program = threads.prepare([elementwise('relu', x, y, size)]);
        threads.run(program);
        expect(memory.view('float32', y, size).every(v => v === 0)).toBe(true);
        if (round % 2) threads.forget(program);
      }
    }
    for (const { threads } of pools) threads.release();
  });

  it('uses the place of a forgotten program for another', async () => {
    const { memory, threads } = await start(2);
    const [x, y] = [memory.allocate(256), memory.allocate(256)];
    for (let i = 0; i < 200; i++) {
      (memory.view('float32', x, 64) as Float32Array).fill(i);
      const length = 1 + (i % 64);
      (memory.view('float32', y, 64) as Float32Array).fill(-1);
      const program = threads.prepare([elementwise('relu', x, y, length)]);
      threads.run(program);
      expect([...memory.view('float32', y, 64)]).toEqual(Array.from({ length: 64 }, (_, k) => (k < length ? i : -1)));
      threads.forget(program);
    }
    expect(memory.bytes).toBeLessThan(4 * 65536);
    threads.release();
  });

  it('reports a kernel that fails, on any thread, and goes on', async () => {
    for (const count of [1, 2, 3]) {
      const { memory, threads } = await start(count);
      const x = memory.allocate(4096);
      const beyond = 0x7fff0000;
      const good = elementwise('relu', x, x, 1024);
      const bad = threads.prepare([good, elementwise('relu', x, beyond, 1024), good]);
      expect(() => threads.run(bad)).toThrow();
      const fine = threads.prepare([good]);
      (memory.view('float32', x, 1024) as Float32Array).fill(-1);
      threads.run(fine);
      expect(memory.view('float32', x, 1024).every(v => v === 0)).toBe(true);
      threads.release();
    }
  });

  it('names a kernel that does not exist', async () => {
    const { threads } = await start(1);
    expect(() => threads.prepare([{ kernel: 'nothing', args: [] }])).toThrow('there is no nothing');
  });

  it('fails, and stops what it started, when workers have no instance', async () => {
    const { memory, kernels, module } = await start(1);
    // This module wants unshared memory, workers cannot be given that.
    await expect(Threads.create(kernels, module, memory, 3)).rejects.toThrow(
      /a worker did not start|could not be cloned/,
    );
  });

  it('lets the process end, released or not, idle or not', async () => {
    const url = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);
    const script = `
      import { compile, instantiate } from ${url('./kernels/module.ts')};
      import { Memory } from ${url('./memory.ts')};
      import { Threads } from ${url('./threads.ts')};
      for (const count of [2, 4]) {
        const memory = new Memory(true);
        const threads = await Threads.create(await instantiate('simd', memory.wasm), await compile('simd', true), memory, count);
        const x = memory.allocate(256);
        for (let i = 0; i < 50; i++) threads.run(threads.prepare([{ kernel: 'unary', args: [0, x, x, 64, 1, 1] }]));
      }
      await new Promise(resolve => setTimeout(resolve, 100));
      console.log('done');`;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--no-warnings', '--input-type=module-typescript', '--eval', script],
      { timeout: 20_000, cwd: fileURLToPath(new URL('.', import.meta.url)) },
    );
    expect(stdout.trim()).toBe('done');
  });
});
