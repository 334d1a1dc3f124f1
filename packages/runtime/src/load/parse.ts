/** GraphProto, NodeProto, AttributeProto and ValueInfoProto → the structures of graph.ts. */
import { FormatError, UnsupportedError } from '../errors.ts';
import type { Value } from '../values.ts';
import type { Attribute, Graph, Node, SparseValue, ValueInfo } from './graph.ts';
import { FIXED32, type Place, type Reader, VARINT } from './protobuf.ts';
import { sparseHeader, sparseValue } from './sparse.ts';
import { dataType, type TensorOptions, tensorHeader, tensorValue } from './tensor.ts';

/** A node as the file has it: it may call a function of the model, and take attributes from those of its function. */
export interface ParsedNode extends Node {
  /** Picks one of several functions of the same name. */
  readonly overload?: string;
  /** Attributes that have the value of an attribute of the enclosing function: own name → its name. */
  readonly references?: Readonly<Record<string, string>>;
}

/** What holds for everything inside one graph or function. */
export interface Context extends TensorOptions {
  readonly reader: Reader;
  readonly opsets: ReadonlyMap<string, number>;
  /** Set inside a function, where attributes may refer to those of the function. */
  readonly inFunction?: boolean;
  /** Counts down over the whole file. */
  readonly budget: { messages: number };
}

/** The smallest message takes 2 bytes of a file and some 200 of memory; real models stay far below. */
export const MAX_MESSAGES = 2_000_000;

function spend({ budget, reader }: Context): void {
  if (--budget.messages < 0) reader.fail(`more than ${MAX_MESSAGES} nodes, attributes, values and constants`);
}

/** The standard domain has two names. */
export const domainOf = (domain: string): string => (domain === 'ai.onnx' ? '' : domain);

/** The graph at a place. `where` is empty for the model's own, and otherwise names the owner in errors. */
export function parseGraph(context: Context, place: Place, where = ''): Graph {
  const { reader } = context;
  const prefix = where && `${where}: `;
  const nodes: Node[] = [];
  const inputs: ValueInfo[] = [];
  const outputs: ValueInfo[] = [];
  const initializers = new Map<string, Value | SparseValue>();
  let name = '';
  const add = (key: string, value: Value | SparseValue): void => {
    if (key === '') throw new FormatError(`${prefix}an initializer has no name`);
    if (initializers.has(key)) throw new FormatError(`${prefix}initializer '${key}' is given twice`);
    initializers.set(key, value);
  };
  reader.revisit(place, 'GraphProto', field => {
    if (field === 1) nodes.push(parseNode(context, reader.place(), nodes.length, prefix));
    else if (field === 2) name = reader.string();
    else if (field === 5) {
      spend(context);
      const header = tensorHeader(reader, reader.place());
      add(header.name, tensorValue(reader, header, `${prefix}initializer '${header.name}'`, context));
    } else if (field === 15) {
      spend(context);
      const header = sparseHeader(reader, reader.place(), `${prefix}sparse initializer`);
      const key = header.values.name;
      add(key, sparseValue(reader, header, `${prefix}initializer '${key}'`, context));
    } else if (field === 11) inputs.push(parseValueInfo(context, reader.place(), `${prefix}input`));
    else if (field === 12) outputs.push(parseValueInfo(context, reader.place(), `${prefix}output`));
  });
  return { name, nodes, inputs, outputs, initializers };
}

/** The node at a place; `index` is its position in the file, `prefix` names its owner in errors. */
export function parseNode(context: Context, place: Place, index: number, prefix = ''): ParsedNode {
  const { reader } = context;
  const inputs: string[] = [];
  const outputs: string[] = [];
  const places: Place[] = [];
  let name = '';
  let op = '';
  let domain = '';
  let overload = '';
  spend(context);
  reader.revisit(place, 'NodeProto', field => {
    if (field === 1) inputs.push(reader.string());
    else if (field === 2) outputs.push(reader.string());
    else if (field === 3) name = reader.string();
    else if (field === 4) op = reader.string();
    else if (field === 5) places.push(reader.place());
    else if (field === 7) domain = domainOf(reader.string());
    else if (field === 8) overload = reader.string();
  });
  name ||= `${op}_${index}`;
  const where = `${prefix}${name} (${op})`;
  if (op === '') throw new FormatError(`${prefix}node ${index}: has no operator`);
  const attributes: Record<string, Attribute> = {};
  const references: Record<string, string> = {};
  for (const at of places) {
    const { key, value, reference } = parseAttribute(context, at, where);
    if (Object.hasOwn(attributes, key) || Object.hasOwn(references, key)) {
      throw new FormatError(`${where}: attribute ${key} is given twice`);
    }
    if (reference) references[key] = reference;
    else attributes[key] = value!;
  }
  return {
    name,
    op,
    domain,
    // 0: not imported; only a function of the model may be called then.
    version: context.opsets.get(domain) ?? 0,
    inputs,
    outputs,
    attributes,
    ...(overload && { overload }),
    ...(Object.keys(references).length > 0 && { references }),
  };
}

// AttributeProto.AttributeType
const FLOAT = 1;
const INT = 2;
const STRING = 3;
const TENSOR = 4;
const GRAPH = 5;
const FLOATS = 6;
const INTS = 7;
const STRINGS = 8;
const TENSORS = 9;
const GRAPHS = 10;
const SPARSE_TENSOR = 11;
const SPARSE_TENSORS = 12;
const TYPE_PROTO = 13;
const TYPE_PROTOS = 14;

