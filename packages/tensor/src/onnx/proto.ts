/**
 * An ONNX model as plain structures: what {@link readOnnx} gives and what {@link encodeOnnx} takes. Nothing here knows
 * protobuf. A graph by hand:
 *
 * ```ts
 * const model = onnxModel({
 *   name: 'scale',
 *   inputs: [onnxValue('x', 'float32', ['batch', 4])],
 *   outputs: [onnxValue('y', 'float32', ['batch', 4])],
 *   initializers: new Map([['w', { dtype: 'float32', shape: [4], data: Float32Array.of(1, 2, 3, 4) }]]),
 *   nodes: [onnxNode('Mul', ['x', 'w'], ['y'])],
 * });
 * ```
 */
import type { DType, NDArray } from '../dtype.ts';

/** A model file: one graph, and the operator sets it is written in. */
export interface OnnxModel {
  /** Version of the file format, e.g. 10 since operator set 21. */
  irVersion: number;
  /** Operator set version by domain; `''` is the standard ONNX domain. */
  opsets: Record<string, number>;
  graph: OnnxGraph;
  producerName?: string;
  producerVersion?: string;
  domain?: string;
  modelVersion?: number;
  docString?: string;
  metadata?: Record<string, string>;
  /** Operators that the model itself defines. */
  functions?: OnnxFunction[];
}

export interface OnnxGraph {
  name: string;
  /** In an order in which every input of a node comes before the node. */
  nodes: OnnxNode[];
  /** Values that the caller feeds. A name that is also an initializer is an input with a default. */
  inputs: OnnxValue[];
  outputs: OnnxValue[];
  /** Types of values in between, where the file gives them. */
  valueInfo?: OnnxValue[];
  /** Constants by name, sparse ones included. */
  initializers: Map<string, OnnxTensor>;
  docString?: string;
}

/** A constant. `sparse` marks one that is stored as `sparse_initializer`; its `data` is dense all the same. */
export interface OnnxTensor extends NDArray {
  readonly sparse?: boolean;
}

/** One dimension: a size, the name of a free size (`'batch'`), or null when the file says nothing. */
export type OnnxDimension = number | string | null;

/** Name and type of a value that flows through a graph. */
export interface OnnxValue {
  name: string;
  /** null if the file gives no type, or one that is no tensor of a known element type (see `opaque`). */
  dtype: DType | null;
  /** null if even the number of dimensions is unknown. */
  shape: OnnxDimension[] | null;
  /** A type that Gossamer does not compute with, kept for writing: sequences, maps, strings, float8 …. */
  opaque?: OpaqueType;
}

/** A type kept as the file has it; `text` is for messages, `bytes` is its `TypeProto`. */
export interface OpaqueType {
  readonly text: string;
  readonly bytes: Uint8Array;
}

/** One application of an operator. The empty name stands for an omitted optional input or output. */
export interface OnnxNode {
  name: string;
  opType: string;
  /** `''` for the standard operators. */
  domain: string;
  inputs: string[];
  outputs: string[];
  attributes: Record<string, OnnxAttribute>;
  /** Picks one of several model functions of the same name. */
  overload?: string;
}

/**
 * An attribute with its kind. Integers are numbers: int64 beyond ±2^53 is rounded, which the sentinels INT64_MAX and
 * INT64_MIN survive (they are written back exactly). `bytes` is a string attribute that is not UTF-8; `reference`
 * occurs in functions only and names an attribute of the caller.
 * A sparse `tensor` is written as a sparse tensor.
 */
export type OnnxAttribute =
  | { type: 'int'; value: number }
  | { type: 'float'; value: number }
  | { type: 'string'; value: string }
  | { type: 'bytes'; value: Uint8Array }
  | { type: 'tensor'; value: OnnxTensor }
  | { type: 'graph'; value: OnnxGraph }
  | { type: 'type'; value: OpaqueType }
  | { type: 'ints'; value: readonly number[] }
  | { type: 'floats'; value: readonly number[] }
  | { type: 'strings'; value: readonly string[] }
  | { type: 'tensors'; value: readonly OnnxTensor[] }
  | { type: 'graphs'; value: readonly OnnxGraph[] }
  | { type: 'reference'; value: string; of: AttributeKind };

/** What an attribute holds. */
export type AttributeKind =
  | 'int'
  | 'float'
  | 'string'
  | 'tensor'
  | 'graph'
  | 'type'
  | 'ints'
  | 'floats'
  | 'strings'
  | 'tensors'
  | 'graphs';

/** An operator defined by a graph of others, which every use of it may be replaced with. */
export interface OnnxFunction {
  name: string;
  domain: string;
  overload?: string;
  inputs: string[];
  outputs: string[];
  /** Attributes without a default. */
  attributes: string[];
  /** Attributes with a default. */
  defaults: Record<string, OnnxAttribute>;
  nodes: OnnxNode[];
  opsets: Record<string, number>;
  docString?: string;
}

// The file format that introduced each operator set (ONNX's release table): [operator set, IR version].
const irVersions = [
  [25, 13],
  [24, 12],
  [23, 11],
  [21, 10],
  [19, 9],
  [15, 8],
  [12, 7],
  [11, 6],
  [10, 5],
  [9, 4],
];

/** The IR version that belongs to a version of the standard operator set. */
export const irVersionOf = (opset: number): number => irVersions.find(([first]) => opset >= first)?.[1] ?? 3;

/** A model around a graph; operator set 21, and the IR version that belongs to it, unless `rest` says otherwise. */
export function onnxModel(graph: OnnxGraph, rest: Partial<Omit<OnnxModel, 'graph'>> = {}): OnnxModel {
  const opsets = rest.opsets ?? { '': 21 };
  return { irVersion: irVersionOf(opsets['']), opsets, producerName: 'gossamer', graph, ...rest };
}

/** One node; `rest` gives its name or a domain other than the standard one. */
export const onnxNode = (
  opType: string,
  inputs: string[],
  outputs: string[],
  attributes: Record<string, OnnxAttribute> = {},
  rest: { name?: string; domain?: string } = {},
): OnnxNode => ({ name: rest.name ?? '', opType, domain: rest.domain ?? '', inputs, outputs, attributes });

/** Name and type of a graph input or output. */
export const onnxValue = (name: string, dtype: DType, shape: OnnxDimension[]): OnnxValue => ({ name, dtype, shape });

export const int = (value: number): OnnxAttribute => ({ type: 'int', value });
export const float = (value: number): OnnxAttribute => ({ type: 'float', value });
export const string = (value: string): OnnxAttribute => ({ type: 'string', value });
export const ints = (value: readonly number[]): OnnxAttribute => ({ type: 'ints', value });
export const floats = (value: readonly number[]): OnnxAttribute => ({ type: 'floats', value });
export const strings = (value: readonly string[]): OnnxAttribute => ({ type: 'strings', value });
export const tensor = (value: OnnxTensor): OnnxAttribute => ({ type: 'tensor', value });
export const graph = (value: OnnxGraph): OnnxAttribute => ({ type: 'graph', value });
