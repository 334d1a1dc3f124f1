import { check, FormatError, GossamerError } from '@gossamer/tensor';

// Sparse encodings of one weight. All are exact: every bit of every element comes back. Elements are stored unless they
// are +0 (−0 is stored, being different bits); a `keep` array stores its ones instead, zero or not, so that the mask
// comes back, too. Elements outside `keep` must be +0.

/** One bit per element, least significant first, and the stored values in order. */
export interface BitMask {
  readonly bits: Uint8Array;
  readonly values: Float32Array;
}

/** Compressed sparse rows: row r's entries are rowStart[r] … rowStart[r + 1] − 1. */
export interface CSR {
  readonly rowStart: Uint32Array;
  readonly columns: Uint16Array | Uint32Array;
  readonly values: Float32Array;
  readonly columnCount: number;
}

/**
 * Runs of zeros by relative index (Han et al. 2016, Deep Compression, §2): before each stored value a gap of 0…2^bits − 1
 * zeros, packed least significant bit first. A longer run is bridged by stored fillers of value 0.
 */
export interface RelativeIndex {
  readonly bits: number;
  readonly gaps: Uint8Array;
  readonly values: Float32Array;
}

export function encodeBitMask(dense: Float32Array, keep?: Uint8Array): BitMask {
  const at = storedPositions(dense, keep);
  const bits = new Uint8Array(Math.ceil(dense.length / 8));
  for (const i of at) bits[i >> 3] |= 1 << (i & 7);
  return { bits, values: gather(dense, at) };
}

/** @param length number of dense elements */
export function decodeBitMask({ bits, values }: BitMask, length: number): Float32Array {
  formatCheck(bits.length === Math.ceil(length / 8), `bit mask: ${bits.length} bytes for ${length} elements`);
  const dense = new Float32Array(length);
  let next = 0;
  for (let i = 0; i < length; i++) {
    if (((bits[i >> 3] >> (i & 7)) & 1) === 0) continue;
    formatCheck(next < values.length, `bit mask: more ones than the ${values.length} values`);
    dense[i] = values[next++];
  }
  formatCheck(next === values.length, `bit mask: ${next} ones but ${values.length} values`);
  return dense;
}

/** @param rows number of rows; the elements are row-major and must divide evenly. Columns take 2 bytes up to 65536 columns */
export function encodeCSR(dense: Float32Array, rows: number, keep?: Uint8Array): CSR {
  check(
    Number.isInteger(rows) && rows >= 1 && dense.length % rows === 0,
    () => `encodeCSR: ${dense.length} elements do not make ${rows} rows`,
  );
  const columnCount = dense.length / rows;
  const at = storedPositions(dense, keep);
  const columns = columnBytes(columnCount) === 2 ? new Uint16Array(at.length) : new Uint32Array(at.length);
  const rowStart = new Uint32Array(rows + 1);
  for (let e = 0; e < at.length; e++) {
    const row = Math.floor(at[e] / columnCount);
    columns[e] = at[e] - row * columnCount;
    rowStart[row + 1]++;
  }
  for (let r = 0; r < rows; r++) rowStart[r + 1] += rowStart[r];
  return { rowStart, columns, values: gather(dense, at), columnCount };
}

export function decodeCSR({ rowStart, columns, values, columnCount }: CSR): Float32Array {
  const rows = rowStart.length - 1;
  formatCheck(
    rows >= 1 && rowStart[0] === 0 && rowStart[rows] === values.length && columns.length === values.length,
    `CSR: ${rows} rows, ${columns.length} columns and ${values.length} values do not fit together`,
  );
  const dense = new Float32Array(rows * columnCount);
  for (let r = 0; r < rows; r++) {
    formatCheck(rowStart[r] <= rowStart[r + 1], `CSR: row ${r} ends before it starts`);
    for (let e = rowStart[r]; e < rowStart[r + 1]; e++) {
      const inOrder = columns[e] < columnCount && (e === rowStart[r] || columns[e] > columns[e - 1]);
      formatCheck(inOrder, `CSR: column ${columns[e]} of row ${r} is out of order or beyond ${columnCount}`);
      dense[r * columnCount + columns[e]] = values[e];
    }
  }
  return dense;
}

