import type { DType } from '../dtype.ts';
import { TensorProto_DataType } from './schema/onnx_pb.ts';

const numbers: Record<DType, number> = {
  float32: TensorProto_DataType.FLOAT,
  float64: TensorProto_DataType.DOUBLE,
  float16: TensorProto_DataType.FLOAT16,
  bfloat16: TensorProto_DataType.BFLOAT16,
  int64: TensorProto_DataType.INT64,
  int32: TensorProto_DataType.INT32,
  int16: TensorProto_DataType.INT16,
  int8: TensorProto_DataType.INT8,
  uint64: TensorProto_DataType.UINT64,
  uint32: TensorProto_DataType.UINT32,
  uint16: TensorProto_DataType.UINT16,
  uint8: TensorProto_DataType.UINT8,
  bool: TensorProto_DataType.BOOL,
};

const dtypes = new Map(Object.entries(numbers).map(([dtype, number]) => [number, dtype as DType]));
const names = new Map(Object.entries(TensorProto_DataType).map(([name, number]) => [number as number, name]));

/** ONNX's number for an element type (`TensorProto.DataType`), as the operators `Cast` and `ConstantOfShape` want it. */
export const dataTypeOf = (dtype: DType): number => numbers[dtype];

/** The element type of an ONNX number; undefined if Gossamer has no such type (strings, float8, int4 …). */
export const dtypeOf = (dataType: number): DType | undefined => dtypes.get(dataType);

/** ONNX's name of a number for messages, e.g. `FLOAT8E4M3FN`; undefined if ONNX has no such type. */
export const dataTypeName = (dataType: number): string | undefined =>
  dataType === 0 ? undefined : names.get(dataType);