/** The kind of value that each field of AttributeProto holds. */
const KIND_OF: Readonly<Record<number, number>> = {
  2: FLOAT,
  3: INT,
  4: STRING,
  5: TENSOR,
  6: GRAPH,
  7: FLOATS,
  8: INTS,
  9: STRINGS,
  10: TENSORS,
  11: GRAPHS,
  14: TYPE_PROTO,
  15: TYPE_PROTOS,
  22: SPARSE_TENSOR,
  23: SPARSE_TENSORS,
};

interface ParsedAttribute {
  readonly key: string;
  readonly value?: Attribute;
  /** The function's attribute whose value this one takes. */
  readonly reference?: string;
}

/** The attribute at a place; `owner` is the node or function it belongs to. */
export function parseAttribute(context: Context, place: Place, owner: string): ParsedAttribute {
  const { reader } = context;
  let key = '';
  let reference = '';
  let kind = 0;
  const found = new Map<number, (number | string | Place)[]>();
  spend(context);
  reader.revisit(place, 'AttributeProto', field => {
    if (field === 1) key = reader.string();
    else if (field === 20) kind = reader.int();
    else if (field === 21) reference = reader.string();
    const current = KIND_OF[field];
    if (!current) return;
    const list = found.get(current) ?? [];
    found.set(current, list);
    if (current === FLOAT || current === FLOATS) reader.each(FIXED32, () => list.push(reader.float()));
    else if (current === INT || current === INTS) reader.each(VARINT, () => list.push(reader.int()));
    else if (current === STRING || current === STRINGS) list.push(reader.string());
    else list.push(reader.place());
  });
  const where = `${owner}: attribute ${key}`;
  // As a key of a plain object `__proto__` would be no key.
  if (key === '' || key === '__proto__') throw new FormatError(`${owner}: an attribute has no valid name`);
  if (reference) {
    if (!context.inFunction) throw new FormatError(`${where} refers to ${reference}, but lies in no function`);
    return { key, reference };
  }
  // Files before IR version 2 have no kind; without a value there is nothing to tell it by.
  if (kind === 0 && found.size === 1) kind = [...found.keys()][0];
  if (found.size > 1 || (found.size === 1 && !found.has(kind))) {
    throw new FormatError(`${where}: its value is of another kind than it says, or there are several`);
  }
  return { key, value: attributeValue(context, kind, found.get(kind) ?? [], where) };
}

function attributeValue(context: Context, kind: number, list: (number | string | Place)[], where: string): Attribute {
  const { reader } = context;
  const tensor = (place: Place): Value => tensorValue(reader, tensorHeader(reader, place), where, context);
  const graph = (place: Place): Graph => parseGraph(context, place, where);
  switch (kind) {
    case FLOAT:
    case INT:
      // Absent means zero: writers of proto3 leave zeros out.
      return (list.at(-1) as number | undefined) ?? 0;
    case STRING:
      return (list.at(-1) as string | undefined) ?? '';
    case FLOATS:
    case INTS:
    case STRINGS:
      return list as number[];
    case TENSORS:
      return (list as Place[]).map(tensor);
    case GRAPHS:
      return (list as Place[]).map(graph);
    case SPARSE_TENSORS:
    case TYPE_PROTO:
    case TYPE_PROTOS:
      throw new UnsupportedError(
        `${where}: ${kind === SPARSE_TENSORS ? 'lists of sparse tensors' : 'sequences, optionals and maps'} are not supported`,
      );
  }
  const place = list.at(-1) as Place | undefined;
  if (!place) throw new FormatError(`${where}: has no value`);
  if (kind === TENSOR) return tensor(place);
  if (kind === GRAPH) return graph(place);
  if (kind === SPARSE_TENSOR) return sparseValue(reader, sparseHeader(reader, place, where), where, context);
  throw new FormatError(`${where}: unknown kind ${kind}`);
}

const OTHER_TYPES: Readonly<Record<number, string>> = {
  4: 'a sequence',
  5: 'a map',
  7: 'opaque',
  8: 'a sparse tensor',
  9: 'an optional',
};

/** Name and type of a graph input or output; `role` says which. */
function parseValueInfo(context: Context, place: Place, role: string): ValueInfo {
  const { reader } = context;
  let name = '';
  let code = 0;
  let other = '';
  let dims: (number | string)[] | undefined;
  const shape = (): void => {
    const list: (number | string)[] = (dims = []);
    reader.message('TensorShapeProto', field => {
      if (field !== 1) return;
      let dim: number | string = '';
      reader.message('Dimension', part => {
        if (part === 1) dim = reader.int();
        else if (part === 2) dim = reader.string();
      });
      // Some exporters write −1 for a size that is not known.
      list.push(typeof dim === 'number' && dim < 0 ? '' : dim);
    });
  };
  spend(context);
  reader.revisit(place, 'ValueInfoProto', field => {
    if (field === 1) name = reader.string();
    else if (field === 2) {
      reader.message('TypeProto', kind => {
        other ||= OTHER_TYPES[kind] ?? '';
        if (kind !== 1) return;
        reader.message('TypeProto.Tensor', part => {
          if (part === 1) code = reader.int();
          else if (part === 2) shape();
        });
      });
    }
  });
  const where = `${role} '${name}'`;
  if (name === '') throw new FormatError(`${role}: has no name`);
  if (other) throw new UnsupportedError(`${where}: is ${other}; only tensors are supported`);
  return { name, ...(code !== 0 && { type: dataType(code, where, false) }), ...(dims && { dims }) };
}
