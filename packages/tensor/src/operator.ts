import type { DType, NDArray, TypedArray } from './dtype.ts';
import { GossamerError } from './errors.ts';
import { Node, type Spec } from './graph.ts';
import type { OnnxBuilder } from './onnx/builder.ts';
import { Tensor } from './tensor.ts';

/** What an operator is told besides its inputs: plain JSON, part of the structural hash. */
export type Attributes = object;

/** One application of an operator during differentiation. `T` is `Tensor`, or `Tensor[]` for several outputs. */
export interface GradientCall<A> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly attributes: A;
  /** ∂loss/∂output of each output; zeros where an output does not reach the loss. */
  readonly grads: readonly Tensor[];
  /** Whether ∂loss/∂input `i` will be used; skip costly work where it is not. */
  needs(i: number): boolean;
  /** Whether output `i` reaches the loss; where it does not, `grads[i]` is zeros. */
  reaches(i: number): boolean;
}

/** What emission sees of a node. Inside dynamic-batch export, numbers of `attributes` and `shape` may be symbolic. */
export interface Emission<A> {
  readonly attributes: A;
  readonly outputs: readonly Spec[];
  readonly inputs: readonly Spec[];
}

/**
 * An operator in one place: shape rule, gradient rule and how it runs. It runs either as ONNX nodes (`emit`) or, as a
 * host operator, in TypeScript or WebAssembly (`run`); the compiler splits the graph around host operators.
 */
export interface Operator<A extends Attributes = Attributes> {
  readonly name: string;
  /** Shape rule; throws a {@link GossamerError} that a caller understands. */
  infer(inputs: readonly Spec[], attributes: A): Spec | readonly Spec[];
  /** ∂loss/∂inputs, built from tensors so that gradients of gradients work. Absent: not differentiable. */
  gradient?(call: GradientCall<A>): readonly (Tensor | undefined)[];
  /** Adds ONNX nodes and returns the names of the outputs. */
  emit?(builder: OnnxBuilder, inputs: readonly string[], node: Emission<A>): string | readonly string[];
  /** Host operator: computes the outputs from realised inputs. Returned arrays become the outputs' storage. */
  run?(
    inputs: readonly NDArray[],
    attributes: A,
    outputs: readonly Spec[],
  ): TypedArray | readonly TypedArray[] | Promise<TypedArray | readonly TypedArray[]>;
}

/** Selects one output of an operator that has several. */
const part: Operator<{ index: number }> = {
  name: 'part',
  infer: () => {
    throw new GossamerError('part: made by operators with several outputs only');
  },
};

/** Output number `index` of a node that has several. */
export const partNode = (tuple: Node, index: number): Node =>
  new Node(part as unknown as Operator, [tuple], { index }, tuple.parts![index]);

/** Which output of its input a node selects; undefined for every other node. */
export const partIndex = ({ op, attributes }: Pick<Node, 'op' | 'attributes'>): number | undefined =>
  (op as unknown) === part ? (attributes as { index: number }).index : undefined;

function build<A extends Attributes>(op: Operator<A>, inputs: readonly Tensor[], attributes: A): Node[] {
  const nodes = inputs.map(t => t.use());
  const specs = op.infer(nodes, attributes);
  const erased = op as unknown as Operator;
  if (!Array.isArray(specs)) return [new Node(erased, nodes, attributes, specs as Spec)];
  const tuple = new Node(erased, nodes, attributes, { shape: [], dtype: 'float32' }, specs);
  return specs.map((_, index) => partNode(tuple, index));
}

/** Makes the function that applies a one-output operator. */
export function operator<A extends Attributes>(op: Operator<A>): (inputs: readonly Tensor[], attributes: A) => Tensor {
  return (inputs, attributes) => new Tensor(build(op, inputs, attributes)[0]);
}

/** Makes the function that applies an operator with several outputs. */
export function multiOperator<A extends Attributes>(
  op: Operator<A>,
): (inputs: readonly Tensor[], attributes: A) => Tensor[] {
  return (inputs, attributes) => build(op, inputs, attributes).map(node => new Tensor(node));
}

/** The common dtype of all inputs, or an error that names them. */
export function sameDtype(name: string, inputs: readonly Spec[]): DType {
  const dtype = inputs[0].dtype;
  if (inputs.some(x => x.dtype !== dtype)) {
    throw new GossamerError(`${name}: dtypes ${inputs.map(x => x.dtype).join(' and ')} differ; cast one`);
  }
  return dtype;
}

/** Axis in [0, rank), negative counting from the end, or an error. */
export function normalizeAxis(name: string, axis: number, rank: number): number {
  const a = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || a < 0 || a >= rank) {
    throw new GossamerError(`${name}: axis ${axis} is out of range for a tensor of rank ${rank}`);
  }
  return a;
}

/** Several axes, normalised, ascending and distinct. `undefined` means all. */
export function normalizeAxes(name: string, axes: number | readonly number[] | undefined, rank: number): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  const list = (typeof axes === 'number' ? [axes] : axes).map(a => normalizeAxis(name, a, rank));
  if (new Set(list).size !== list.length) throw new GossamerError(`${name}: axes [${list}] repeat`);
  return list.sort((a, b) => a - b);
}

export const formatShape = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** Numpy broadcasting of several shapes. */
export function broadcastShapes(name: string, ...shapes: (readonly number[])[]): number[] {
  const rank = Math.max(...shapes.map(s => s.length));
  const out = new Array<number>(rank).fill(1);
  for (const shape of shapes) {
    for (let i = 0; i < shape.length; i++) {
      const axis = rank - shape.length + i;
      if (shape[i] === out[axis] || shape[i] === 1) continue;
      if (out[axis] !== 1) {
        throw new GossamerError(`${name}: shapes ${shapes.map(formatShape).join(' and ')} do not broadcast`);
      }
      out[axis] = shape[i];
    }
  }
  return out;
}
