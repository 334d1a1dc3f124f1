import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { check, FormatError } from '../errors.ts';
import { dataTypeOf } from './datatype.ts';
import { OpaqueTensor } from './opaque.ts';
import type {
  AttributeKind,
  OnnxAttribute,
  OnnxFunction,
  OnnxGraph,
  OnnxModel,
  OnnxNode,
  OnnxTensor,
  OnnxValue,
} from './proto.ts';
import {
  type AttributeProtoSchema,
  type FunctionProtoSchema,
  type GraphProtoSchema,
  AttributeProto_AttributeType as Kind,
  ModelProtoSchema,
  type NodeProtoSchema,
  type SparseTensorProtoSchema,
  type StringStringEntryProtoSchema,
  TensorProto_DataLocation,
  TensorProtoSchema,
  TypeProtoSchema,
  type ValueInfoProtoSchema,
} from './schema/onnx_pb.ts';
import { countNonZeros, toCoordinates } from './sparse.ts';
import { validateModel } from './validate.ts';

type TensorInit = MessageInitShape<typeof TensorProtoSchema>;
type Entry = MessageInitShape<typeof StringStringEntryProtoSchema>;

/**
 * Which initializers are written as `sparse_initializer`: a rule by name and value, or the density at or below which
 * every float32 initializer with at least one dimension is (it saves space below 1/3: 4 bytes of value and 8 of index
 * a non-zero).
 */
export type SparseRule = number | ((name: string, tensor: OnnxTensor) => boolean);

export interface EncodeOptions {
  /** Default: the initializers that are marked `sparse`, as they are after reading. */
  sparse?: SparseRule;
}

/** Puts the bytes of an initializer outside the model and says where; undefined leaves them inside. */
export type PlaceExternally = (bytes: Uint8Array) => { location: string; offset: number } | undefined;

interface Context {
  readonly isSparse: (name: string, tensor: OnnxTensor) => boolean;
  readonly place: PlaceExternally;
}

// One protobuf message holds at most 2 GiB, and ONNX Runtime refuses more.
const maxModelBytes = 2 ** 31 - 1;

/**
 * The bytes of an ONNX file. Fields that are empty are left out. Throws a {@link FormatError} if the model is not well
 * formed (see `validateModel`) or would exceed the 2 GiB of a protobuf file; use `writeOnnx` with `externalData` then.
 */
export const encodeOnnx = (model: OnnxModel, options: EncodeOptions = {}): Uint8Array<ArrayBuffer> =>
  encodeModel(model, options, () => undefined);

/** {@link encodeOnnx} with a say in where each initializer's bytes go. */
export function encodeModel(model: OnnxModel, options: EncodeOptions, place: PlaceExternally): Uint8Array<ArrayBuffer> {
  validateModel(model);
  let bytesInside = 0;
  const context: Context = {
    isSparse: sparseRule(options.sparse),
    place: bytes => {
      const external = place(bytes);
      if (!external && (bytesInside += bytes.byteLength) > maxModelBytes)
        throw new FormatError('the model exceeds the 2 GiB of a protobuf file; write it with `externalData`');
      return external;
    },
  };
  const proto = create(ModelProtoSchema, {
    irVersion: BigInt(model.irVersion),
    opsetImport: opsetEntries(model.opsets),
    producerName: model.producerName,
    producerVersion: model.producerVersion,
    domain: model.domain,
    modelVersion: model.modelVersion === undefined ? undefined : BigInt(model.modelVersion),
    docString: model.docString,
    graph: graphProto(model.graph, context),
    metadataProps: Object.entries(model.metadata ?? {}).map(([key, value]) => ({ key, value })),
    functions: model.functions?.map(f => functionProto(f, context)),
  });
  return toBinary(ModelProtoSchema, proto);
}

function sparseRule(rule: SparseRule | undefined): Context['isSparse'] {
  if (rule === undefined) return (_, tensor) => tensor.sparse === true;
  if (typeof rule === 'function') return rule;
  return (_, t) => t.dtype === 'float32' && t.shape.length > 0 && countNonZeros(t.data) <= rule * t.data.length;
}

const opsetEntries = (opsets: Record<string, number>): { domain: string; version: bigint }[] =>
  Object.entries(opsets).map(([domain, version]) => ({ domain, version: BigInt(version) }));

function graphProto(graph: OnnxGraph, context: Context): MessageInitShape<typeof GraphProtoSchema> {
  const initializer: TensorInit[] = [];
  const sparseInitializer: MessageInitShape<typeof SparseTensorProtoSchema>[] = [];
  for (const [name, tensor] of graph.initializers) {
    if (!(tensor instanceof OpaqueTensor) && context.isSparse(name, tensor))
      sparseInitializer.push(sparseProto(name, tensor, context.place));
    else initializer.push(tensorProto(name, tensor, context.place));
  }
  return {
    name: graph.name,
    node: graph.nodes.map(node => nodeProto(node, context)),
    input: graph.inputs.map(valueProto),
    output: graph.outputs.map(valueProto),
    valueInfo: graph.valueInfo?.map(valueProto),
    initializer,
    sparseInitializer,
    docString: graph.docString,
  };
}

function nodeProto(node: OnnxNode, context: Context): MessageInitShape<typeof NodeProtoSchema> {
  const attribute: MessageInitShape<typeof AttributeProtoSchema>[] = [];
  for (const name in node.attributes) attribute.push(attributeProto(name, node.attributes[name], context));
  return {
    input: node.inputs,
    output: node.outputs,
    name: node.name || undefined,
    opType: node.opType,
    domain: node.domain || undefined,
    overload: node.overload,
    attribute,
  };
}

