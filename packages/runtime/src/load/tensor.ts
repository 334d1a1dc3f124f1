/** TensorProto → Value. */
import { FormatError, RuntimeError, UnsupportedError } from '../errors.ts';
import { arrayOf, bytesOf, type DataType, type NumericArray, sizeOf, type Value } from '../values.ts';
import { type External, type ExternalRange, parseRange } from './external.ts';
import { FIXED32, FIXED64, type Place, Reader, VARINT } from './protobuf.ts';

type Numeric = Exclude<DataType, 'string'>;

/** Element types by their number in the format; null where this runtime has none. */
const TYPES: readonly (readonly [name: string, type: DataType | null, bits?: number])[] = [
  ['undefined', null],
  ['float32', 'float32'],
  ['uint8', 'uint8'],
  ['int8', 'int8'],
  ['uint16', 'uint16'],
  ['int16', 'int16'],
  ['int32', 'int32'],
  ['int64', 'int64'],
  ['string', 'string'],
  ['bool', 'bool'],
  ['float16', 'float16'],
  ['float64', 'float64'],
  ['uint32', 'uint32'],
  ['uint64', 'uint64'],
  ['complex64', null],
  ['complex128', null],
  ['bfloat16', 'bfloat16'],
  ['float8e4m3fn', null],
  ['float8e4m3fnuz', null],
  ['float8e5m2', null],
  ['float8e5m2fnuz', null],
  // Packed in the file, one byte each in memory.
  ['uint4', 'uint8', 4],
  ['int4', 'int8', 4],
  ['float4e2m1', null],
  ['float8e8m0', null],
  ['uint2', 'uint8', 2],
  ['int2', 'int8', 2],
  ['float6e2m3', null],
  ['float6e3m2', null],
];

/**
 * The element type with a number of the format; `where` names its owner in errors. Types below 8 bits are those of
 * constants only: `stored`.
 */
export function dataType(code: number, where: string, stored = true): DataType {
  const [name, type, bits] = TYPES[code] ?? TYPES[0];
  if (type && (stored || !bits)) return type;
  if (name === 'undefined') throw new FormatError(`${where}: unknown element type ${code}`);
  throw new UnsupportedError(`${where}: element type ${name} is not supported; convert it to float32 or float16`);
}

/** The product of the dimensions; fails unless each is ≥ 0 and the product is an exact number. */
export function checkDims(dims: readonly number[], where: string): number {
  // Without the zeros: 2⁴⁰ × 2⁴⁰ × 0 elements are not plausible either.
  const size = sizeOf(dims.filter(dim => dim !== 0));
  if (dims.some(dim => dim < 0) || size > Number.MAX_SAFE_INTEGER || dims.length > 64) {
    throw new FormatError(`${where}: impossible shape [${dims.slice(0, 8).join(', ')}${dims.length > 8 ? ', …' : ''}]`);
  }
  return dims.includes(0) ? 0 : size;
}

export interface TensorOptions {
  readonly external?: External;
  /** The file's bytes are ours to overwrite: misaligned data is moved in place by a few bytes, not copied. */
  readonly owned?: boolean;
}

/** What a TensorProto says before its numbers are read. */
export interface TensorHeader {
  readonly name: string;
  readonly place: Place;
  readonly code: number;
  readonly dims: readonly number[];
  /** Elements in each typed field, by field number. */
  readonly counts: Readonly<Record<number, number>>;
  readonly raw?: Uint8Array;
  /** Bytes of this message in front of `raw`: read, and of no more use. */
  readonly room: number;
  readonly external?: ReadonlyMap<string, string>;
}

const STRING_DATA = 6;
const TYPED_FIELDS: Readonly<Record<number, typeof VARINT | typeof FIXED32 | typeof FIXED64>> = {
  4: FIXED32,
  5: VARINT,
  7: VARINT,
  10: FIXED64,
  11: VARINT,
};
/** The field with a type's numbers when they are not raw; the types that are not here share int32_data. */
const FIELD_OF: Partial<Record<DataType, number>> = { float32: 4, int64: 7, float64: 10, uint32: 11, uint64: 11 };

/** Reads all but the numbers of the tensor at a place. */
export function tensorHeader(reader: Reader, place: Place): TensorHeader {
  const dims: number[] = [];
  const counts: Record<number, number> = {};
  const entries = new Map<string, string>();
  let name = '';
  let code = 0;
  let raw: Uint8Array | undefined;
  let room = 0;
  let isExternal = false;
  reader.revisit(place, 'TensorProto', field => {
    const wire = TYPED_FIELDS[field];
    if (wire !== undefined) counts[field] = (counts[field] ?? 0) + reader.count(wire);
    else if (field === 1) reader.each(VARINT, () => dims.push(reader.int()));
    else if (field === 2) code = reader.int();
    else if (field === 3) reader.fail('tensors stored in segments are not supported');
    else if (field === STRING_DATA) counts[STRING_DATA] = (counts[STRING_DATA] ?? 0) + 1;
    else if (field === 8) name = reader.string();
    else if (field === 9) {
      raw = reader.bytes();
      room = reader.at - raw.length - place.start;
    } else if (field === 13) {
      let key = '';
      let value = '';
      reader.message('external_data', entry => {
        if (entry === 1) key = reader.string();
        else if (entry === 2) value = reader.string();
      });
      entries.set(key, value);
    } else if (field === 14) isExternal = reader.int() === 1;
  });
  return { name, place, code, dims, counts, raw, room, external: isExternal ? entries : undefined };
}

/** The bytes that a tensor takes in a file, raw. */
function storedBytes({ code, dims }: TensorHeader, where: string): number {
  const type = dataType(code, where);
  if (type === 'string') throw new FormatError(`${where}: strings cannot be stored as raw or external data`);
  return Math.ceil((checkDims(dims, where) * (TYPES[code][2] ?? bytesOf(type) * 8)) / 8);
}

