import { toBinary } from '@bufbuild/protobuf';
import { FormatError } from '../errors.ts';
import { dataTypeName, dtypeOf } from './datatype.ts';
import type { OnnxDimension, OnnxValue, OpaqueType } from './proto.ts';
import { type TensorShapeProto, type TypeProto, TypeProtoSchema, type ValueInfoProto } from './schema/onnx_pb.ts';

/** Name and type of a value from a file. */
export function readValue({ name, type }: ValueInfoProto, where: string): OnnxValue {
  if (name === '') throw new FormatError(`${where}: has no name`);
  if (!type?.value.case) return { name, dtype: null, shape: null };
  const opaque: OnnxValue = { name, dtype: null, shape: null, opaque: opaqueType(type) };
  if (type.value.case !== 'tensorType') return opaque;
  const { elemType, shape } = type.value.value;
  if (elemType !== 0 && dataTypeName(elemType) === undefined)
    throw new FormatError(`${where} '${name}': unknown element type ${elemType}`);
  const dtype = dtypeOf(elemType);
  return dtype ? { name, dtype, shape: shape ? readDimensions(shape, `${where} '${name}'`) : null } : opaque;
}

function readDimensions(shape: TensorShapeProto, where: string): OnnxDimension[] {
  return shape.dim.map(({ value }) => {
    if (value.case === 'dimParam') return value.value || null;
    // Several exporters write -1 for a free size.
    if (value.case === undefined || value.value === -1n) return null;
    if (value.value < 0n || value.value > Number.MAX_SAFE_INTEGER)
      throw new FormatError(`${where}: invalid dimension ${value.value}`);
    return Number(value.value);
  });
}

export const opaqueType = (type: TypeProto): OpaqueType => ({
  text: typeText(type),
  bytes: toBinary(TypeProtoSchema, type),
});

/** A type as ONNX's documentation writes it, e.g. `sequence(map(INT64, tensor(FLOAT)))`. */
function typeText(type: TypeProto | undefined): string {
  const { case: kind, value } = type?.value ?? { case: undefined };
  switch (kind) {
    case 'tensorType':
    case 'sparseTensorType':
      return `${kind === 'tensorType' ? 'tensor' : 'sparse_tensor'}(${dataTypeName(value.elemType) ?? 'unknown'})`;
    case 'sequenceType':
      return `sequence(${typeText(value.elemType)})`;
    case 'optionalType':
      return `optional(${typeText(value.elemType)})`;
    case 'mapType':
      return `map(${dataTypeName(value.keyType) ?? 'unknown'}, ${typeText(value.valueType)})`;
    case 'opaqueType':
      return `opaque(${value.domain}.${value.name})`;
    case undefined:
      return 'unknown';
  }
}
