/** The public tensor, with the calls of onnxruntime-common's. */
import { RuntimeError } from './errors.ts';
import { arrayOf, type DataType, type NumericArray, sizeOf, type Value } from './values.ts';

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

export type TensorData =
  | NumericArray
  | Uint8ClampedArray
  | readonly string[]
  | readonly boolean[]
  | readonly number[]
  | readonly bigint[];

function typeOf(data: TensorData): DataType {
  if (!Array.isArray(data)) {
    const type = TYPES.get(data.constructor);
    if (type) return type;
  } else {
    const kind = typeof data[0];
    if (kind === 'string' || data.length === 0) return 'string';
    if (kind === 'boolean') return 'bool';
  }
  throw new RuntimeError(
    'Tensor: the element type cannot be told from the data; give it: new Tensor(type, data, dims)',
  );
}

function dataOf(type: DataType, data: TensorData): Value['data'] {
  if (type === 'string') {
    if (!Array.isArray(data)) throw new RuntimeError('Tensor: a string tensor is made from an array of strings');
    return data as readonly string[];
  }
  const Type = arrayOf(type);
  if (data instanceof Type) return data as NumericArray;
  if (type === 'uint8' && data instanceof Uint8ClampedArray)
    return new Uint8Array(data.buffer, data.byteOffset, data.length);
  // Float16Array where the engine has it: same bits.
  if (type === 'float16' && ArrayBuffer.isView(data) && data.BYTES_PER_ELEMENT === 2)
    return new Uint16Array(data.buffer as ArrayBuffer, data.byteOffset, data.length);
  if (!Array.isArray(data))
    throw new RuntimeError(`Tensor: ${type} is carried by a ${Type.name}, not a ${data.constructor.name}`);
  const wide = Type === BigInt64Array || Type === BigUint64Array;
  const array = new Type(data.length);
  for (let i = 0; i < data.length; i++) array[i] = wide ? BigInt(data[i] as number) : (Number(data[i]) as never);
  return array;
}

/**
 * A dense tensor in JavaScript memory, row-major. Takes `(type, data, dims)` or `(data, dims)`; without `dims` it has one
 * dimension. `float16` data are bits in a Uint16Array (or a Float16Array).
 *
 * @throws when the data do not fit the type or the dims
 */
export class Tensor implements Value {
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
    if (!dims.every(dim => Number.isSafeInteger(dim) && dim >= 0))
      throw new RuntimeError(`Tensor: dims [${dims}] must be whole numbers ≥ 0`);
    this.dims = [...dims];
    this.size = sizeOf(dims);
    if (this.size !== this.data.length)
      throw new RuntimeError(`Tensor: dims [${dims}] hold ${this.size} elements, the data ${this.data.length}`);
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
