/** The bytes of an ONNX file → Model. */
import { FormatError, UnsupportedError } from '../errors.ts';
import { checkGraph } from './check.ts';
import type { FunctionDefinition } from './functions.ts';
import type { Attribute, Graph, Model } from './graph.ts';
import { type Context, domainOf, MAX_MESSAGES, parseAttribute, parseGraph, parseNode } from './parse.ts';
import { type Place, Reader } from './protobuf.ts';
import type { TensorOptions } from './tensor.ts';

/** Versions of the standard operator set that are read. */
export const OPSETS = { min: 1, max: 26 } as const;

/** The first IR version that names its operator sets. */
const FIRST_IR_WITH_OPSETS = 3;

export type ParseOptions = TensorOptions;

/**
 * Reads a model: functions inlined, nodes in a valid order, every constant at hand. Constants are views of `bytes` where
 * alignment allows it, so that these must not change afterwards. Throws a FormatError if the file is malformed, an
 * UnsupportedError if it is legal ONNX that this runtime does not have; both name the node or value.
 */
export async function parseModel(bytes: Uint8Array, options: ParseOptions = {}): Promise<Model> {
  recognise(bytes);
  const reader = new Reader(bytes);
  const opsets = new Map<string, number>();
  const functionPlaces: Place[] = [];
  let irVersion = 0;
  let producer = '';
  let graphPlace: Place | undefined;
  reader.file('ModelProto', field => {
    if (field === 1) irVersion = reader.int();
    else if (field === 2) producer = reader.string();
    else if (field === 7) {
      if (graphPlace) reader.fail('a second graph');
      graphPlace = reader.place();
    } else if (field === 8) importOpset(reader, opsets, 'the model');
    else if (field === 25) functionPlaces.push(reader.place());
  });
  if (!graphPlace) throw new FormatError('has no graph: not an ONNX model, or truncated');
  if (irVersion < 1) throw new FormatError('has no ir_version: not an ONNX model, or damaged');
  if (opsets.size === 0) {
    if (irVersion >= FIRST_IR_WITH_OPSETS) throw new FormatError('imports no operator set (opset_import is empty)');
    opsets.set('', 1);
  }

  const context: Context = {
    reader,
    opsets,
    external: options.external,
    owned: options.owned,
    budget: { messages: MAX_MESSAGES },
  };
  const functions = functionPlaces.map(place => parseFunction(context, place));
  let graph = parseGraph(context, graphPlace);
  for (const { name, type } of graph.inputs) {
    if (type === undefined) throw new FormatError(`input '${name}': has no element type`);
  }
  if (functions.length > 0) graph = (await import('./functions.ts')).inlineFunctions(graph, functions);
  return { irVersion, producer, opsets, graph: withoutDefaults(checkGraph(graph)) };
}

/** An input with an initializer is a constant: this runtime takes no other value for it. */
const withoutDefaults = (graph: Graph): Graph => ({
  ...graph,
  inputs: graph.inputs.filter(({ name }) => !graph.initializers.has(name)),
});

/** Files that are commonly mistaken for models. */
function recognise(bytes: Uint8Array): void {
  const start = String.fromCharCode(...bytes.subarray(0, 64));
  if (bytes.length === 0) throw new FormatError('is empty');
  if (start.startsWith('version https://git-lfs')) {
    throw new FormatError("is a Git LFS pointer and not the model itself; fetch it with 'git lfs pull'");
  }
  if (/^\s*<(!doctype|html|\?xml)/i.test(start))
    throw new FormatError('is a web page and not a model; check its address');
  if (start.startsWith('ORTM', 4)) {
    throw new UnsupportedError('is in the format ORT of ONNX Runtime; give the .onnx file that it was made from');
  }
}

function importOpset(reader: Reader, opsets: Map<string, number>, owner: string): void {
  let domain = '';
  let version = 0;
  reader.message('OperatorSetIdProto', field => {
    if (field === 1) domain = domainOf(reader.string());
    else if (field === 2) version = reader.int();
  });
  const title = `${owner} imports operator set ${version} of ${domain === '' ? 'the standard domain' : `'${domain}'`}`;
  const known = opsets.get(domain);
  if (known !== undefined && known !== version) throw new FormatError(`${title}, and ${known} too`);
  if (domain === '' && version > OPSETS.max) {
    throw new UnsupportedError(
      `${title}; ${OPSETS.min} to ${OPSETS.max} are supported: convert it with onnx.version_converter, or export it anew`,
    );
  }
  if (version < 1) throw new FormatError(`${title}; versions start at 1`);
  opsets.set(domain, version);
}

function parseFunction(outer: Context, place: Place): FunctionDefinition {
  const { reader } = outer;
  const opsets = new Map<string, number>();
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes = new Set<string>();
  const nodePlaces: Place[] = [];
  const defaultPlaces: Place[] = [];
  let op = '';
  let domain = '';
  let overload = '';
  reader.revisit(place, 'FunctionProto', field => {
    if (field === 1) op = reader.string();
    else if (field === 4) inputs.push(reader.string());
    else if (field === 5) outputs.push(reader.string());
    else if (field === 6) attributes.add(reader.string());
    else if (field === 7) nodePlaces.push(reader.place());
    else if (field === 9) importOpset(reader, opsets, 'a function');
    else if (field === 10) domain = domainOf(reader.string());
    else if (field === 11) defaultPlaces.push(reader.place());
    else if (field === 13) overload = reader.string();
  });
  const name = [domain, op, overload].filter(part => part !== '').join(':');
  const where = `function ${name}`;
  if (op === '') throw new FormatError('a function has no name');
  if (new Set(inputs).size < inputs.length) throw new FormatError(`${where}: two inputs have the same name`);
  const context: Context = { ...outer, opsets, inFunction: true };
  const defaults: Record<string, Attribute> = {};
  for (const at of defaultPlaces) {
    const { key, value } = parseAttribute({ ...context, inFunction: false }, at, where);
    defaults[key] = value!;
    attributes.add(key);
  }
  const nodes = nodePlaces.map((at, i) => parseNode(context, at, i, `${where}: `));
  return { op, domain, overload, name, opsets, inputs, outputs, attributes, defaults, nodes };
}
