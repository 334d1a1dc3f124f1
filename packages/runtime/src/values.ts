/** Dense values and their element types: what flows along the edges of a model. */

/** Element types of ONNX that this runtime carries; names as in onnxruntime-common. */
export type DataType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'bfloat16'
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'uint8'
  | 'uint16'
  | 'uint32'
  | 'uint64'
  | 'bool'
  | 'string';

export type NumericArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array;

/**
 * A dense, row-major value. `float16` and `bfloat16` keep their bits in a Uint16Array, `bool` is a Uint8Array of 0 and 1,
 * `int64` and `uint64` are BigInt arrays, `string` is an array of strings.
 */
export interface Value {
  readonly type: DataType;
  readonly dims: readonly number[];
  readonly data: NumericArray | readonly string[];
}

/** What is known of a value before it is computed. `value` is set when it is a constant. */
export interface Info {
  readonly type: DataType;
  readonly dims: readonly number[];
  readonly value?: Value;
}

/** The number of elements of a shape; 1 for a scalar, 0 when a dimension is 0. */
export function sizeOf(dims: readonly number[]): number {
  let size = 1;
  for (let i = 0; i < dims.length; i++) size *= dims[i];
  return size;
}

type ArrayConstructor = { new (length: number): NumericArray; readonly BYTES_PER_ELEMENT: number };

const ARRAYS: Record<Exclude<DataType, 'string'>, ArrayConstructor> = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
};

/** The typed array that carries a numeric type. */
export const arrayOf = (type: Exclude<DataType, 'string'>): ArrayConstructor => ARRAYS[type];

/** Bytes of one element of a numeric type. */
export const bytesOf = (type: Exclude<DataType, 'string'>): number => ARRAYS[type].BYTES_PER_ELEMENT;

/** Zeros (empty strings) of a type and length. */
export function zeros(type: DataType, length: number): NumericArray | string[] {
  return type === 'string' ? new Array<string>(length).fill('') : new ARRAYS[type](length);
}
