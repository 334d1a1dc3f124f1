import { check, type DType, FormatError, type NDArray, sizeOf } from '@gossamer/tensor';
import { type Zippable, zipSync } from 'fflate';
import { readZip } from './archive.ts';
import { ByteReader, joinBytes } from './bytes.ts';
import { decodeElements } from './elements.ts';
import { rowMajor } from './rows.ts';

const dtypes: Record<string, DType> = {
  f8: 'float64',
  f4: 'float32',
  f2: 'float16',
  i8: 'int64',
  i4: 'int32',
  i2: 'int16',
  i1: 'int8',
  u8: 'uint64',
  u4: 'uint32',
  u2: 'uint16',
  u1: 'uint8',
  b1: 'bool',
};
const codes = Object.fromEntries(Object.entries(dtypes).map(([code, dtype]) => [dtype, code]));

/** NumPy's type string without its byte order, e.g. `f4`, as an element type; undefined if it has none here. */
export const numpyType = (code: string): DType | undefined => dtypes[code];

/**
 * Reads a `.npy` file (NumPy enhancement proposal 1): any boolean, integer or real type, either byte order, C or Fortran
 * order (returned row-major). Objects, strings, complex and structured types are refused.
 */
export function readNpy(bytes: Uint8Array, name = 'npy'): NDArray {
  const reader = new ByteReader(bytes, name);
  if (reader.latin1(6, 'the magic') !== '\x93NUMPY') throw new FormatError(`${name}: not a .npy file: wrong magic`);
  const major = reader.u8('the version');
  reader.skip(1);
  if (major < 1 || major > 3) reader.fail(`format version ${major}, expected 1, 2 or 3`);
  const header = reader.latin1(major === 1 ? reader.u16() : reader.u32(), 'the header');
  const { dtype, order, fortran, shape } = parseHeader(header, reader);
  const data = decodeElements(reader, dtype, sizeOf(shape), order, `${dtype} [${shape}]`);
  if (reader.remaining > 0) reader.fail(`${reader.remaining} bytes follow ${dtype} [${shape}]`);
  return fortran ? rowMajor({ dtype, shape, data }) : { dtype, shape, data };
}

function parseHeader(header: string, reader: ByteReader) {
  const field = (key: string, value: string): string =>
    new RegExp(`['"]${key}['"]\\s*:\\s*(${value})\\s*[,}]`).exec(header)?.[1] ??
    reader.fail(`malformed header or a type that is not supported: no ${key} in ${header.trim()}`);
  const descr = field('descr', `['"][<>|=]?[a-zA-Z]\\d*['"]`).slice(1, -1);
  const dtype = dtypes[descr.replace(/^[<>|=]/, '')];
  if (dtype === undefined) reader.fail(`element type '${descr}' is not supported; convert it with numpy's astype`);
  const dims = field('shape', '\\((?:\\s*\\d+\\s*,?)*\\s*\\)').match(/\d+/g) ?? [];
  const shape = dims.map(Number);
  if (!Number.isSafeInteger(sizeOf(shape))) reader.fail(`shape [${shape}] is too large`);
  const order: 'big' | 'little' = descr.startsWith('>') ? 'big' : 'little';
  return { dtype, order, shape, fortran: field('fortran_order', 'True|False') === 'True' };
}

/** The bytes of a `.npy` file, version 1.0, little-endian. bfloat16 has no NumPy type: convert it first. */
export function writeNpy(array: NDArray): Uint8Array {
  const { dtype, shape, data } = array;
  const code = codes[dtype];
  check(code, `writeNpy: ${dtype} has no NumPy type; convert it to float32 first`);
  check(data.length === sizeOf(shape), `writeNpy: ${data.length} elements do not fill [${shape}]`);
  const order = code.endsWith('1') ? '|' : '<';
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const header = `{'descr': '${order}${code}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // Magic, version and length take 10 bytes; the data starts at a multiple of 64, and the header ends in a line feed.
  const padded = `${header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11)}\n`;
  const prefix = new Uint8Array([0x93, ...ascii('NUMPY'), 1, 0, padded.length & 0xff, padded.length >> 8]);
  return joinBytes([prefix, ascii(padded), new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
}

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Reads a `.npz` file: a zip of `.npy` files, by their names without `.npy`. */
export function readNpz(bytes: Uint8Array, name = 'npz'): Record<string, NDArray> {
  const arrays: Record<string, NDArray> = {};
  for (const entry of readZip(bytes, name)) {
    if (!entry.name.endsWith('.npy')) throw new FormatError(`${name}: ${entry.name} is no .npy file`);
    arrays[entry.name.slice(0, -4)] = readNpy(entry.bytes(), `${name}: ${entry.name}`);
  }
  return arrays;
}

/** The bytes of a `.npz` file that holds `arrays`; deflated as by `numpy.savez_compressed` unless `compress` is false. */
export function writeNpz(arrays: Record<string, NDArray>, compress = true): Uint8Array {
  const files: Zippable = {};
  for (const [key, array] of Object.entries(arrays)) files[`${key}.npy`] = writeNpy(array);
  // A fixed date: the same arrays make the same bytes.
  return zipSync(files, { level: compress ? 6 : 0, mtime: new Date(1980, 0, 1) });
}

/** The named arrays of an `.npz`, or a FormatError that lists what is there. */
export function expectArrays<K extends string>(
  arrays: Record<string, NDArray>,
  keys: readonly K[],
  name: string,
): Record<K, NDArray> {
  const missing = keys.filter(key => !(key in arrays));
  if (missing.length > 0) {
    throw new FormatError(`${name}: no array ${missing.join(', ')}; it holds ${Object.keys(arrays).join(', ')}`);
  }
  return arrays;
}
