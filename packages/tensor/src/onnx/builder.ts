import type { DType, NDArray } from '../dtype.ts';
import { arrayType } from '../dtype.ts';
import { GossamerError } from '../errors.ts';
import { dataTypeOf } from './datatype.ts';
import type { OnnxAttribute, OnnxNode, OnnxTensor, OnnxValue } from './proto.ts';

/** The operator set that Gossamer writes. */
export const OPSET = 21;

/** A size that depends on the batch size B of an exported model: `scale`·B + `offset`. */
export class SymbolicDim {
  readonly scale: number;
  readonly offset: number;
  constructor(scale: number, offset: number) {
    this.scale = scale;
    this.offset = offset;
  }
}

export type Dim = number | SymbolicDim;

type AttributeInput = number | string | readonly number[] | OnnxAttribute;

/** Collects the nodes and constants of one ONNX graph; operators add themselves through it. */
export class OnnxBuilder {
  readonly nodes: OnnxNode[] = [];
  readonly initializers = new Map<string, OnnxTensor>();
  readonly inputs: OnnxValue[] = [];
  readonly outputs: OnnxValue[] = [];
  /** Only standard operators, for files; else ONNX Runtime's own may be used where they are faster. */
  readonly standard: boolean;
  #names = 0;
  #constants = new Map<string, string>();
  #batch: string | undefined;
  #batchSource: { input: string; axis: number } | undefined;

  constructor({ standard = false } = {}) {
    this.standard = standard;
  }

  /** A name that is not used yet. */
  fresh(prefix = 't'): string {
    let name: string;
    do name = `${prefix}${this.#names++}`;
    while (this.initializers.has(name));
    return name;
  }

  /** Adds a node with one output and returns the output's name. */
  node(opType: string, inputs: readonly string[], attributes: Record<string, AttributeInput> = {}): string {
    return this.multi(opType, inputs, attributes, 1)[0];
  }

  /** Adds a node with several outputs. `domain` for operators outside the standard. */
  multi(
    opType: string,
    inputs: readonly string[],
    attributes: Record<string, AttributeInput>,
    outputs: number,
    domain = '',
  ): string[] {
    const names = Array.from({ length: outputs }, () => this.fresh());
    const list = [...inputs];
    while (list.length > 0 && list.at(-1) === '') list.pop();
    this.nodes.push({
      name: '',
      opType,
      domain,
      inputs: list,
      outputs: names,
      attributes: Object.fromEntries(Object.entries(attributes).map(([k, v]) => [k, attribute(v)])),
    });
    return names;
  }

  /** A float attribute (a plain number becomes an integer one). */
  float(value: number): OnnxAttribute {
    return { type: 'float', value };
  }

  /** A constant; small equal ones are stored once. */
  constant(array: NDArray): string {
    const key =
      array.data.length <= 64
        ? `${array.dtype}[${array.shape}]${Array.from(array.data as Float32Array, v => (Object.is(v, -0) ? '-0' : `${v}`))}`
        : undefined;
    const known = key && this.#constants.get(key);
    if (known) return known;
    const name = this.fresh('c');
    this.initializers.set(name, array);
    if (key) this.#constants.set(key, name);
    return name;
  }

  scalar(value: number, dtype: DType): string {
    const data = new (arrayType(dtype))(1);
    if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[0] = BigInt(value);
    else if (dtype === 'float16' || dtype === 'bfloat16') return this.cast(this.scalar(value, 'float32'), dtype);
    else data[0] = value;
    return this.constant({ dtype, shape: [], data });
  }

  cast(x: string, to: DType): string {
    return this.node('Cast', [x], { to: dataTypeOf(to) });
  }

  /** Names the graph input and axis from which symbolic sizes are computed at run time. */
  bindBatch(input: string, axis: number): void {
    this.#batchSource = { input, axis };
  }

  /** int64 vector of sizes or positions. Symbolic ones are computed in the graph from the batch size. */
  dims(values: readonly Dim[]): string {
    if (values.every(v => typeof v === 'number')) {
      const data = BigInt64Array.from(values as number[], v => BigInt(v));
      return this.constant({ dtype: 'int64', shape: [values.length], data });
    }
    return this.node(
      'Concat',
      values.map(v => (typeof v === 'number' ? this.dims([v]) : this.#symbolic(v))),
      { axis: 0 },
    );
  }

  reshape(x: string, shape: readonly Dim[]): string {
    const symbolic = shape.filter(d => typeof d !== 'number').length;
    // One unknown size is left to ONNX; zero-sized tensors need the exact shape.
    if (symbolic === 1 && !shape.includes(0)) {
      return this.node('Reshape', [x, this.dims(shape.map(d => (typeof d === 'number' ? d : -1)))]);
    }
    return this.node('Reshape', [x, this.dims(shape)], { allowzero: 1 });
  }

  #symbolic({ scale, offset }: SymbolicDim): string {
    if (!this.#batchSource) throw new GossamerError('export: a size depends on the batch, but no batch axis is bound');
    if (this.#batch === undefined) {
      const { input, axis } = this.#batchSource;
      this.#batch = this.node('Shape', [input], { start: axis, end: axis + 1 });
    }
    let size = this.#batch;
    if (scale !== 1) size = this.node('Mul', [size, this.dims([scale])]);
    return offset === 0 ? size : this.node('Add', [size, this.dims([offset])]);
  }
}

function attribute(value: AttributeInput): OnnxAttribute {
  if (typeof value === 'number') return { type: 'int', value };
  if (typeof value === 'string') return { type: 'string', value };
  return Array.isArray(value) ? { type: 'ints', value } : (value as OnnxAttribute);
}
