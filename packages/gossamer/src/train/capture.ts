import { check, type NDArray } from '@gossamer/tensor';
import type { Sparsifier, SparsifierState, Training } from '../sparsity/sparsifier.ts';
import { type Snapshot, snapshot } from './snapshot.ts';

/** Takes part in a training to keep the model as it is at one step, and changes nothing: a point to rewind to. */
export class Capture implements Sparsifier {
  readonly name = 'capture';
  readonly mask = undefined;
  readonly step: number;
  #taken: Snapshot | undefined;

  /** @param step optimiser steps before the moment; 0 is the start of the training */
  constructor(step: number) {
    check(Number.isInteger(step) && step >= 0, () => `Capture: step ${step}; expected a whole number from 0`);
    this.step = step;
  }

  /** The model at the step; undefined before it. */
  get taken(): Snapshot | undefined {
    return this.#taken;
  }

  async prepare(): Promise<void> {
    this.#taken = undefined;
  }

  async update({ model, step }: Training): Promise<void> {
    if (step === this.step) this.#taken = await snapshot(model);
  }

  state(): SparsifierState {
    const entries = Array.from(this.#taken ?? [], ([name, data]): [string, NDArray] => [
      name,
      { dtype: 'float32', shape: [data.length], data },
    ]);
    return { arrays: Object.fromEntries(entries), json: this.#taken !== undefined };
  }

  restore({ arrays, json }: SparsifierState): void {
    this.#taken = json
      ? new Map(Object.entries(arrays).map(([name, { data }]) => [name, data as Float32Array]))
      : undefined;
  }
}
