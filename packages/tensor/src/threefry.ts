/**
 * Threefry-2x32-20, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
 * 1, 2, 3" (SC 2011): a keyed bijection of 64-bit counters whose outputs pass BigCrush. Integer arithmetic only, so the
 * words are the same on every platform.
 */

/** A 64-bit key as two unsigned words, low word first (the order of Random123). */
export type Key = readonly [number, number];

const PARITY = 0x1bd11bda;

/**
 * Writes the words of successive blocks into the first `length` places of `out`, two a block, from the 64-bit counter
 * `high`·2³² + `low` on. An odd length drops the last block's second word.
 */
export function threefryFill(key: Key, low: number, high: number, out: Uint32Array, length = out.length): void {
  const k0 = key[0] | 0;
  const k1 = key[1] | 0;
  const k2 = PARITY ^ k0 ^ k1;
  low |= 0;
  high |= 0;
  for (let i = 0; i < length; i += 2) {
    let a = (low + k0) | 0;
    let b = (high + k1) | 0;
    // Four rounds (add, rotate, xor), then a key injection; five times.
    b = ((b << 13) | (b >>> 19)) ^ (a = (a + b) | 0);
    b = ((b << 15) | (b >>> 17)) ^ (a = (a + b) | 0);
    b = ((b << 26) | (b >>> 6)) ^ (a = (a + b) | 0);
    b = ((b << 6) | (b >>> 26)) ^ (a = (a + b) | 0);
    a = (a + k1) | 0;
    b = (b + k2 + 1) | 0;
    b = ((b << 17) | (b >>> 15)) ^ (a = (a + b) | 0);
    b = ((b << 29) | (b >>> 3)) ^ (a = (a + b) | 0);
    b = ((b << 16) | (b >>> 16)) ^ (a = (a + b) | 0);
    b = ((b << 24) | (b >>> 8)) ^ (a = (a + b) | 0);
    a = (a + k2) | 0;
    b = (b + k0 + 2) | 0;
    b = ((b << 13) | (b >>> 19)) ^ (a = (a + b) | 0);
    b = ((b << 15) | (b >>> 17)) ^ (a = (a + b) | 0);
    b = ((b << 26) | (b >>> 6)) ^ (a = (a + b) | 0);
    b = ((b << 6) | (b >>> 26)) ^ (a = (a + b) | 0);
    a = (a + k0) | 0;
    b = (b + k1 + 3) | 0;
    b = ((b << 17) | (b >>> 15)) ^ (a = (a + b) | 0);
    b = ((b << 29) | (b >>> 3)) ^ (a = (a + b) | 0);
    b = ((b << 16) | (b >>> 16)) ^ (a = (a + b) | 0);
    b = ((b << 24) | (b >>> 8)) ^ (a = (a + b) | 0);
    a = (a + k1) | 0;
    b = (b + k2 + 4) | 0;
    b = ((b << 13) | (b >>> 19)) ^ (a = (a + b) | 0);
    b = ((b << 15) | (b >>> 17)) ^ (a = (a + b) | 0);
    b = ((b << 26) | (b >>> 6)) ^ (a = (a + b) | 0);
    b = ((b << 6) | (b >>> 26)) ^ (a = (a + b) | 0);
    out[i] = a + k2;
    if (i + 1 < length) out[i + 1] = b + k0 + 5;
    low = (low + 1) | 0;
    if (low === 0) high = (high + 1) | 0;
  }
}

/** One block: the two words that `key` turns `counter` into; all low word first. */
export function threefry(key: Key, counter: Key): Key {
  const out = new Uint32Array(2);
  threefryFill(key, counter[0], counter[1], out);
  return [out[0], out[1]];
}

/**
 * Hashes a name or a non-negative safe integer under `key` to the key of an independent stream: Threefry chained as
 * Davies–Meyer over 8-byte pieces, closed by the length and kind (so that `1` and `'1'`, `'a'` and `'a\0'` differ).
 */
export function deriveKey(key: Key, name: string | number): Key {
  const bytes = typeof name === 'string' ? new TextEncoder().encode(name) : integerBytes(name);
  const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
  padded.set(bytes);
  const view = new DataView(padded.buffer);
  // The tweak keeps derived keys apart from the words that the stream itself produces.
  let state: Key = [(key[0] ^ 0x9e3779b9) >>> 0, (key[1] ^ 0x7f4a7c15) >>> 0];
  for (let i = 0; i < padded.length; i += 8)
    state = absorb(state, view.getUint32(i, true), view.getUint32(i + 4, true));
  return absorb(state, bytes.length, typeof name === 'string' ? 1 : 2);
}

function absorb(state: Key, low: number, high: number): Key {
  const [a, b] = threefry(state, [low, high]);
  return [(a ^ low) >>> 0, (b ^ high) >>> 0];
}

function integerBytes(n: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, n % 2 ** 32, true);
  view.setUint32(4, Math.floor(n / 2 ** 32), true);
  return new Uint8Array(view.buffer);
}
