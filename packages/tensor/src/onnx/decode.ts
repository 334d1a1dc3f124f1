import { isFieldSet } from '@bufbuild/protobuf';
import { FormatError } from '../errors.ts';
import type { ExternalData } from './external.ts';
import { OpaqueTensor } from './opaque.ts';
import type {
  AttributeKind,
  OnnxAttribute,
  OnnxFunction,
  OnnxGraph,
  OnnxModel,
  OnnxNode,
  OnnxTensor,
} from './proto.ts';
import {
  type AttributeProto,
  AttributeProtoSchema,
  type FunctionProto,
  type GraphProto,
  AttributeProto_AttributeType as Kind,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  type OperatorSetIdProto,
  type SparseTensorProto,
} from './schema/onnx_pb.ts';
import { describeNode, topologicalSort } from './sort.ts';
import { fromCoordinates } from './sparse.ts';
import { readShape, readTensor } from './tensors.ts';
import { opaqueType, readValue } from './types.ts';

interface Context {
  readonly external: ExternalData;
  /** Takes from the memory that sparse tensors may use once dense; throws when it is spent. */
  readonly spend: (bytes: number) => void;
}

/** A model from its protobuf message; nodes are sorted, nothing else is checked across nodes. */
export async function decodeModel(
  proto: ModelProto,
  external: ExternalData,
  maxDenseBytes: number,
): Promise<OnnxModel> {
  if (!proto.graph) throw new FormatError('no graph: not an ONNX model, or truncated');
  let left = maxDenseBytes;
  const context: Context = {
    external,
    spend: bytes => {
      if ((left -= bytes) < 0)
        throw new FormatError(
          `its sparse tensors take more than ${maxDenseBytes} bytes once dense (see \`maxDenseBytes\`)`,
        );
    },
  };
  const graph = await decodeGraph(proto.graph, context, 'graph');
  const functions: OnnxFunction[] = [];
  for (const f of proto.functions) functions.push(await decodeFunction(f, context));
  return {
    irVersion: Number(proto.irVersion),
    opsets: decodeOpsets(proto.opsetImport, 'model'),
    graph,
    ...optional('producerName', proto.producerName),
    ...optional('producerVersion', proto.producerVersion),
    ...optional('domain', proto.domain),
    ...(isFieldSet(proto, ModelProtoSchema.field.modelVersion) && { modelVersion: Number(proto.modelVersion) }),
    ...optional('docString', proto.docString),
    ...(proto.metadataProps.length > 0 && {
      metadata: Object.fromEntries(proto.metadataProps.map(({ key, value }) => [key, value])),
    }),
    ...(functions.length > 0 && { functions }),
  };
}

const optional = <K extends string>(key: K, value: string): { [key in K]?: string } =>
  value === '' ? {} : ({ [key]: value } as { [key in K]?: string });

// 'ai.onnx' is the other name of the standard domain.
const domainOf = (domain: string): string => (domain === 'ai.onnx' ? '' : domain);

function decodeOpsets(entries: readonly OperatorSetIdProto[], where: string): Record<string, number> {
  const opsets = new Map<string, number>();
  for (const { domain, version } of entries) {
    const name = domainOf(domain);
    if (opsets.has(name)) throw new FormatError(`${where}: two versions of operator set '${name || 'ai.onnx'}'`);
    opsets.set(name, Number(version));
  }
  return Object.fromEntries(opsets);
}

async function decodeGraph(proto: GraphProto, context: Context, kind: string): Promise<OnnxGraph> {
  const where = `${kind} '${proto.name}'`;
  const initializers = new Map<string, OnnxTensor>();
  const add = (name: string, tensor: OnnxTensor): void => {
    if (name === '') throw new FormatError(`${where}: an initializer has no name`);
    if (initializers.has(name)) throw new FormatError(`${where}: two initializers are named '${name}'`);
    initializers.set(name, tensor);
  };
  for (const tensor of proto.initializer)
    add(tensor.name, await readTensor(tensor, context.external, `${where}: initializer '${tensor.name}'`));
  for (const tensor of proto.sparseInitializer) {
    const name = tensor.values?.name ?? '';
    add(name, await decodeSparse(tensor, context, `${where}: sparse initializer '${name}'`));
  }
  return {
    name: proto.name,
    nodes: await decodeNodes(proto.node, context, where),
    inputs: proto.input.map(v => readValue(v, `${where}: input`)),
    outputs: proto.output.map(v => readValue(v, `${where}: output`)),
    ...(proto.valueInfo.length > 0 && { valueInfo: proto.valueInfo.map(v => readValue(v, `${where}: value`)) }),
    initializers,
    ...optional('docString', proto.docString),
  };
}

async function decodeSparse(proto: SparseTensorProto, context: Context, where: string): Promise<OnnxTensor> {
  if (!proto.values || !proto.indices) throw new FormatError(`${where}: its values or indices are missing`);
  const values = await readTensor(proto.values, context.external, `${where}, values`);
  const indices = await readTensor(proto.indices, context.external, `${where}, indices`);
  if (values instanceof OpaqueTensor || indices instanceof OpaqueTensor)
    throw new FormatError(`${where}: element types that Gossamer does not compute with cannot be sparse`);
  const shape = readShape(proto.dims, where);
  return { ...fromCoordinates(values, indices, shape, where, context.spend), sparse: true };
}

async function decodeNodes(protos: readonly NodeProto[], context: Context, where: string): Promise<OnnxNode[]> {
  const nodes: OnnxNode[] = [];
  for (const proto of protos) nodes.push(await decodeNode(proto, context, where));
  try {
    return topologicalSort(nodes);
  } catch (error) {
    throw error instanceof FormatError ? new FormatError(`${where}: ${error.message}`, { cause: error }) : error;
  }
}

