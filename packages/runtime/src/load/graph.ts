/** A model as read from its file: plain data. */
import { FormatError } from '../errors.ts';
import type { DataType, Value } from '../values.ts';

/** Attribute values. INT64 becomes a number (limits such as 2⁶³−1 round to a float64 of the same meaning). */
export type Attribute = number | string | Value | SparseValue | Graph | number[] | string[] | Value[] | Graph[];

export interface Node {
  /** The node's name in the file, or `Op_<index>` when it has none. */
  readonly name: string;
  readonly op: string;
  /** '' for the standard domain (`ai.onnx` is read as ''). */
  readonly domain: string;
  /** Version of the operator set that this node's domain is imported with. */
  readonly version: number;
  /** Names of values; '' marks an omitted optional input or output. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** A constant stored as coordinates: `indices` are flat positions, ascending; `values` has one element for each. */
export interface SparseValue {
  readonly type: DataType;
  readonly dims: readonly number[];
  readonly indices: Float64Array | Int32Array;
  readonly values: Value;
}

export interface ValueInfo {
  readonly name: string;
  /** Always given for the inputs of a model; elsewhere undefined where the file says nothing. */
  readonly type?: DataType;
  /** A number, or the name of a symbolic dimension ('' when unnamed); undefined when the file gives no shape. */
  readonly dims?: readonly (number | string)[];
}

export interface Graph {
  readonly name: string;
  readonly nodes: readonly Node[];
  /** Inputs that have no initializer: what `run` must be fed. Subgraphs list all their formal inputs. */
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly initializers: ReadonlyMap<string, Value | SparseValue>;
}

export interface Model {
  readonly irVersion: number;
  readonly producer: string;
  readonly opsets: ReadonlyMap<string, number>;
  readonly graph: Graph;
}

/** `Conv_3 (Conv)`: how errors name a node. */
export const describeNode = ({ name, op }: { readonly name: string; readonly op: string }): string => `${name} (${op})`;

export const isSparse = (value: Value | SparseValue): value is SparseValue => 'indices' in value;

/** Graphs within graphs: no deeper than this. */
const MAX_DEPTH = 32;

/** The depth of a graph's nested graphs; fails beyond what any recursion here should meet. */
export function deeper(depth: number): number {
  if (depth >= MAX_DEPTH) throw new FormatError(`graphs are nested more than ${MAX_DEPTH} deep`);
  return depth + 1;
}
