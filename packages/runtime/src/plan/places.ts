/** Where values lie while a plan is built: buffers, who shares them, and how long they are needed. */
import type { Node } from '../load/graph.ts';
import { bytesOf, type Info, sizeOf } from '../values.ts';
import type { Address } from './emitter.ts';
import type { Live } from './layout.ts';

/** A buffer; `pending` counts the reads, of all values in it, that have not happened yet. */
type Shared = Live & { pending: number };

export interface Place {
  readonly buffer: Shared;
  readonly offset: number;
}

export class Places {
  /** Index of the node that is being planned. */
  now = 0;
  readonly buffers: Live[] = [];
  readonly #infos: ReadonlyMap<string, Info>;
  readonly #uses = new Map<string, number>();
  readonly #places = new Map<string, Place>();
  /** Inputs of a concatenation that are written in place: value → concatenation's output and byte offset. */
  readonly #parts = new Map<string, { whole: string; offset: number }>();

  /** @param results values that are read after the last node */
  constructor(infos: ReadonlyMap<string, Info>, nodes: readonly Node[], results: readonly string[]) {
    this.#infos = infos;
    const count = (name: string) => this.#uses.set(name, (this.#uses.get(name) ?? 0) + 1);
    for (const node of nodes) node.inputs.forEach(count);
    results.forEach(count);
    this.#concatenations(nodes);
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  /** Memory for the node at hand only. */
  scratch(bytes: number): Place {
    const buffer = { bytes, first: this.now, last: this.now, pending: 0 };
    this.buffers.push(buffer);
    return { buffer, offset: 0 };
  }

  /** The place of a value, which is needed now. */
  of(name: string): Place {
    const place = this.#places.get(name) ?? this.#make(name);
    place.buffer.first = Math.min(place.buffer.first, this.now);
    place.buffer.last = Math.max(place.buffer.last, this.now);
    return place;
  }

  #make(name: string): Place {
    const part = this.#parts.get(name);
    const whole = part && this.of(part.whole);
    const place = whole
      ? { buffer: whole.buffer, offset: whole.offset + part.offset }
      : this.scratch(this.#bytes(name));
    place.buffer.pending += this.#uses.get(name) ?? 0;
    this.#places.set(name, place);
    return place;
  }

  /** A value that is written before the first node and stays until after the last. */
  keep(name: string, last: number): void {
    const { buffer } = this.of(name);
    buffer.first = 0;
    buffer.last = last;
    buffer.pending = Number.POSITIVE_INFINITY;
  }

  /** `y` lies in `x`'s memory, from byte `offset` on. */
  alias(x: string, y: string, offset = 0): void {
    const place = this.of(x);
    place.buffer.pending += this.#uses.get(y) ?? 0;
    this.#places.set(y, { buffer: place.buffer, offset: place.offset + offset });
  }

  /** The node's output 0 takes over input `i`'s memory if that has its size and nothing else in it is read any more. */
  reuse(node: Node, i: number): void {
    const [x, y] = [node.inputs[i], node.outputs[0]];
    const place = this.#places.get(x);
    if (!place || this.#places.has(y) || this.#parts.has(y)) return;
    const own = node.inputs.filter(name => this.#places.get(name)?.buffer === place.buffer).length;
    // A smaller value is broadcast: its elements are read again after the first have been overwritten.
    const fits = [this.#bytes(x), place.buffer.bytes].every(bytes => bytes === this.#bytes(y));
    if (fits && place.buffer.pending === own) this.alias(x, y);
  }

  /** The node at hand has read its inputs. */
  done(node: Node): void {
    for (const name of node.inputs) {
      const place = this.#places.get(name);
      if (place) place.buffer.pending--;
    }
  }

  /** Whether `part` lies `offset` bytes after the start of `whole`. */
  contains(whole: string, part: string, offset: number): boolean {
    const [a, b] = [this.#places.get(part), this.of(whole)];
    return a?.buffer === b.buffer && a.offset === b.offset + offset;
  }

  #bytes(name: string): number {
    const { type, dims } = this.#infos.get(name)!;
    return sizeOf(dims) * bytesOf(type as 'float32');
  }

  /** Inputs of a concatenation along the outermost axis that counts are made where they belong. */
  #concatenations(nodes: readonly Node[]): void {
    const concatenations = nodes.filter(node => node.op === 'Concat' && node.domain === '');
    if (!concatenations.length) return;
    const made = new Set(nodes.flatMap(node => node.outputs));
    for (const { attributes, inputs, outputs } of concatenations) {
      const [whole] = outputs;
      const { type, dims } = this.#infos.get(whole)!;
      if (type !== 'float32') continue;
      const axis = ((attributes.axis as number) + dims.length) % dims.length;
      if (sizeOf(dims.slice(0, axis)) !== 1) continue;
      let offset = 0;
      for (const name of inputs) {
        if (made.has(name) && !this.#parts.has(name)) this.#parts.set(name, { whole, offset });
        offset += this.#bytes(name);
      }
    }
  }
}

/** Moves an address by the plan's arena. */
export const absolute = (address: Address, arena: number): number =>
  typeof address === 'number' ? address : arena + address.buffer.address! + address.offset;
