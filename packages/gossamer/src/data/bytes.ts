import { FormatError } from '@gossamer/tensor';

/** Reads numbers and bytes in order from a buffer; every read past the end is a {@link FormatError} that names the file. */
export class ByteReader {
  readonly bytes: Uint8Array;
  readonly name: string;
  offset = 0;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, name: string) {
    this.bytes = bytes;
    this.name = name;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.bytes.length - this.offset;
  }

  fail(message: string): never {
    throw new FormatError(`${this.name}: ${message}`);
  }

  /** Moves past `count` bytes and returns where they start. */
  skip(count: number, what = 'data'): number {
    if (!(count >= 0 && count <= this.remaining)) {
      this.fail(`truncated: ${what} needs ${count} bytes at offset ${this.offset}, ${this.remaining} are left`);
    }
    const start = this.offset;
    this.offset += count;
    return start;
  }

  /** The next `count` bytes, a view. */
  take(count: number, what?: string): Uint8Array {
    const start = this.skip(count, what);
    return this.bytes.subarray(start, start + count);
  }

  u8(what?: string): number {
    return this.#view.getUint8(this.skip(1, what));
  }

  u16(what?: string): number {
    return this.#view.getUint16(this.skip(2, what), true);
  }

  u32(what?: string): number {
    return this.#view.getUint32(this.skip(4, what), true);
  }

  i32(what?: string): number {
    return this.#view.getInt32(this.skip(4, what), true);
  }

  f64be(what?: string): number {
    return this.#view.getFloat64(this.skip(8, what), false);
  }

  u32be(what?: string): number {
    return this.#view.getUint32(this.skip(4, what), false);
  }

  /** `count` bytes as Latin-1 text: one character a byte. */
  latin1(count: number, what?: string): string {
    return latin1(this.take(count, what));
  }

  /** The text before the next line feed, which is consumed. */
  line(what = 'a line'): string {
    const end = this.bytes.indexOf(10, this.offset);
    if (end < 0) this.fail(`truncated: ${what} at offset ${this.offset} does not end`);
    const text = this.latin1(end - this.offset);
    this.offset = end + 1;
    return text;
  }
}

/** Bytes as text, one character a byte. */
export function latin1(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return text;
}

/** UTF-8 bytes as text; malformed UTF-8 is a {@link FormatError}. */
export function utf8(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new FormatError(`${name}: not UTF-8 text`);
  }
}

/** One array that holds `parts` end to end. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0];
  const joined = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}
