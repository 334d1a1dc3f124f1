/** Threads that execute a program together: every one calls every kernel and takes its share. */
import { check, RuntimeError } from './errors.ts';
import type { Kernels } from './kernels/module.ts';
import type { Memory } from './memory.ts';

/** Control words (i32) at address 0 of the memory. The barrier has two: arrivals and its epoch. */
const BARRIER = 0;
/** Changes when there is a program to run. */
const GENERATION = 2;
/** The program: address (0: stop), number of words and of calls, and an id. */
const ADDRESS = 3;
const WORDS = 4;
const CALLS = 5;
const ID = 6;
/** 1 + the index of a call that failed on a worker. */
const FAILED = 7;
const CONTROL = 8;
/** Polls of a flag before a thread sleeps: some tens of microseconds, longer than most steps' imbalance. */
const SPINS = 20_000;

/** A kernel call with addresses resolved, without `(thread, threads)`. */
export interface Call {
  readonly kernel: string;
  readonly args: readonly number[];
}

/** Calls ready to run: on this thread as a list, for the others encoded in shared memory. */
export interface Program {
  readonly calls: readonly {
    readonly kernel: string;
    readonly run: (...args: number[]) => number;
    readonly args: readonly number[];
  }[];
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
function work({ module, memory, thread, threads, spins }: WorkerData, ready: () => void): void {
  type Calls = { run: (...args: number[]) => number; args: number[] }[];
  const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Kernels;
  const names = Object.keys(kernels).sort();
  const control = new Int32Array(memory.buffer, 0, 8);
  // By address; the id tells whether the program there is still the one that was decoded.
  const programs = new Map<number, { id: number; calls: Calls }>();
  const decode = (address: number, length: number): Calls => {
    // An engine may tell a thread late that another has grown the memory.
    while (memory.buffer.byteLength < address + length * 8);
    const words = new Float64Array(memory.buffer, address, length);
    const calls: Calls = [];
    for (let at = 0; at < length; at += 2 + words[at + 1]) {
      const args = [...words.subarray(at + 2, at + 2 + words[at + 1]), thread, threads];
      calls.push({ run: kernels[names[words[at]]], args });
    }
    return calls;
  };
  ready();
  for (let seen = 0; ; ) {
    kernels.awaitChange(8, seen, spins);
    seen = Atomics.load(control, 2);
    const [, , , address, length, count, id] = control;
    if (address === 0) return;
    let program = programs.get(address);
    if (program?.id !== id) programs.set(address, (program = { id, calls: decode(address >>> 0, length) }));
    for (let i = 0; i < count; i++) {
      try {
        program.calls[i].run(...program.calls[i].args);
      } catch {
        // The others wait at the barrier for this thread, whatever happened to it.
        control[7] = i + 1;
      }
      kernels.barrier(0, threads, spins, 1);
    }
  }
}

type Stop = () => void;

/** Starts a worker in Node or a browser; resolves when it has its instance. `lost` is called if it ends by itself later. */
async function start(data: WorkerData, lost: () => void): Promise<Stop> {
  if (typeof process !== 'undefined' && process.versions?.node) {
    const { Worker } = await import('node:worker_threads');
    // Neither `require` nor a static import works under every --input-type, which workers inherit.
    const source = `import('node:worker_threads').then(({ parentPort, workerData }) => (${work})(workerData, () => parentPort.postMessage(0)));`;
    const worker = new Worker(source, { eval: true, workerData: data });
    await new Promise<void>((resolve, reject) => {
      worker.once('message', () => resolve());
      worker.once('error', reject);
      worker.once('exit', () => reject(new Error('the worker ended')));
    });
    worker.on('error', lost).on('exit', lost);
    // A session that is not released must not keep the process alive.
    worker.unref();
    return () => void worker.terminate();
  }
  const source = `onmessage = e => (${work})(e.data, () => postMessage(0));`;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  try {
    const worker = new Worker(url);
    await new Promise<void>((resolve, reject) => {
      worker.onmessage = () => resolve();
      worker.onerror = event => reject(new Error(event.message));
      worker.postMessage(data);
    });
    worker.onerror = lost;
    return () => worker.terminate();
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Whether memory can be shared here: in Node always, in a page when it is cross-origin isolated. */
export const canShare = (): boolean =>
  typeof SharedArrayBuffer !== 'undefined' && (globalThis.crossOriginIsolated ?? true) === true;

export class Threads {
  readonly count: number;
  readonly #kernels: Kernels;
  readonly #names: Map<string, number>;
  readonly #memory: Memory;
  readonly #control: Int32Array;
  #stops: readonly Stop[] = [];
  #programs = 0;
  #lost = false;
  /** A browser's main thread may not sleep in a wait: it spins. */
  readonly #sleep = typeof document === 'undefined' ? 1 : 0;

  private constructor(kernels: Kernels, memory: Memory, threads: number) {
    this.#kernels = kernels;
    this.#names = new Map(
      Object.keys(kernels)
        .sort()
        .map((name, i) => [name, i]),
    );
    this.#memory = memory;
    this.#control = new Int32Array(memory.buffer, 0, CONTROL);
    this.count = threads;
  }

  /**
   * @param module the compiled kernels, for workers' own instances over the same memory
   * @throws RuntimeError when a worker does not start; those that did are stopped
   */
  static async create(kernels: Kernels, module: WebAssembly.Module, memory: Memory, threads: number): Promise<Threads> {
    const made = new Threads(kernels, memory, threads);
    const lost = () => {
      made.#lost = true;
    };
    const started = await Promise.allSettled(
      Array.from({ length: threads - 1 }, (_, i) =>
        start({ module, memory: memory.wasm, thread: i + 1, threads, spins: SPINS }, lost),
      ),
    );
    made.#stops = started.filter(result => result.status === 'fulfilled').map(result => result.value);
    const failed = started.find(result => result.status === 'rejected');
    if (failed) {
      made.release();
      throw new RuntimeError(`threads: a worker did not start (${failed.reason?.message}); try fewer threads`, {
        cause: failed.reason,
      });
    }
    return made;
  }

  /**
   * Makes calls runnable on all threads or on this one alone. For several threads they are also written to memory, until
   * the program is forgotten.
   */
  prepare(calls: readonly Call[], threads = this.count): Program {
    const prepared = calls.map(({ kernel, args }) => {
      const run = this.#kernels[kernel];
      if (!run) throw new Error(`kernels: there is no ${kernel}`);
      return { kernel, run, args: [...args, 0, threads] };
    });
    if (threads === 1 || calls.length === 0) return { calls: prepared, address: 0, words: 0, id: 0 };
    const words = calls.flatMap(({ kernel, args }) => [this.#names.get(kernel)!, args.length, ...args]);
    const address = this.#memory.put(Float64Array.from(words));
    return { calls: prepared, address, words: words.length, id: ++this.#programs };
  }

  /** Gives a program's memory back. */
  forget(program: Program): void {
    if (program.address) this.#memory.free(program.address, program.words * 8);
  }

  /**
   * Runs a program on its threads. `timed` is called with each call's index and milliseconds.
   *
   * @throws when a kernel fails on any thread; the program has then been run to its end all the same
   */
  run(program: Program, timed?: (index: number, ms: number) => void): void {
    const { calls } = program;
    if (calls.length === 0) return;
    check(!this.#lost, 'run: a worker thread has ended; create the session anew');
    const several = program.address !== 0;
    if (several) this.#signal(program);
    let error: unknown;
    for (let i = 0; i < calls.length; i++) {
      const { run, args } = calls[i];
      const begin = timed ? performance.now() : 0;
      try {
        run(...args);
      } catch (caught) {
        if (!several) throw caught;
        // The workers wait at the barrier.
        error ??= caught;
      }
      if (several) this.#kernels.barrier(BARRIER, this.count, SPINS, this.#sleep);
      timed?.(i, performance.now() - begin);
    }
    const failed = several ? Atomics.exchange(this.#control, FAILED, 0) : 0;
    if (error) throw error;
    check(failed === 0, () => `run: kernel ${calls[failed - 1].kernel} failed on a worker thread`);
  }

  #signal({ calls, address, words, id }: Program): void {
    const control = this.#control;
    control[ADDRESS] = address;
    control[WORDS] = words;
    control[CALLS] = calls.length;
    control[ID] = id;
    Atomics.add(control, GENERATION, 1);
    Atomics.notify(control, GENERATION);
  }

  release(): void {
    if (this.count > 1) this.#signal({ calls: [], address: 0, words: 0, id: 0 });
    for (const stop of this.#stops) stop();
  }
}