function functionProto(f: OnnxFunction, context: Context): MessageInitShape<typeof FunctionProtoSchema> {
  return {
    name: f.name,
    domain: f.domain,
    overload: f.overload,
    input: f.inputs,
    output: f.outputs,
    attribute: f.attributes,
    attributeProto: Object.entries(f.defaults).map(([name, value]) => attributeProto(name, value, context)),
    node: f.nodes.map(node => nodeProto(node, context)),
    opsetImport: opsetEntries(f.opsets),
    docString: f.docString,
  };
}

const int64Max = 2n ** 63n - 1n;
const int64Min = -(2n ** 63n);

function int64(value: number, where: string): bigint {
  check(Number.isInteger(value), () => `${where}: ${value} is not an integer; use float(…) or floats(…)`);
  const wide = BigInt(value);
  return wide > int64Max ? int64Max : wide < int64Min ? int64Min : wide;
}

const utf8 = new TextEncoder();

const kinds: Record<AttributeKind, Kind> = {
  int: Kind.INT,
  float: Kind.FLOAT,
  string: Kind.STRING,
  tensor: Kind.TENSOR,
  graph: Kind.GRAPH,
  type: Kind.TYPE_PROTO,
  ints: Kind.INTS,
  floats: Kind.FLOATS,
  strings: Kind.STRINGS,
  tensors: Kind.TENSORS,
  graphs: Kind.GRAPHS,
};

function attributeProto(
  name: string,
  attribute: OnnxAttribute,
  context: Context,
): MessageInitShape<typeof AttributeProtoSchema> {
  if (attribute.type === 'reference') return { name, type: kinds[attribute.of], refAttrName: attribute.value };
  if (attribute.type === 'bytes') return { name, type: Kind.STRING, s: attribute.value };
  const type = kinds[attribute.type];
  switch (attribute.type) {
    case 'int':
      return { name, type, i: int64(attribute.value, `attribute '${name}'`) };
    case 'float':
      return { name, type, f: Math.fround(attribute.value) };
    case 'string':
      return { name, type, s: utf8.encode(attribute.value) };
    case 'tensor':
      return attribute.value.sparse
        ? { name, type: Kind.SPARSE_TENSOR, sparseTensor: sparseProto('', attribute.value) }
        : { name, type, t: tensorProto('', attribute.value) };
    case 'graph':
      return { name, type, g: graphProto(attribute.value, context) };
    case 'type':
      return { name, type, tp: fromBinary(TypeProtoSchema, attribute.value.bytes) };
    case 'ints':
      return { name, type, ints: attribute.value.map(v => int64(v, `attribute '${name}'`)) };
    case 'floats':
      return { name, type, floats: attribute.value.map(Math.fround) };
    case 'strings':
      return { name, type, strings: attribute.value.map(v => utf8.encode(v)) };
    case 'tensors':
      return { name, type, tensors: attribute.value.map(t => tensorProto('', t)) };
    case 'graphs':
      return { name, type, graphs: attribute.value.map(g => graphProto(g, context)) };
  }
}

function valueProto(value: OnnxValue): MessageInitShape<typeof ValueInfoProtoSchema> {
  const { name, dtype, shape, opaque } = value;
  if (opaque) return { name, type: fromBinary(TypeProtoSchema, opaque.bytes) };
  if (dtype === null) return { name };
  return {
    name,
    type: {
      value: {
        case: 'tensorType',
        value: { elemType: dataTypeOf(dtype), shape: shape ? { dim: shape.map(dimensionProto) } : undefined },
      },
    },
  };
}

function dimensionProto(d: number | string | null) {
  if (d === null) return {};
  return typeof d === 'number'
    ? { value: { case: 'dimValue' as const, value: BigInt(d) } }
    : { value: { case: 'dimParam' as const, value: d } };
}

function tensorProto(name: string, tensor: OnnxTensor, place?: PlaceExternally): TensorInit {
  if (tensor instanceof OpaqueTensor) return fromBinary(TensorProtoSchema, tensor.bytes);
  const { data } = tensor;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const header = { name: name || undefined, dims: tensor.shape.map(BigInt), dataType: dataTypeOf(tensor.dtype) };
  const external = place?.(bytes);
  if (!external) return { ...header, rawData: bytes as Uint8Array<ArrayBuffer> };
  const externalData: Entry[] = [
    { key: 'location', value: external.location },
    { key: 'offset', value: String(external.offset) },
    { key: 'length', value: String(bytes.byteLength) },
  ];
  return { ...header, externalData, dataLocation: TensorProto_DataLocation.EXTERNAL };
}

function sparseProto(
  name: string,
  tensor: OnnxTensor,
  place?: PlaceExternally,
): MessageInitShape<typeof SparseTensorProtoSchema> {
  check(tensor.shape.length > 0, () => `initializer '${name}': a scalar cannot be written sparse`);
  const { values, indices } = toCoordinates(tensor);
  return {
    values: tensorProto(name, { dtype: tensor.dtype, shape: [values.length], data: values }, place),
    indices: tensorProto('', { dtype: 'int64', shape: [values.length], data: indices }, place),
    dims: tensor.shape.map(BigInt),
  };
}