/** Where the bytes of a tensor with external data lie. */
export const externalRange = (header: TensorHeader, where: string): ExternalRange =>
  parseRange(header.external!, storedBytes(header, where), where);

/**
 * The tensor of a header: a view of the file where alignment allows it. Nothing is allocated before the numbers that
 * fill it are known to exist. `where` names the tensor in errors.
 */
export function tensorValue(reader: Reader, header: TensorHeader, where: string, options: TensorOptions): Value {
  const { code, dims, counts } = header;
  const type = dataType(code, where);
  const size = checkDims(dims, where);
  const typed = Object.values(counts).reduce((sum, count) => sum + count, 0);
  if (type === 'string' && !header.external && !header.raw?.length) {
    expectCount(typed === counts[STRING_DATA] ? typed : 0, size, where);
    const strings: string[] = [];
    reader.revisit(header.place, 'TensorProto', field => {
      if (field === STRING_DATA) strings.push(reader.string());
    });
    return { type, dims, data: strings };
  }
  const numeric = type as Numeric;
  const bits = TYPES[code][2];
  const isRaw = header.external !== undefined || (header.raw?.length ?? 0) > 0;
  if (isRaw && typed > 0) throw new FormatError(`${where}: its data is given twice`);
  let data: NumericArray;
  if (isRaw) {
    const length = storedBytes(header, where);
    const bytes = header.external ? outside(header, where, options) : header.raw!;
    if (bytes.length !== length) {
      throw new FormatError(`${where}: ${bytes.length} bytes of data, ${type} [${dims.join(', ')}] takes ${length}`);
    }
    const room = options.owned && !header.external ? header.room : 0;
    data = bits ? unpack(bytes, size, bits, type === 'int8') : view(bytes, numeric, size, room);
  } else {
    const stored = bits ? Math.ceil((size * bits) / 8) : size;
    const field = FIELD_OF[type] ?? 5;
    expectCount(counts[field] ?? 0, stored, where);
    data = numbers(reader, header.place, field, bits ? 'uint8' : numeric, stored);
    if (bits) data = unpack(data as Uint8Array, size, bits, type === 'int8');
  }
  // A byte that is neither 0 nor 1 would be true here and something else there.
  if (type === 'bool' && (data as Uint8Array).some(value => value > 1))
    data = (data as Uint8Array).map(value => Number(value !== 0));
  return { type, dims, data };
}

/** A file that holds a single TensorProto, as the test data of ONNX does. */
export function parseTensor(bytes: Uint8Array, options: TensorOptions = {}): { name: string; value: Value } {
  const reader = new Reader(bytes);
  const header = tensorHeader(reader, { start: 0, end: bytes.length });
  return { name: header.name, value: tensorValue(reader, header, `tensor '${header.name}'`, options) };
}

function expectCount(count: number, size: number, where: string): void {
  if (count !== size) throw new FormatError(`${where}: ${count} values in the field of its type, expected ${size}`);
}

function outside(header: TensorHeader, where: string, { external }: TensorOptions): Uint8Array {
  const range = externalRange(header, where);
  const bytes = external?.(range);
  if (bytes) return bytes;
  throw new RuntimeError(
    `${where}: its data lies in the file '${range.location}', which was not given; load the model by path or URL, or pass the file as external data`,
  );
}

/** Little-endian numbers, as in every machine with typed arrays that is in use. `room`: bytes in front that may go. */
function view(bytes: Uint8Array, type: Numeric, size: number, room: number): NumericArray {
  const Type = arrayOf(type) as unknown as new (buffer: ArrayBufferLike, at: number, length: number) => NumericArray;
  const slack = bytes.byteOffset % bytesOf(type);
  if (slack === 0) return new Type(bytes.buffer, bytes.byteOffset, size);
  if (slack > room) return new Type(bytes.slice().buffer, 0, size);
  const start = bytes.byteOffset - slack;
  new Uint8Array(bytes.buffer, start, slack + bytes.length).copyWithin(0, slack);
  return new Type(bytes.buffer, start, size);
}

/** Elements of 2 or 4 bits, the first in the lowest bits of a byte, as bytes. */
function unpack(bytes: Uint8Array, size: number, bits: number, signed: boolean): NumericArray {
  const data = signed ? new Int8Array(size) : new Uint8Array(size);
  const perByte = 8 / bits;
  for (let i = 0; i < size; i++) {
    // The element's bits at the top of an int8 or uint8, then down with or without the sign.
    const top = bytes[Math.floor(i / perByte)] << (8 - bits - bits * (i % perByte));
    data[i] = signed ? (top << 24) >> (32 - bits) : (top & 255) >> (8 - bits);
  }
  return data;
}

/** `size` numbers from a typed field; those narrower than the field's are cut to their low bits, as ONNX says. */
function numbers(reader: Reader, place: Place, field: number, type: Numeric, size: number): NumericArray {
  const data = new (arrayOf(type))(size);
  const floats = data as Float32Array;
  let i = 0;
  let take: () => void = () => (floats[i++] = reader.int());
  if (type === 'float32') take = () => (floats[i++] = reader.float());
  else if (type === 'float64') take = () => (floats[i++] = reader.double());
  else if (type === 'bool') take = () => (floats[i++] = Number(reader.int() !== 0));
  else if (type === 'int64' || type === 'uint64') {
    const words = new Int32Array(data.buffer);
    take = () => {
      reader.words();
      words[i++] = reader.low;
      words[i++] = reader.high;
    };
  }
  reader.revisit(place, 'TensorProto', current => {
    if (current === field) reader.each(TYPED_FIELDS[field], take);
  });
  return data;
}
