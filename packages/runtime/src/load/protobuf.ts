/** The protobuf wire format, read without a schema compiler and without copies (protobuf.dev/programming-guides/encoding). */
import { FormatError } from '../errors.ts';

/** Wire types. Groups (3 and 4) are obsolete, ONNX never had them. */
export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const FIXED32 = 5;
type Wire = typeof VARINT | typeof FIXED64 | typeof BYTES | typeof FIXED32;

const WIRE_NAMES = ['a varint', '8 bytes', 'a length', 'a group', 'a group', '4 bytes'];

// A graph within a graph is three messages deeper: some 30 nested graphs.
const MAX_DEPTH = 100;

/** The range of a message that is read later. */
export interface Place {
  readonly start: number;
  readonly end: number;
}

/**
 * A cursor over one file. `message` calls back for each field; the callback takes the field's value with one of the
 * other methods, and what it does not take is skipped. Every read stays within the message; whatever violates the
 * format is a FormatError that names the message and the byte.
 */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #end: number;
  #wire = -1;
  #depth = 0;
  #what = 'file';
  /** The low and the high half of the 64-bit value that `int` or `words` read last. */
  low = 0;
  high = 0;

  constructor(bytes: Uint8Array) {
    // A plain array even when given a Buffer: its views become tensors.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#end = bytes.byteLength;
  }

  /** Position of the next byte. */
  get at(): number {
    return this.#at;
  }

  fail(message: string): never {
    throw new FormatError(`${this.#what} at byte ${this.#at}: ${message}`);
  }

  /** The whole file as one message. */
  file(what: string, visit: (field: number) => void): void {
    this.revisit({ start: 0, end: this.#bytes.byteLength }, what, visit);
  }

  /** The message in the current field. */
  message(what: string, visit: (field: number) => void): void {
    this.revisit(this.place(), what, visit);
  }

  /** The message at a place that was noted before. */
  revisit(place: Place, what: string, visit: (field: number) => void): void {
    const outer = { at: this.#at, end: this.#end, what: this.#what };
    if (++this.#depth > MAX_DEPTH) this.fail(`messages are nested more than ${MAX_DEPTH} deep`);
    this.#at = place.start;
    this.#end = place.end;
    this.#what = what;
    while (this.#at < place.end) {
      const tag = this.#varint();
      const field = tag >>> 3;
      if (field === 0 || this.high !== 0) this.fail('a field has no valid number: damaged, or no protobuf file');
      this.#wire = tag & 7;
      visit(field);
      if (this.#wire >= 0) this.#skip();
    }
    this.#depth--;
    this.#at = outer.at;
    this.#end = outer.end;
    this.#what = outer.what;
    this.#wire = -1;
  }

  /** Skips the message in the current field and says where it is. */
  place(): Place {
    this.#expect(BYTES);
    const length = this.#varint();
    const left = this.#end - this.#at;
    if (this.high !== 0 || length > left) {
      this.fail(`a length of ${this.high * 2 ** 32 + length} bytes where ${left} are left: truncated or damaged`);
    }
    const start = this.#at;
    this.#at += length;
    return { start, end: this.#at };
  }

  /** A view of the bytes in the current field. */
  bytes(): Uint8Array {
    const { start, end } = this.place();
    return this.#bytes.subarray(start, end);
  }

  string(): string {
    const { start, end } = this.place();
    // Names are short and ASCII: several times faster than a call of the decoder.
    if (end - start < 256) {
      const codes: number[] = [];
      let all = 0;
      for (let i = start; i < end; i++) {
        codes.push(this.#bytes[i]);
        all |= this.#bytes[i];
      }
      if (all < 128) return String.fromCharCode.apply(null, codes);
    }
    try {
      // A copy: the decoder refuses shared memory.
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.#bytes.slice(start, end));
    } catch {
      this.#at = start;
      this.fail('a string is not valid UTF-8');
    }
  }

  /** A signed 64-bit integer; beyond ±2⁵³ the nearest float64. */
  int(): number {
    this.words();
    return this.high * 2 ** 32 + this.low;
  }

  /** The same without rounding, into `low` (unsigned) and `high` (signed). */
  words(): void {
    this.#expect(VARINT);
    this.#varint();
  }

  float(): number {
    this.#expect(FIXED32);
    return this.#view.getFloat32(this.#advance(4), true);
  }

  double(): number {
    this.#expect(FIXED64);
    return this.#view.getFloat64(this.#advance(8), true);
  }

  /** Calls `visit` before each element of a repeated number, packed or not. */
  each(wire: Wire, visit: () => void): void {
    if (this.#wire !== BYTES) {
      visit();
      return;
    }
    const { start, end } = this.place();
    const outer = this.#end;
    this.#at = start;
    this.#end = end;
    while (this.#at < end) {
      this.#wire = wire;
      visit();
    }
    this.#end = outer;
  }

  /** The number of elements that `each` would visit; takes the field. */
  count(wire: Wire): number {
    if (this.#wire !== BYTES) {
      this.#expect(wire);
      this.#wire = wire;
      this.#skip();
      return 1;
    }
    const { start, end } = this.place();
    if (wire === VARINT) {
      let count = 0;
      for (let i = start; i < end; i++) if (this.#bytes[i] < 128) count++;
      return count;
    }
    const width = wire === FIXED32 ? 4 : 8;
    if ((end - start) % width !== 0) this.fail(`${end - start} bytes of packed numbers are no multiple of ${width}`);
    return (end - start) / width;
  }

  #expect(wire: Wire): void {
    if (this.#wire !== wire) this.fail(`expected ${WIRE_NAMES[wire]}, found ${WIRE_NAMES[this.#wire] ?? 'no field'}`);
    this.#wire = -1;
  }

  #advance(length: number): number {
    const at = this.#at;
    if (length > this.#end - at)
      this.fail(`${length} bytes expected, ${this.#end - at} are left: truncated or damaged`);
    this.#at += length;
    return at;
  }

  #skip(): void {
    const wire = this.#wire;
    if (wire === BYTES) this.place();
    else if (wire === VARINT) this.words();
    else if (wire === FIXED32 || wire === FIXED64) this.#advance(wire === FIXED32 ? 4 : 8);
    else this.fail(`wire type ${wire}: damaged, or no protobuf file`);
    this.#wire = -1;
  }

  /** Reads up to ten bytes of seven bits each into `low` and `high`; returns `low`. */
  #varint(): number {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.#at >= this.#end) this.fail('ends within a number: truncated or damaged');
      const byte = this.#bytes[this.#at++];
      const bits = byte & 127;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >> 4;
      } else high |= bits << (shift - 32);
      if (byte < 128) {
        this.high = high;
        return (this.low = low >>> 0);
      }
    }
    return this.fail('a number is longer than ten bytes: damaged');
  }
}
