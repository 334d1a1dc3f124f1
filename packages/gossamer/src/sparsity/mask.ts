import { check, GossamerError, type NDArray, sizeOf } from '@gossamer/tensor';
import type { Layer } from './layer.ts';

/** Which elements of one weight live: 1 or 0 for each. */
export interface LayerMask {
  readonly shape: readonly number[];
  readonly keep: Uint8Array;
}

/** Zeros and ones for a set of named weights. Immutable by convention: operations return new masks. */
export class Mask {
  readonly #layers = new Map<string, LayerMask>();
  /** Live elements by layer, counted once: a training asks at every step. */
  readonly #kept = new Map<string, number>();

  /** Takes the arrays as they are, after checking that they hold 0 and 1 only and fit their shapes. */
  constructor(layers: Iterable<readonly [name: string, mask: LayerMask]>) {
    for (const [name, { shape, keep }] of layers) {
      check(!this.#layers.has(name), () => `mask: layer ${name} appears twice`);
      check(
        sizeOf(shape) === keep.length,
        () => `mask of ${name}: shape [${shape.join(', ')}] does not describe ${keep.length} elements`,
      );
      for (let i = 0; i < keep.length; i++) {
        if (keep[i] > 1) throw new GossamerError(`mask of ${name}: element ${i} is ${keep[i]}; expected 0 or 1`);
      }
      this.#layers.set(name, { shape, keep });
      this.#kept.set(name, countOnes(keep));
    }
  }

  /** The dense mask. */
  static ones(layers: readonly Layer[]): Mask {
    return new Mask(
      layers.map(l => [l.name, { shape: l.shape, keep: new Uint8Array(l.values.length).fill(1) }] as const),
    );
  }

  /** The mask of what is not zero already. */
  static ofNonzeros(layers: readonly Layer[]): Mask {
    return new Mask(
      layers.map(({ name, shape, values }) => {
        const keep = new Uint8Array(values.length);
        for (let i = 0; i < keep.length; i++) keep[i] = values[i] === 0 ? 0 : 1;
        return [name, { shape, keep }] as const;
      }),
    );
  }

  /** Reads what {@link toArrays} gave, for instance from a safetensors file. */
  static fromArrays(arrays: Iterable<readonly [string, NDArray]>): Mask {
    return new Mask(
      Array.from(arrays, ([name, { dtype, shape, data }]) => {
        check(
          (dtype === 'bool' || dtype === 'uint8') && data instanceof Uint8Array,
          () => `mask of ${name}: element type ${dtype}; expected bool`,
        );
        return [name, { shape, keep: data }] as const;
      }),
    );
  }

  /** Named bool arrays, ready for a safetensors file. */
  toArrays(): Map<string, NDArray<Uint8Array>> {
    return new Map(
      Array.from(this.entries(), ([name, { shape, keep }]) => [name, { dtype: 'bool', shape, data: keep }] as const),
    );
  }

  entries(): MapIterator<[string, LayerMask]> {
    return this.#layers.entries();
  }

  get names(): string[] {
    return [...this.#layers.keys()];
  }

  has(name: string): boolean {
    return this.#layers.has(name);
  }

  /** The 0/1 array of a layer; an unknown name is refused. */
  get(name: string): Uint8Array {
    const found = this.#layers.get(name);
    check(found, () => this.#unknown(name));
    return found.keep;
  }

  #unknown(name: string): string {
    return `mask has no layer ${name}; it has ${this.names.join(', ')}`;
  }

  /** Live elements of a layer (an unknown name is refused), or of all. */
  kept(name?: string): number {
    if (name === undefined) return this.names.reduce((n, layer) => n + this.kept(layer), 0);
    const count = this.#kept.get(name);
    check(count !== undefined, () => this.#unknown(name));
    return count;
  }

  /** Elements of a layer, or of all. */
  size(name?: string): number {
    if (name !== undefined) return this.get(name).length;
    return this.names.reduce((n, layer) => n + this.get(layer).length, 0);
  }

  /** Share of live elements, 0…1. */
  density(name?: string): number {
    return this.kept(name) / this.size(name);
  }

  sparsity(name?: string): number {
    return 1 - this.density(name);
  }

  /** Sets the dead elements of `values` to exactly +0, whatever they were (−0, NaN), and leaves the others alone. */
  apply(name: string, values: Float32Array): void {
    const keep = this.get(name);
    check(
      values.length === keep.length,
      () => `mask of ${name} has ${keep.length} elements, the values ${values.length}`,
    );
    for (let i = 0; i < keep.length; i++) if (keep[i] === 0) values[i] = 0;
  }

  /** Live in both. */
  and(other: Mask): Mask {
    return this.#combine(other, (a, b) => a & b);
  }

  /** Live in either. */
  or(other: Mask): Mask {
    return this.#combine(other, (a, b) => a | b);
  }

  /** Live here and dead in the other. */
  minus(other: Mask): Mask {
    return this.#combine(other, (a, b) => a & ~b);
  }

  /** Whether every element that lives here lives in the other, too: whether this mask is nested in it. */
  isWithin(other: Mask): boolean {
    return this.minus(other).kept() === 0;
  }

  equals(other: Mask): boolean {
    return (
      this.#layers.size === other.#layers.size &&
      this.names.every(name => {
        const theirs = other.#layers.get(name);
        return theirs?.keep.length === this.size(name) && this.get(name).every((k, i) => k === theirs.keep[i]);
      })
    );
  }

  /** Jaccard overlap |A ∩ B| / |A ∪ B| of the live elements; 1 for two empty masks. */
  overlap(other: Mask): number {
    const either = this.or(other).kept();
    return either === 0 ? 1 : this.and(other).kept() / either;
  }

  #combine(other: Mask, op: (a: number, b: number) => number): Mask {
    check(
      this.#layers.size === other.#layers.size,
      () => `masks of different models: layers ${this.names.join(', ')} and ${other.names.join(', ')}`,
    );
    return new Mask(
      Array.from(this.entries(), ([name, { shape, keep }]) => {
        const theirs = other.get(name);
        check(
          theirs.length === keep.length,
          () => `masks of ${name} have ${keep.length} and ${theirs.length} elements`,
        );
        const out = new Uint8Array(keep.length);
        for (let i = 0; i < keep.length; i++) out[i] = op(keep[i], theirs[i]);
        return [name, { shape, keep: out }] as const;
      }),
    );
  }
}

/** How many elements of a 0/1 array are 1. */
export function countOnes(keep: Uint8Array): number {
  let n = 0;
  for (let i = 0; i < keep.length; i++) n += keep[i];
  return n;
}
