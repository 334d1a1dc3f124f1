import { isFieldSet, toBinary } from '@bufbuild/protobuf';
import { arrayType, bytesPerElement, type DType, sizeOf, type TypedArray } from '../dtype.ts';
import { FormatError } from '../errors.ts';
import { dataTypeName, dtypeOf } from './datatype.ts';
import type { ExternalData } from './external.ts';
import { OpaqueTensor } from './opaque.ts';
import type { OnnxTensor } from './proto.ts';
import { type TensorProto, TensorProto_DataLocation, TensorProtoSchema } from './schema/onnx_pb.ts';

type TypedField = 'floatData' | 'int32Data' | 'int64Data' | 'doubleData' | 'uint64Data';

const typedFields: readonly TypedField[] = ['floatData', 'int32Data', 'int64Data', 'doubleData', 'uint64Data'];

/** The typed field that ONNX uses for an element type; small integers, bool and the bits of half floats share one. */
const fieldOf: Record<DType, TypedField> = {
  float32: 'floatData',
  float64: 'doubleData',
  float16: 'int32Data',
  bfloat16: 'int32Data',
  int64: 'int64Data',
  int32: 'int32Data',
  int16: 'int32Data',
  int8: 'int32Data',
  uint64: 'uint64Data',
  uint32: 'uint64Data',
  uint16: 'int32Data',
  uint8: 'int32Data',
  bool: 'int32Data',
};

/** A shape from int64 fields; the number of elements is a safe integer too. */
export function readShape(dims: readonly bigint[], where: string): number[] {
  let size = 1n;
  for (const d of dims) {
    size *= d;
    if (d < 0n || d > Number.MAX_SAFE_INTEGER || size > Number.MAX_SAFE_INTEGER)
      throw new FormatError(`${where}: invalid shape [${dims.slice(0, 16).join(', ')}]`);
  }
  return dims.map(Number);
}

/**
 * A tensor of a file. Its data is a view of the file's bytes where their alignment allows it, else a copy; nothing is
 * allocated before the bytes that fill it are known to exist. Element types without a `DType` become an
 * {@link OpaqueTensor}.
 */
export async function readTensor(proto: TensorProto, external: ExternalData, where: string): Promise<OnnxTensor> {
  const shape = readShape(proto.dims, where);
  const dtype = dtypeOf(proto.dataType);
  if (dtype === undefined) {
    const elementType = dataTypeName(proto.dataType);
    if (elementType === undefined) throw new FormatError(`${where}: unknown element type ${proto.dataType}`);
    return new OpaqueTensor(proto.name, shape, elementType, toBinary(TensorProtoSchema, proto));
  }
  if (isFieldSet(proto, TensorProtoSchema.field.segment))
    throw new FormatError(`${where}: tensors stored in segments are not supported`);

  const size = sizeOf(shape);
  const given = typedFields.filter(field => proto[field].length > 0);
  const hasRaw = isFieldSet(proto, TensorProtoSchema.field.rawData) && (proto.rawData.length > 0 || given.length === 0);
  const isExternal = proto.dataLocation === TensorProto_DataLocation.EXTERNAL;
  const stray = given.find(field => field !== fieldOf[dtype]);
  if (stray) throw new FormatError(`${where}: ${dtype} data in the field ${stray}`);
  if (Number(hasRaw) + Number(isExternal) + given.length > 1)
    throw new FormatError(`${where}: its data is given twice`);

  const data = isExternal
    ? await readExternal(proto, external, dtype, size, where)
    : hasRaw
      ? viewBytes(proto.rawData, dtype, size, where)
      : fromField(proto[fieldOf[dtype]], dtype, size, where);
  if (dtype === 'bool' && (data as Uint8Array).some(v => v > 1))
    throw new FormatError(`${where}: a bool is neither 0 nor 1`);
  return { dtype, shape, data };
}

async function readExternal(
  proto: TensorProto,
  external: ExternalData,
  dtype: DType,
  size: number,
  where: string,
): Promise<TypedArray> {
  const bytes = await external.read(proto.externalData, size * bytesPerElement(dtype), where);
  return viewBytes(bytes, dtype, size, where);
}

// ONNX stores little-endian numbers, as every platform with typed arrays in use does.
function viewBytes(bytes: Uint8Array, dtype: DType, size: number, where: string): TypedArray {
  const width = bytesPerElement(dtype);
  if (bytes.byteLength !== size * width)
    throw new FormatError(`${where}: ${bytes.byteLength} bytes of data, its shape and type need ${size * width}`);
  const { buffer, byteOffset } = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  return new (arrayType(dtype))(buffer, byteOffset, size);
}

function fromField(values: readonly (number | bigint)[], dtype: DType, size: number, where: string): TypedArray {
  if (values.length !== size) throw new FormatError(`${where}: ${values.length} values, its shape has ${size}`);
  const data = new (arrayType(dtype))(size);
  const mustFit = dtype !== 'float32' && dtype !== 'float64';
  for (let i = 0; i < size; i++) {
    const value = dtype === 'uint32' ? Number(values[i]) : values[i];
    data[i] = value;
    if (mustFit && data[i] !== value)
      throw new FormatError(`${where}: value ${values[i]} at position ${i} does not fit ${dtype}`);
  }
  return data;
}