async function decodeNode(proto: NodeProto, context: Context, where: string): Promise<OnnxNode> {
  const node: OnnxNode = {
    name: proto.name,
    opType: proto.opType,
    domain: domainOf(proto.domain),
    inputs: proto.input,
    outputs: proto.output,
    attributes: {},
    ...optional('overload', proto.overload),
  };
  if (proto.attribute.length > 0)
    node.attributes = await decodeAttributes(proto.attribute, context, `${where}: node ${describeNode(node)}`);
  return node;
}

async function decodeFunction(proto: FunctionProto, context: Context): Promise<OnnxFunction> {
  const where = `function '${proto.domain}::${proto.name}'`;
  return {
    name: proto.name,
    domain: domainOf(proto.domain),
    ...optional('overload', proto.overload),
    inputs: proto.input,
    outputs: proto.output,
    attributes: proto.attribute,
    defaults: await decodeAttributes(proto.attributeProto, context, where),
    nodes: await decodeNodes(proto.node, context, where),
    opsets: decodeOpsets(proto.opsetImport, where),
    ...optional('docString', proto.docString),
  };
}

async function decodeAttributes(
  protos: readonly AttributeProto[],
  context: Context,
  where: string,
): Promise<Record<string, OnnxAttribute>> {
  const attributes = new Map<string, OnnxAttribute>();
  for (const proto of protos) {
    if (attributes.has(proto.name)) throw new FormatError(`${where}: attribute '${proto.name}' is given twice`);
    attributes.set(proto.name, await decodeAttribute(proto, context, `${where}, attribute '${proto.name}'`));
  }
  return Object.fromEntries(attributes);
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeString(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}

async function decodeAttribute(proto: AttributeProto, context: Context, where: string): Promise<OnnxAttribute> {
  const missing = (what: string): never => {
    throw new FormatError(`${where}: has no ${what}`);
  };
  const kind = proto.type === Kind.UNDEFINED ? inferKind(proto) : proto.type;
  if (proto.refAttrName !== '')
    return { type: 'reference', value: proto.refAttrName, of: referenceKinds[kind] ?? missing('known type') };
  switch (kind) {
    case Kind.FLOAT:
      return { type: 'float', value: proto.f };
    case Kind.INT:
      return { type: 'int', value: Number(proto.i) };
    case Kind.STRING: {
      const value = decodeString(proto.s);
      return value === undefined ? { type: 'bytes', value: proto.s } : { type: 'string', value };
    }
    case Kind.TENSOR:
      return { type: 'tensor', value: await readTensor(proto.t ?? missing('tensor'), context.external, where) };
    case Kind.SPARSE_TENSOR:
      return { type: 'tensor', value: await decodeSparse(proto.sparseTensor ?? missing('tensor'), context, where) };
    case Kind.GRAPH:
      return { type: 'graph', value: await decodeGraph(proto.g ?? missing('graph'), context, `${where}: graph`) };
    case Kind.TYPE_PROTO:
      return { type: 'type', value: opaqueType(proto.tp ?? missing('type')) };
    case Kind.FLOATS:
      return { type: 'floats', value: proto.floats };
    case Kind.INTS:
      return { type: 'ints', value: proto.ints.map(Number) };
    case Kind.STRINGS:
      return { type: 'strings', value: proto.strings.map(s => decodeString(s) ?? missing('UTF-8 text')) };
    case Kind.TENSORS: {
      const value: OnnxTensor[] = [];
      for (const t of proto.tensors) value.push(await readTensor(t, context.external, where));
      return { type: 'tensors', value };
    }
    case Kind.GRAPHS: {
      const value: OnnxGraph[] = [];
      for (const g of proto.graphs) value.push(await decodeGraph(g, context, `${where}: graph`));
      return { type: 'graphs', value };
    }
    case Kind.SPARSE_TENSORS:
    case Kind.TYPE_PROTOS:
      throw new FormatError(`${where}: lists of sparse tensors or of types are not supported`);
    default:
      return missing('known type');
  }
}

const referenceKinds: { [kind in Kind]?: AttributeKind } = {
  [Kind.INT]: 'int',
  [Kind.FLOAT]: 'float',
  [Kind.STRING]: 'string',
  [Kind.TENSOR]: 'tensor',
  [Kind.SPARSE_TENSOR]: 'tensor',
  [Kind.GRAPH]: 'graph',
  [Kind.TYPE_PROTO]: 'type',
  [Kind.INTS]: 'ints',
  [Kind.FLOATS]: 'floats',
  [Kind.STRINGS]: 'strings',
  [Kind.TENSORS]: 'tensors',
  [Kind.GRAPHS]: 'graphs',
};

/** The oldest files (2017) give no type: the field that is set tells it. */
function inferKind(proto: AttributeProto): Kind {
  const { field } = AttributeProtoSchema;
  if (isFieldSet(proto, field.f)) return Kind.FLOAT;
  if (isFieldSet(proto, field.i)) return Kind.INT;
  if (isFieldSet(proto, field.s)) return Kind.STRING;
  if (proto.t) return Kind.TENSOR;
  if (proto.g) return Kind.GRAPH;
  if (proto.floats.length > 0) return Kind.FLOATS;
  if (proto.ints.length > 0) return Kind.INTS;
  return proto.strings.length > 0 ? Kind.STRINGS : Kind.UNDEFINED;
}
