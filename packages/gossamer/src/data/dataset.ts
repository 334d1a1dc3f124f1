import { check, type NDArray, Random } from '@gossamer/tensor';
import { concatRows, gatherRows, sliceRows } from './rows.ts';

/** Named arrays whose first axis counts the same samples, e.g. `{ inputs: [n, 3, 32, 32], labels: [n] }`. */
export type Batch = Record<string, NDArray>;

export interface SplitOptions {
  /** Which samples go where; default 0. */
  seed?: number;
  /** Name of an integer field (usually `labels`) whose classes every part has in the same proportion; default none. */
  stratify?: string;
}

/**
 * Samples by index. A subclass says how many there are and makes a batch of the ones asked for, at once or later
 * (from files); everything else follows. Views (`subset`, `take`, `split`, `map`) copy nothing.
 */
export abstract class Dataset<B extends Batch = Batch> {
  /** Number of samples. */
  abstract readonly length: number;

  /** The samples at `indices` (each in 0 … length − 1, repeats allowed), in that order. */
  abstract batch(indices: ArrayLike<number>): B | Promise<B>;

  /** One sample: each field without its first axis. */
  async get(index: number): Promise<B> {
    const row = await this.batch([index]);
    return mapFields(row, array => ({ ...array, shape: array.shape.slice(1) }));
  }

  /** All samples, as one batch. */
  async all(): Promise<B> {
    return this.batch(range(this.length));
  }

  /** A view of the samples at `indices`, in that order. */
  subset(indices: ArrayLike<number>): Dataset<B> {
    checkIndices(indices, this.length, 'subset');
    return new Subset(this, Int32Array.from(indices));
  }

  /** A view of the first `count` samples (all, if there are fewer). */
  take(count: number): Dataset<B> {
    return this.subset(range(Math.min(count, this.length)));
  }

  /**
   * Random disjoint parts, the same for the same seed. `parts` is one number for two parts (that one and the rest) or a
   * list. A number below 1 is a fraction of the samples, otherwise a count; a list may leave samples over.
   */
  async split(parts: number | readonly number[], options: SplitOptions = {}): Promise<Dataset<B>[]> {
    const counts = partSizes(parts, this.length);
    const order = new Random(options.seed ?? 0).fork('split').permutation(this.length);
    const classes = options.stratify === undefined ? null : await this.#labels(options.stratify);
    const dealt = classes ? dealByClass(order, classes) : order;
    let start = 0;
    return counts.map(count => this.subset(dealt.subarray(start, (start += count))));
  }

  async #labels(field: string): Promise<ArrayLike<number>> {
    const batch = await this.all();
    check(
      field in batch,
      () => `split: no field '${field}' to stratify by; fields are ${Object.keys(batch).join(', ')}`,
    );
    const { shape, dtype, data } = batch[field];
    check(
      shape.length === 1,
      () => `split: '${field}' must be one label a sample to stratify by, got ${dtype} [${shape}]`,
    );
    return Float64Array.from(data as Float64Array, Number);
  }

  /** A view whose batches are `transform`ed when they are made. */
  map<C extends Batch>(transform: (batch: B) => C | Promise<C>): Dataset<C> {
    return new Mapped(this, transform);
  }
}

/** Samples held in memory: the rows of `fields`. */
export class ArrayDataset<B extends Batch = Batch> extends Dataset<B> {
  readonly fields: Readonly<B>;
  readonly length: number;

  /** Throws a GossamerError unless all fields have the same, known number of rows. */
  constructor(fields: B) {
    super();
    const names = Object.keys(fields);
    check(names.length > 0, 'ArrayDataset: no fields given');
    this.length = fields[names[0]].shape[0];
    for (const name of names) {
      const { shape, data } = fields[name];
      check(shape.length > 0 && shape[0] === this.length, () => {
        return `ArrayDataset: '${name}' is [${shape}], expected ${this.length} rows as '${names[0]}' has`;
      });
      const size = shape.reduce((n, d) => n * d, 1);
      check(
        data.length === size,
        () => `ArrayDataset: '${name}' holds ${data.length} elements, [${shape}] needs ${size}`,
      );
    }
    this.fields = fields;
  }

  override batch(indices: ArrayLike<number>): B {
    checkIndices(indices, this.length, 'batch');
    return mapFields(this.fields as B, array => gatherRows(array, indices));
  }

  override async all(): Promise<B> {
    return { ...(this.fields as B) };
  }

  /** Samples [start, stop) in memory: views of the same arrays. */
  slice(start: number, stop = this.length): ArrayDataset<B> {
    check(
      0 <= start && start <= stop && stop <= this.length,
      () => `slice: [${start}, ${stop}) of ${this.length} samples`,
    );
    return new ArrayDataset(mapFields(this.fields as B, array => sliceRows(array, start, stop)));
  }

