import type { Batch } from '../src/data/dataset.ts';
import { DataLoader } from '../src/data/loader.ts';

/** Lets several trainings in one process make one step each, in turns, so that a change of the machine's load meets all. */
export class Turns {
  readonly #waiting = new Map<number, () => void>();
  readonly #taking: number[];
  #current = 0;

  constructor(count: number) {
    this.#taking = Array.from({ length: count }, (_, i) => i);
  }

  async take(i: number): Promise<void> {
    if (this.#taking[this.#current] === i) return;
    await new Promise<void>(resolve => this.#waiting.set(i, resolve));
  }

  /** Hands on to the next one. */
  pass(i: number): void {
    if (this.#taking[this.#current] !== i) return;
    this.#current = (this.#current + 1) % this.#taking.length;
    this.#wake();
  }

  leave(i: number): void {
    const at = this.#taking.indexOf(i);
    if (at < 0) return;
    const current = this.#taking[this.#current];
    this.#taking.splice(at, 1);
    // Who was next moves up to the place of the one that leaves.
    this.#current = current === i ? at : this.#taking.indexOf(current);
    if (this.#taking.length === 0) return;
    this.#current %= this.#taking.length;
    this.#wake();
  }

  #wake(): void {
    const next = this.#taking[this.#current];
    this.#waiting.get(next)?.();
    this.#waiting.delete(next);
  }
}

/** A loader that hands out a batch when it is its turn, and measures how long the step with it takes. */
export class TimedLoader extends DataLoader {
  readonly #turns: Turns;
  readonly #place: number;
  /** Milliseconds of each step. */
  readonly times: number[] = [];

  constructor(turns: Turns, place: number, ...rest: ConstructorParameters<typeof DataLoader>) {
    super(...rest);
    this.#turns = turns;
    this.#place = place;
  }

  override async *[Symbol.asyncIterator](): AsyncGenerator<Batch, void, undefined> {
    for await (const batch of super[Symbol.asyncIterator]()) {
      await this.#turns.take(this.#place);
      const start = performance.now();
      try {
        yield batch;
      } finally {
        // The next batch is asked for, or the training has ended.
        this.times.push(performance.now() - start);
        this.#turns.pass(this.#place);
      }
    }
  }
}