/** @param bits bits per gap, 1…16; the paper takes 5 for fully connected and 8 for convolution layers */
export function encodeRelative(dense: Float32Array, bits = 5, keep?: Uint8Array): RelativeIndex {
  const at = storedPositions(dense, keep);
  const entries = relativeEntries(at, bits);
  const gaps = new Uint8Array(Math.ceil((entries * bits) / 8));
  const values = new Float32Array(entries);
  const longest = 2 ** bits - 1;
  let entry = 0;
  const push = (gap: number, value: number) => {
    for (let b = 0; b < bits; b++) {
      const place = entry * bits + b;
      gaps[Math.floor(place / 8)] |= ((gap >> b) & 1) << (place % 8);
    }
    values[entry++] = value;
  };
  let next = 0;
  for (const i of at) {
    for (; i - next > longest; next += longest + 1) push(longest, 0);
    push(i - next, dense[i]);
    next = i + 1;
  }
  return { bits, gaps, values };
}

/** @param length number of dense elements */
export function decodeRelative({ bits, gaps, values }: RelativeIndex, length: number): Float32Array {
  formatCheck(
    gaps.length === Math.ceil((values.length * bits) / 8),
    `relative index: ${gaps.length} bytes for ${values.length} gaps of ${bits} bits`,
  );
  const dense = new Float32Array(length);
  let next = 0;
  for (let entry = 0; entry < values.length; entry++) {
    for (let b = 0; b < bits; b++) {
      const place = entry * bits + b;
      next += ((gaps[Math.floor(place / 8)] >> (place % 8)) & 1) << b;
    }
    formatCheck(next < length, `relative index: entry ${entry} lies beyond the ${length} elements`);
    dense[next++] = values[entry];
  }
  return dense;
}

/** Bytes that a weight of 4-byte values takes in each encoding, as the encoders above would make it. */
export interface StorageBytes {
  readonly dense: number;
  readonly bitmask: number;
  readonly csr: number;
  readonly relative: number;
}

/** Bytes in each encoding. `keep` as in the encoders; `rows` for CSR; `bits` for the relative index. */
export function storageBytes(dense: Float32Array, rows: number, keep?: Uint8Array, bits = 5): StorageBytes {
  const at = storedPositions(dense, keep);
  const entries = relativeEntries(at, bits);
  return {
    dense: 4 * dense.length,
    bitmask: 4 * at.length + Math.ceil(dense.length / 8),
    csr: (4 + columnBytes(dense.length / rows)) * at.length + 4 * (rows + 1),
    relative: 4 * entries + Math.ceil((entries * bits) / 8),
  };
}

const columnBytes = (columns: number) => (columns <= 65536 ? 2 : 4);

/** Entries of a relative index, fillers included. */
function relativeEntries(at: Uint32Array, bits: number): number {
  check(Number.isInteger(bits) && bits >= 1 && bits <= 16, () => `relative index: ${bits} bits per gap; expected 1…16`);
  let next = 0;
  let entries = 0;
  for (const i of at) {
    entries += Math.floor((i - next) / 2 ** bits) + 1;
    next = i + 1;
  }
  return entries;
}

function storedPositions(dense: Float32Array, keep?: Uint8Array): Uint32Array {
  check(
    !keep || keep.length === dense.length,
    () => `encode: a mask of ${keep?.length} elements for ${dense.length} values`,
  );
  const bits = new Uint32Array(dense.buffer, dense.byteOffset, dense.length);
  const at = new Uint32Array(dense.length);
  let count = 0;
  for (let i = 0; i < dense.length; i++) {
    if (keep ? keep[i] === 1 : bits[i] !== 0) at[count++] = i;
    else if (bits[i] !== 0) {
      throw new GossamerError(`encode: element ${i} is ${dense[i]} but masked; apply the mask first`);
    }
  }
  return at.slice(0, count);
}

/** Copies bits, so that NaN payloads survive. */
function gather(dense: Float32Array, at: Uint32Array): Float32Array {
  const bits = new Uint32Array(dense.buffer, dense.byteOffset, dense.length);
  const out = new Uint32Array(at.length);
  for (let e = 0; e < at.length; e++) out[e] = bits[at[e]];
  return new Float32Array(out.buffer);
}

function formatCheck(condition: boolean, message: string): asserts condition {
  if (!condition) throw new FormatError(message);
}