  /** The samples at `indices`, copied into arrays of their own. */
  gather(indices: ArrayLike<number>): ArrayDataset<B> {
    return new ArrayDataset(this.batch(indices));
  }
}

/** Samples of several sets with the same fields, one set after the other. */
export class ConcatDataset<B extends Batch = Batch> extends Dataset<B> {
  readonly length: number;
  readonly #parts: readonly Dataset<B>[];

  constructor(parts: readonly Dataset<B>[]) {
    super();
    check(parts.length > 0, 'ConcatDataset: no data sets given');
    this.#parts = parts;
    this.length = parts.reduce((n, part) => n + part.length, 0);
  }

  override async batch(indices: ArrayLike<number>): Promise<B> {
    checkIndices(indices, this.length, 'batch');
    const rows: Promise<B>[] = [];
    for (let i = 0; i < indices.length; ) {
      let [index, part] = [indices[i], 0];
      while (index >= this.#parts[part].length) index -= this.#parts[part++].length;
      // A run of samples from the same part is asked for at once.
      const run = [index];
      const start = indices[i] - index;
      const { length } = this.#parts[part];
      while (++i < indices.length && indices[i] >= start && indices[i] < start + length) run.push(indices[i] - start);
      rows.push(Promise.resolve(this.#parts[part].batch(run)));
    }
    const batches = await Promise.all(rows);
    return mapFields(batches[0], (_, name) => concatRows(batches.map(batch => batch[name])));
  }
}

class Subset<B extends Batch> extends Dataset<B> {
  readonly #source: Dataset<B>;
  readonly #indices: Int32Array;

  constructor(source: Dataset<B>, indices: Int32Array) {
    super();
    this.#source = source;
    this.#indices = indices;
  }

  get length(): number {
    return this.#indices.length;
  }

  override batch(indices: ArrayLike<number>): B | Promise<B> {
    checkIndices(indices, this.length, 'batch');
    return this.#source.batch(Int32Array.from(indices, i => this.#indices[i]));
  }
}

class Mapped<B extends Batch, C extends Batch> extends Dataset<C> {
  readonly #source: Dataset<B>;
  readonly #transform: (batch: B) => C | Promise<C>;

  constructor(source: Dataset<B>, transform: (batch: B) => C | Promise<C>) {
    super();
    this.#source = source;
    this.#transform = transform;
  }

  get length(): number {
    return this.#source.length;
  }

  override batch(indices: ArrayLike<number>): C | Promise<C> {
    const batch = this.#source.batch(indices);
    return batch instanceof Promise ? batch.then(this.#transform) : this.#transform(batch);
  }
}

/** The same change to every field of a batch. */
export function mapFields<B extends Batch>(batch: B, change: (array: NDArray, name: string) => NDArray): B {
  return Object.fromEntries(Object.entries(batch).map(([name, array]) => [name, change(array, name)])) as B;
}

const range = (length: number): Int32Array => Int32Array.from({ length }, (_, i) => i);

function checkIndices(indices: ArrayLike<number>, length: number, where: string): void {
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i];
    check(
      Number.isInteger(index) && index >= 0 && index < length,
      () => `${where}: index ${index} of ${length} samples`,
    );
  }
}

function partSizes(parts: number | readonly number[], length: number): number[] {
  const list = typeof parts === 'number' ? [parts] : parts;
  const sizes = list.map(part => (part < 1 ? Math.round(part * length) : part));
  const total = sizes.reduce((n, size) => n + size, 0);
  // Rounded fractions that add up to 1 may be one sample too many: the last part gives way.
  if (total > length && total - length < list.length && list.every(part => part < 1))
    sizes[sizes.length - 1] -= total - length;
  const valid =
    sizes.every(size => Number.isInteger(size) && size >= 0) && sizes.reduce((n, size) => n + size, 0) <= length;
  check(valid, () => `split: [${list}] of ${length} samples: give fractions below 1 or whole counts that fit`);
  return typeof parts === 'number' ? [sizes[0], length - sizes[0]] : sizes;
}

/**
 * Reorders `order` so that every run of it holds the classes in proportion: the r-th of a class's n samples
 * comes at (r + ½) / n of the way. Cutting it anywhere is then a stratified split, exact to one sample a class.
 */
function dealByClass(order: Int32Array, classes: ArrayLike<number>): Int32Array {
  const sizes = new Map<number, number>();
  for (const index of order) sizes.set(classes[index], (sizes.get(classes[index]) ?? 0) + 1);
  const seen = new Map<number, number>();
  const place = new Float64Array(order.length);
  for (const index of order) {
    const label = classes[index];
    const rank = seen.get(label) ?? 0;
    seen.set(label, rank + 1);
    place[index] = (rank + 0.5) / sizes.get(label)!;
  }
  return order.slice().sort((a, b) => place[a] - place[b] || classes[a] - classes[b]);
}
