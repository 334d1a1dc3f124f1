import { bytesPerElement, type DType, type NDArray, sizeOf } from './dtype.ts';
import { check, FormatError } from './errors.ts';
import type { RandomAccess } from './files.ts';
import { float8Formats, isFloat8 } from './float8.ts';
import { isObject, parseJson, show } from './json.ts';

/** What a safetensors header says of one tensor. */
export interface TensorInfo {
  /** What `read` gives: float32 for the 8-bit floats, which it converts exactly. */
  readonly dtype: DType;
  /** The file's own name of the type, such as `BF16` or `F8_E4M3`. */
  readonly code: string;
  readonly shape: readonly number[];
  /** Where the data begins, in bytes from the start of the file (of its shard, if there are several). */
  readonly byteOffset: number;
  readonly byteLength: number;
}

export interface Header {
  readonly metadata: Readonly<Record<string, string>>;
  /** By name, in the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

/** The format's limit for a header, in bytes. */
export const maxHeaderBytes = 100_000_000;

/** The format's dtypes that have a typed array, in the order in which the reference implementation writes them. */
const codes = {
  uint64: 'U64',
  int64: 'I64',
  float64: 'F64',
  float32: 'F32',
  uint32: 'U32',
  int32: 'I32',
  bfloat16: 'BF16',
  float16: 'F16',
  uint16: 'U16',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
} as const satisfies Record<DType, string>;

const dtypes = Object.keys(codes) as DType[];
const dtypeOf: ReadonlyMap<unknown, DType> = new Map(dtypes.map(dtype => [codes[dtype], dtype]));
const writeRank: ReadonlyMap<DType, number> = new Map(dtypes.map((dtype, rank) => [dtype, rank]));

/**
 * Reads and checks the header of a safetensors file; the data is not touched. Refuses what the reference
 * implementation refuses (https://github.com/huggingface/safetensors#format): the data must cover the rest of the
 * file with no gap, overlap or surplus, and every tensor's length must follow from its shape and dtype.
 */
export async function readHeader(file: RandomAccess): Promise<Header> {
  const refuse = (what: string): never => {
    throw new FormatError(`${file.name}: ${what}`);
  };
  if (file.size < 8) refuse(`not a safetensors file: ${file.size} bytes, at least 8 expected`);
  const prefix = new Uint8Array(8);
  await file.read(0, prefix);
  const declared = new DataView(prefix.buffer).getBigUint64(0, true);
  if (declared > maxHeaderBytes) refuse(`header length ${declared} exceeds the format's limit of ${maxHeaderBytes}`);
  const length = Number(declared);
  if (8 + length > file.size) refuse(`truncated: header of ${length} bytes in a file of ${file.size} bytes`);

  const bytes = new Uint8Array(length);
  await file.read(8, bytes);
  if (bytes[0] !== 0x7b) refuse(`header does not begin with "{": not a safetensors file`);
  let json: unknown;
  try {
    json = parseJson(bytes);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    refuse(`header is not valid JSON: ${error.message}`);
  }
  const { __metadata__: metadata = {}, ...entries } = json as Record<string, unknown>;
  const tensors = Object.entries(entries).map(([name, entry]): [string, TensorInfo] => {
    if (!name.isWellFormed()) refuse(`tensor name ${show(name)} is not valid Unicode`);
    return [name, parseTensor(entry, 8 + length, what => refuse(`tensor ${show(name)}: ${what}`))];
  });
  tensors.sort(([, a], [, b]) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  checkCover(tensors, 8 + length, file);
  return { metadata: parseMetadata(metadata, refuse), tensors: new Map(tensors) };
}

type Refuse = (what: string) => never;

function parseTensor(entry: unknown, dataStart: number, refuse: Refuse): TensorInfo {
  if (!isObject(entry)) return refuse(`${show(entry)} is not an object with dtype, shape and data_offsets`);
  const { dtype: code, shape, data_offsets: offsets } = entry;
  const dtype = isFloat8(code) ? 'float32' : dtypeOf.get(code);
  if (dtype === undefined) {
    const known = [...Object.values(codes), ...float8Formats].join(', ');
    return refuse(`dtype ${show(code)} is not supported: ${known} are`);
  }
  if (!isCounts(shape)) return refuse(`shape ${show(shape)} is not a list of integers from 0 to 2⁵³ - 1`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    return refuse(`data_offsets ${show(offsets)} are not [begin, end] with 0 ≤ begin ≤ end`);
  }
  let expected = isFloat8(code) ? 1 : bytesPerElement(dtype);
  for (const d of shape) expected *= d;
  // A product that once left the exact range is Infinity, NaN or too large to equal a length within it.
  const byteLength = offsets[1] - offsets[0];
  if (expected !== byteLength) {
    refuse(`data_offsets ${show(offsets)} hold ${byteLength} bytes, but ${code} ${show(shape)} takes ${expected}`);
  }
  return { dtype, code: code as string, shape, byteOffset: dataStart + offsets[0], byteLength };
}

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every(n => Number.isSafeInteger(n) && n >= 0 && !Object.is(n, -0));

/** The tensors, sorted by offset, follow one another from the header's end to the file's end. */
function checkCover(tensors: readonly [string, TensorInfo][], dataStart: number, file: RandomAccess): void {
  let end = dataStart;
  for (const [name, { byteOffset, byteLength }] of tensors) {
    if (byteOffset !== end) {
      const flaw = byteOffset < end ? 'overlaps the tensor before it' : 'leaves a hole before it';
      throw new FormatError(
        `${file.name}: tensor ${show(name)} ${flaw}: its data begins at ${byteOffset - dataStart}, ` +
          `${end - dataStart} expected`,
      );
    }
    end = byteOffset + byteLength;
    if (end > file.size) {
      throw new FormatError(
        `${file.name}: tensor ${show(name)} ends at byte ${end} of a file of ${file.size}: truncated or offsets lie`,
      );
    }
  }
  if (end !== file.size) {
    throw new FormatError(`${file.name}: ${file.size - end} bytes after the last tensor's end at byte ${end}`);
  }
}

function parseMetadata(value: unknown, refuse: Refuse): Readonly<Record<string, string>> {
  if (!isObject(value)) return refuse(`__metadata__ is ${show(value)}, an object of strings expected`);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') refuse(`__metadata__ entry ${show(key)} is ${show(text)}, a string expected`);
  }
  return value as Record<string, string>;
}

/**
 * The first bytes of a file that holds `tensors`, and the tensors in the order of their data: by dtype, the widest
 * first, then by name, as the reference implementation writes them. Throws a GossamerError on a tensor whose data do
 * not fit its dtype and shape.
 */
export function encodeHeader(
  tensors: ReadonlyMap<string, NDArray>,
  metadata: Readonly<Record<string, string>>,
): { bytes: Uint8Array; ordered: NDArray[] } {
  const order = [...tensors].sort(
    ([a, x], [b, y]) => writeRank.get(x.dtype)! - writeRank.get(y.dtype)! || (a < b ? -1 : 1),
  );
  // A list of members, not an object: an object would put names like "0" first and trip over "__proto__".
  const members: string[] = [];
  const add = (key: string, value: unknown) => members.push(`${JSON.stringify(key)}:${JSON.stringify(value)}`);
  if (Object.keys(metadata).length > 0) add('__metadata__', metadata);
  let offset = 0;
  for (const [name, { dtype, shape }] of order) {
    const end = offset + sizeOf(shape) * bytesPerElement(dtype);
    add(name, { dtype: codes[dtype], shape, data_offsets: [offset, end] });
    offset = end;
  }
  const json = new TextEncoder().encode(`{${members.join(',')}}`);
  const length = Math.ceil(json.length / 8) * 8;
  check(
    length <= maxHeaderBytes,
    () => `safetensors: a header of ${length} bytes exceeds ${maxHeaderBytes}: use shards`,
  );
  const bytes = new Uint8Array(8 + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, 8);
  return { bytes, ordered: order.map(([, tensor]) => tensor) };
}
