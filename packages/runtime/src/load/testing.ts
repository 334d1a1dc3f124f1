/** ONNX files by hand, for tests: every message is the concatenation of its fields. */

/** Bytes of some fields of a message. */
export type Part = readonly number[];

export function varint(value: number | bigint): Part {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  do {
    bytes.push(Number(rest & 127n) | (rest > 127n ? 128 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return bytes;
}

const tag = (field: number, wire: number): Part => varint(field * 8 + wire);
const bytesOf = (view: ArrayBufferView): number[] => [...new Uint8Array(view.buffer, view.byteOffset, view.byteLength)];

/** A varint field. */
export const int = (field: number, value: number | bigint): Part => [...tag(field, 0), ...varint(value)];
/** A fixed 32-bit field. */
export const float = (field: number, value: number): Part => [...tag(field, 5), ...bytesOf(Float32Array.of(value))];
/** A fixed 64-bit field. */
export const double = (field: number, value: number): Part => [...tag(field, 1), ...bytesOf(Float64Array.of(value))];
/** A length-delimited field: a string, bytes, or a message of parts. */
export function part(field: number, ...content: (Part | string | ArrayBufferView)[]): Part {
  const bytes = content.flatMap(item =>
    typeof item === 'string' ? [...new TextEncoder().encode(item)] : ArrayBuffer.isView(item) ? bytesOf(item) : item,
  );
  return [...tag(field, 2), ...varint(bytes.length), ...bytes];
}

/** A whole file. */
export const file = (...parts: Part[]): Uint8Array<ArrayBuffer> => Uint8Array.from(parts.flat());

/** Fields of a TensorProto; `type` is its number in ONNX. */
export const tensor = (name: string, type: number, dims: readonly (number | bigint)[], ...rest: Part[]): Part => [
  ...dims.flatMap(dim => int(1, dim)),
  ...int(2, type),
  ...(name ? part(8, name) : []),
  ...rest.flat(),
];

/** The fields that put a tensor's bytes into another file. */
export const external = (entries: Readonly<Record<string, string>>): Part => [
  ...Object.entries(entries).flatMap(([key, value]) => part(13, part(1, key), part(2, value))),
  ...int(14, 1),
];

/** Fields of a SparseTensorProto. */
export const sparse = (values: Part, indices: Part, dims: readonly (number | bigint)[]): Part => [
  ...part(1, values),
  ...part(2, indices),
  ...dims.flatMap(dim => int(3, dim)),
];

/** A node of a graph (field 1); `rest` gives attributes and other fields. */
export const node = (op: string, inputs: readonly string[], outputs: readonly string[], ...rest: Part[]): Part =>
  part(1, nodeFields(op, inputs, outputs, ...rest));

/** The same as the fields of a NodeProto. */
export const nodeFields = (
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  ...rest: Part[]
): Part => [
  ...inputs.flatMap(name => part(1, name)),
  ...outputs.flatMap(name => part(2, name)),
  ...part(4, op),
  ...rest.flat(),
];

/** An attribute of a node (field 5) of a kind (0: none given), with its value's field. */
export const attribute = (name: string, kind: number, ...value: Part[]): Part =>
  part(5, part(1, name), ...value, ...(kind ? [int(20, kind)] : []));

/** A float32 input (field 11) or output (field 12) of a graph. */
export const value = (field: 11 | 12, name: string): Part => part(field, part(1, name), part(2, part(1, int(1, 1))));

/** The graph of a model (field 7) that computes y from x. */
export const graph = (...parts: Part[]): Part => part(7, part(2, 'g'), ...parts, value(11, 'x'), value(12, 'y'));

/** Fields of a model: IR version and standard operator set. */
export const header = (opset: number | bigint = 13, ir: number | bigint = 8): Part => [
  ...int(1, ir),
  ...part(8, int(2, opset)),
];
