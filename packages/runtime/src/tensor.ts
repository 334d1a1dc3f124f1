/** The public tensor, with the calls of onnxruntime-common's. */
import { check, RuntimeError } from './errors.ts';
import { arrayOf, type DataType, type NumericArray, sizeOf, type Value } from './values.ts';

/** Float16Array where the engine has it. */
const Half = (globalThis as unknown as { Float16Array?: typeof Uint16Array }).Float16Array;

const TYPES = new Map<unknown, DataType>([
  [Float32Array, 'float32'],
  [Float64Array, 'float64'],
  [Int8Array, 'int8'],
  [Int16Array, 'int16'],
  [Int32Array, 'int32'],
  [BigInt64Array, 'int64'],
  [Uint8Array, 'uint8'],
  [Uint8ClampedArray, 'uint8'],
  [Uint16Array, 'uint16'],
  [Uint32Array, 'uint32'],
  [BigUint64Array, 'uint64'],
]);
if (Half) TYPES.set(Half, 'float16');

export type TensorData =
  | NumericArray
  | Uint8ClampedArray
  | readonly string[]
  | readonly boolean[]
  | readonly number[]
  | readonly bigint[];

/** What `run` takes: a tensor of this package or of onnxruntime-common, or a plain object. */
export interface TensorLike {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
}

function typeOf(data: TensorData): DataType {
  const type = Array.isArray(data) ? undefined : TYPES.get(data?.constructor);
  if (type) return type;
  const kind = Array.isArray(data) ? typeof data[0] : undefined;
  if (kind === 'string') return 'string';
  if (kind === 'boolean') return 'bool';
  throw new RuntimeError(
    'Tensor: the element type cannot be told from the data; give it: new Tensor(type, data, dims)',
  );
}

/** A typed array of the same memory under another type. */
const as = <T>(Type: { new (buffer: ArrayBuffer, at: number, length: number): T }, data: NumericArray): T =>
  new Type(data.buffer as ArrayBuffer, data.byteOffset, data.length);

function dataOf(type: DataType, data: TensorData): Value['data'] {
  if (type === 'string') {
    check(
      Array.isArray(data) && data.every(item => typeof item === 'string'),
      'Tensor: a string tensor is made from an array of strings',
    );
    return data as readonly string[];
  }
  const Type = type === 'float16' && Half ? Half : arrayOf(type);
  check(Type, () => `Tensor: there is no element type '${type}'`);
  if (data instanceof Type) return data as NumericArray;
  if (type === 'uint8' && data instanceof Uint8ClampedArray) return as(Uint8Array, data as never);
  // Bits.
  if (type === 'float16' && data instanceof Uint16Array) return as(Type as typeof Uint16Array, data);
  if (!Array.isArray(data))
    throw new RuntimeError(`Tensor: ${type} is carried by a ${Type.name}, not by ${data?.constructor.name ?? data}`);
  if (type.endsWith('float16') && Type !== Half)
    throw new RuntimeError(`Tensor: ${type} is made from a Uint16Array of its bits`);
  const wide = type === 'int64' || type === 'uint64';
  const array = new Type(data.length);
  for (let i = 0; i < data.length; i++) array[i] = wide ? BigInt(data[i] as number) : (Number(data[i]) as never);
  return array;
}

/**
 * A dense tensor in JavaScript memory, row-major. Takes `(type, data, dims)` or `(data, dims)`; without `dims` it has one
 * dimension. As in onnxruntime-common `float16` data is a Float16Array where the engine has it, else bits in a Uint16Array;
 * both are accepted.
 *
 * @throws when the data do not fit the type or the dims
 */
export class Tensor {
  readonly type: DataType;
  readonly dims: readonly number[];
  readonly data: Value['data'];
  readonly size: number;
  readonly location = 'cpu';

  constructor(type: DataType, data: TensorData, dims?: readonly number[]);
  constructor(data: TensorData, dims?: readonly number[]);
  constructor(first: DataType | TensorData, second?: TensorData | readonly number[], third?: readonly number[]) {
    const typed = typeof first === 'string';
    const data = (typed ? second : first) as TensorData;
    this.type = typed ? first : typeOf(data);
    this.data = dataOf(this.type, data);
    const dims = (typed ? third : (second as readonly number[] | undefined)) ?? [this.data.length];
    check(
      Array.isArray(dims) && dims.every(dim => Number.isSafeInteger(dim) && dim >= 0),
      () => `Tensor: dims [${dims}] must be whole numbers ≥ 0`,
    );
    this.dims = [...dims];
    this.size = sizeOf(dims);
    check(
      this.size === this.data.length,
      () => `Tensor: dims [${dims}] hold ${this.size} elements, the data ${this.data.length}`,
    );
  }

  /** The public form of a value; shares its data. */
  static from({ type, dims, data }: Value): Tensor {
    return new Tensor(type, data as Float32Array, dims);
  }

  /** The data; a promise for compatibility with tensors that live on a device. */
  async getData(): Promise<Value['data']> {
    return this.data;
  }

  /** The same data under other dims of the same size. */
  reshape(dims: readonly number[]): Tensor {
    return new Tensor(this.type, this.data as TensorData, dims);
  }

  dispose(): void {}
}

/**
 * A tensor as the operators see it; shares its data. `where` begins the messages.
 *
 * @throws RuntimeError when its data do not fit its type or dims
 */
export function toValue(given: TensorLike, where: string): Value {
  let tensor: Tensor;
  try {
    tensor =
      given instanceof Tensor ? given : new Tensor(given.type as DataType, given.data as Float32Array, given.dims);
  } catch (error) {
    throw new RuntimeError(`${where}: ${(error as Error).message}`, { cause: error });
  }
  const { type, dims, data } = tensor;
  return type === 'float16' ? { type, dims, data: as(Uint16Array, data as Uint16Array) } : { type, dims, data };
}
