/** Threads that execute a program together: every one calls every kernel and takes its share. */
import type { Kernels } from './kernels/module.ts';
import type { Memory } from './memory.ts';

/** Control words (i32) at address 0 of the memory. */
const ARRIVALS = 0;
const GENERATION = 2;
const PROGRAM = 3;
const LENGTH = 4;
const ID = 5;
/** Polls of a flag before a thread sleeps: some tens of microseconds, longer than most steps' imbalance. */
const SPINS = 20_000;

/** A kernel call with addresses resolved, without `(thread, threads)`. */
export interface Call {
  readonly kernel: string;
  readonly args: readonly number[];
}

/** Calls ready to run: on this thread as a list, for the others encoded in shared memory. */
export interface Program {
  readonly calls: readonly { readonly run: (...args: number[]) => number; readonly args: readonly number[] }[];
  readonly address: number;
  readonly words: number;
  readonly id: number;
}

interface WorkerData {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  thread: number;
  threads: number;
  spins: number;
}

/** The body of a worker. It is sent as source text, so it may use nothing from outside. */
function work(data: WorkerData, ready: () => void): void {
  const { module, memory, thread, threads, spins } = data;
  const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Kernels;
  const names = Object.keys(kernels).sort();
  const control = new Int32Array(memory.buffer, 0, 8);
  // By address; the id tells whether the program there is still the one that was decoded.
  const programs = new Map<number, { id: number; calls: { run: (...args: number[]) => number; args: number[] }[] }>();
  ready();
  for (let seen = 0; ; ) {
    kernels.awaitChange(8, seen, spins);
    seen = Atomics.load(control, 2);
    const address = control[3];
    if (address === 0) return;
    let program = programs.get(address);
    if (program?.id !== control[5]) {
      const words = new Float64Array(memory.buffer, address, control[4]);
      program = { id: control[5], calls: [] };
      for (let at = 0; at < words.length; at += 2 + words[at + 1]) {
        const args = [...words.subarray(at + 2, at + 2 + words[at + 1]), thread, threads];
        program.calls.push({ run: kernels[names[words[at]]], args });
      }
      programs.set(address, program);
    }
    for (const { run, args } of program.calls) {
      run(...args);
      kernels.barrier(0, threads, spins, 1);
    }
  }
}

type Stop = () => void;

/** Starts a worker in Node or a browser; resolves when it has its instance. */
async function start(data: WorkerData): Promise<Stop> {
  if (typeof process !== 'undefined' && process.versions?.node) {
    const { Worker } = await import('node:worker_threads');
    const source = `const { parentPort, workerData } = require('node:worker_threads');\n(${work})(workerData, () => parentPort.postMessage(0));`;
    const worker = new Worker(source, { eval: true, workerData: data });
    await new Promise<void>((resolve, reject) => {
      worker.once('message', () => resolve());
      worker.once('error', reject);
    });
    // A session that is not released must not keep the process alive.
    worker.unref();
    return () => void worker.terminate();
  }
  const source = `onmessage = e => (${work})(e.data, () => postMessage(0));`;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const worker = new Worker(url);
  await new Promise<void>((resolve, reject) => {
    worker.onmessage = () => resolve();
    worker.onerror = event => reject(new Error(event.message));
    worker.postMessage(data);
  });
  URL.revokeObjectURL(url);
  return () => worker.terminate();
}

/** Whether memory can be shared here: in Node always, in a page when it is cross-origin isolated. */
export const canShare = (): boolean =>
  typeof SharedArrayBuffer !== 'undefined' && (globalThis.crossOriginIsolated ?? true) === true;

export class Threads {
  readonly count: number;
  readonly #kernels: Kernels;
  readonly #names: Map<string, number>;
  readonly #memory: Memory;
  readonly #stops: Stop[];
  #programs = 0;
  /** A browser's main thread may not sleep in a wait: it spins. */
  readonly #sleep = typeof document === 'undefined' ? 1 : 0;

  private constructor(kernels: Kernels, memory: Memory, stops: Stop[]) {
    this.#kernels = kernels;
    this.#names = new Map(
      Object.keys(kernels)
        .sort()
        .map((name, i) => [name, i]),
    );
    this.#memory = memory;
    this.#stops = stops;
    this.count = stops.length + 1;
  }

  /** @param module the compiled kernels, for workers' own instances over the same memory */
  static async create(kernels: Kernels, module: WebAssembly.Module, memory: Memory, threads: number): Promise<Threads> {
    const stops = await Promise.all(
      Array.from({ length: threads - 1 }, (_, i) =>
        start({ module, memory: memory.wasm, thread: i + 1, threads, spins: SPINS }),
      ),
    );
    return new Threads(kernels, memory, stops);
  }

  /** Makes calls runnable; with several threads they are also written to permanent memory. */
  prepare(calls: readonly Call[]): Program {
    const prepared = calls.map(({ kernel, args }) => {
      const run = this.#kernels[kernel];
      if (!run) throw new Error(`kernels: there is no ${kernel}`);
      return { run, args: [...args, 0, this.count] };
    });
    if (this.count === 1 || calls.length === 0) return { calls: prepared, address: 0, words: 0, id: 0 };
    const words = Float64Array.from(
      calls.flatMap(({ kernel, args }) => [this.#names.get(kernel)!, args.length, ...args]),
    );
    const address = this.#memory.borrow(words.byteLength);
    this.#memory.view('float64', address, words.length).set(words as never);
    return { calls: prepared, address, words: words.length, id: ++this.#programs };
  }

  /** Gives a program's memory back. */
  forget(program: Program): void {
    if (program.address) this.#memory.giveBack(program.address, program.words * 8);
  }

  /** Runs a program on all threads. `timed` is called with each call's index and milliseconds. */
  run(program: Program, timed?: (index: number, ms: number) => void): void {
    const { calls } = program;
    if (calls.length === 0) return;
    const several = this.count > 1;
    if (several) this.#signal(program);
    for (let i = 0; i < calls.length; i++) {
      const { run, args } = calls[i];
      const begin = timed ? performance.now() : 0;
      run(...args);
      if (several) this.#kernels.barrier(ARRIVALS, this.count, SPINS, this.#sleep);
      timed?.(i, performance.now() - begin);
    }
  }

  #signal({ address, words, id }: Omit<Program, 'calls'>): void {
    const control = new Int32Array(this.#memory.buffer, 0, 8);
    control[PROGRAM] = address;
    control[LENGTH] = words;
    control[ID] = id;
    Atomics.add(control, GENERATION, 1);
    Atomics.notify(control, GENERATION);
  }

  release(): void {
    if (this.count > 1) this.#signal({ address: 0, words: 0, id: 0 });
    for (const stop of this.#stops) stop();
  }
}
