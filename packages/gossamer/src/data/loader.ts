import { check, Random } from '@gossamer/tensor';
import type { Batch, Dataset } from './dataset.ts';
import type { Transform } from './transforms.ts';

export interface LoaderOptions {
  /** Samples a batch; default 64. */
  batchSize?: number;
  /** Visit the samples in a new random order each epoch; default false. */
  shuffle?: boolean;
  /** Decides order and augmentation; default 0. */
  seed?: number;
  /** Leave out a last, smaller batch; default false. */
  dropLast?: boolean;
  /** Applied to each batch in order; default none. */
  transforms?: readonly Transform[];
  /** Batches made ahead while the caller is busy; default 2, 0 for none. */
  prefetch?: number;
}

/** Where a loader stands: plain JSON. */
export interface LoaderState {
  readonly epoch: number;
  /** Batches of this epoch already handed out. */
  readonly position: number;
  readonly seed: number;
  readonly shuffle: boolean;
  readonly samples: number;
  readonly batchSize: number;
}

/**
 * Batches of a data set, one epoch for each `for await`. The n-th batch of an epoch, with its order and augmentation,
 * depends on (seed, epoch, n) alone, so a loader whose {@link state} is restored continues exactly as it would have.
 *
 * ```ts
 * const loader = new DataLoader(train, { batchSize: 128, shuffle: true, seed: 1, transforms: [randomCrop()] });
 * for (let epoch = 0; epoch < 10; epoch++) for await (const { inputs, labels } of loader) step(inputs, labels);
 * ```
 *
 * A loop that is left early stays where it was: the next one goes on with the next batch of the same epoch.
 */
export class DataLoader<B extends Batch = Batch> {
  readonly dataset: Dataset<B>;
  readonly options: Readonly<Required<LoaderOptions>>;
  #epoch = 0;
  #position = 0;

  constructor(dataset: Dataset<B>, options: LoaderOptions = {}) {
    const { batchSize = 64, shuffle = false, seed = 0, dropLast = false, transforms = [], prefetch = 2 } = options;
    check(Number.isInteger(batchSize) && batchSize > 0, () => `DataLoader: batchSize ${batchSize}, expected 1 or more`);
    check(Number.isInteger(prefetch) && prefetch >= 0, () => `DataLoader: prefetch ${prefetch}, expected 0 or more`);
    this.dataset = dataset;
    this.options = { batchSize, shuffle, seed, dropLast, transforms, prefetch };
    check(this.length > 0, () => `DataLoader: ${dataset.length} samples make no batch of ${batchSize}`);
  }

  /** Batches an epoch. */
  get length(): number {
    const { batchSize, dropLast } = this.options;
    const whole = this.dataset.length / batchSize;
    return dropLast ? Math.floor(whole) : Math.ceil(whole);
  }

  /** The epoch under way, or the next one between two loops. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Where the loader stands: after the batch last handed out, whatever has been made ahead. */
  get state(): LoaderState {
    const { seed, shuffle, batchSize } = this.options;
    return { epoch: this.#epoch, position: this.#position, seed, shuffle, samples: this.dataset.length, batchSize };
  }

  /** Continue from a saved state. Throws a GossamerError if it belongs to other data, another batch size, seed or order. */
  restore(state: LoaderState): void {
    const mine = this.state;
    for (const key of ['samples', 'batchSize', 'seed', 'shuffle'] as const) {
      check(state[key] === mine[key], () => `DataLoader: state has ${key} ${state[key]}, this loader ${mine[key]}`);
    }
    const valid = Number.isInteger(state.epoch) && state.epoch >= 0 && Number.isInteger(state.position);
    check(valid && state.position >= 0 && state.position <= this.length, () => {
      return `DataLoader: state at batch ${state.position} of epoch ${state.epoch}, expected 0…${this.length}`;
    });
    this.#epoch = state.epoch;
    this.#position = state.position;
  }

  /** The batch at `position` of `epoch`, whatever the loader's own place. */
  async batchAt(epoch: number, position: number): Promise<B> {
    return this.#make(this.#order(epoch), epoch, position);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<B, void, undefined> {
    const epoch = this.#epoch;
    const order = this.#order(epoch);
    const ahead: Job<B>[] = [];
    let next = this.#position;
    while (this.#position < this.length) {
      while (next < this.length && next <= this.#position + this.options.prefetch) {
        const position = next++;
        ahead.push(new Job(() => this.#make(order, epoch, position)));
      }
      const batch = await ahead.shift()!.result();
      for (const job of ahead) job.startSoon();
      this.#position++;
      yield batch;
    }
    this.#epoch++;
    this.#position = 0;
  }

  #order(epoch: number): Int32Array | null {
    const { shuffle, seed } = this.options;
    return shuffle ? new Random(seed).fork('order').fork(epoch).permutation(this.dataset.length) : null;
  }

  async #make(order: Int32Array | null, epoch: number, position: number): Promise<B> {
    const { batchSize, seed, transforms } = this.options;
    const start = position * batchSize;
    const length = Math.min(batchSize, this.dataset.length - start);
    const indices = Int32Array.from({ length }, (_, i) => order?.[start + i] ?? start + i);
    let batch: Batch = await this.dataset.batch(indices);
    for (const [place, transform] of transforms.entries()) {
      const random = new Random(seed).fork('transform').fork(place).fork(epoch);
      batch = await transform(batch, { indices, epoch, random });
    }
    return batch as B;
  }
}

// Outside Node there is no setImmediate; a zero timeout is the next best.
const later: (run: () => void) => void = globalThis.setImmediate ?? (run => setTimeout(run, 0));

/** Work that starts when its result is wanted or, once announced, as soon as the caller waits for something else. */
class Job<T> {
  readonly #make: () => Promise<T>;
  #started: Promise<T> | null = null;
  #announced = false;

  constructor(make: () => Promise<T>) {
    this.#make = make;
  }

  result(): Promise<T> {
    if (!this.#started) {
      this.#started = this.#make();
      // A failure is reported when the result is asked for, even if that is never.
      this.#started.catch(() => {});
    }
    return this.#started;
  }

  startSoon(): void {
    if (this.#announced) return;
    this.#announced = true;
    later(() => void this.result().catch(() => {}));
  }
}
