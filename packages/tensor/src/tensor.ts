import type { DType, NDArray, TypedArray } from './dtype.ts';
import { arrayType, sizeOf } from './dtype.ts';
import { check, GossamerError } from './errors.ts';
import { leafNode, type Node, type Spec } from './graph.ts';
import { toFloat32 } from './half.ts';
import { formatShape } from './operator.ts';
import type { Operand } from './ops/elementwise.ts';
import * as elementwise from './ops/elementwise.ts';
import * as gathering from './ops/gather.ts';
import { matmul } from './ops/matmul.ts';
import * as movement from './ops/movement.ts';
import type { Axes } from './ops/reduce.ts';
import * as reduce from './ops/reduce.ts';
import * as sorting from './ops/sort.ts';
import { realize } from './realize.ts';

/**
 * A lazy, immutable n-dimensional array. Operators build a graph; `await t.data()` (or `realize` for several tensors at
 * once) compiles and runs what is missing. A realised tensor is a leaf: the graph behind it is gone.
 */
export class Tensor implements Spec {
  node: Node;

  constructor(node: Node) {
    this.node = node;
  }

  get shape(): readonly number[] {
    return this.node.shape;
  }
  get dtype(): DType {
    return this.node.dtype;
  }
  get rank(): number {
    return this.node.shape.length;
  }
  get size(): number {
    return sizeOf(this.node.shape);
  }
  /** Whether the data is there: a leaf. */
  get isRealized(): boolean {
    return this.node.data !== undefined;
  }

  /** The node that an operator takes as its input. */
  use(): Node {
    return this.node;
  }

  /** Computes the elements (row-major). The array belongs to the tensor: do not write to it. */
  async data(): Promise<Float32Array>;
  async data<T extends TypedArray>(): Promise<T>;
  async data(): Promise<TypedArray> {
    await realize(this);
    this.node.pinned = true;
    return this.node.data!;
  }

  /** Computes the tensor and returns it as a plain array with shape and dtype. */
  async array(): Promise<NDArray> {
    return { dtype: this.dtype, shape: this.shape, data: await this.data<TypedArray>() };
  }

  /** The single number of a one-element tensor. */
  async item(): Promise<number> {
    check(this.size === 1, () => `item: the tensor ${formatShape(this.shape)} has ${this.size} elements, expected 1`);
    return Number((await this.#numbers())[0]);
  }

  /** Nested arrays of numbers, for looking at small tensors. */
  async tolist(): Promise<unknown> {
    const data = await this.#numbers();
    const nest = (axis: number, offset: number): unknown => {
      if (axis === this.rank) return Number(data[offset]);
      const stride = sizeOf(this.shape.slice(axis + 1));
      return Array.from({ length: this.shape[axis] }, (_, i) => nest(axis + 1, offset + i * stride));
    };
    return nest(0, 0);
  }

  /** The elements as numbers, half precision too. */
  async #numbers(): Promise<TypedArray> {
    const array = await this.array();
    return this.dtype === 'float16' || this.dtype === 'bfloat16' ? toFloat32(array).data : array.data;
  }

  toString(): string {
    return `Tensor ${this.dtype}${formatShape(this.shape)}`;
  }

  // Elementwise, one operand
  neg(): Tensor {
    return elementwise.neg(this);
  }
  abs(): Tensor {
    return elementwise.abs(this);
  }
  sign(): Tensor {
    return elementwise.sign(this);
  }
  floor(): Tensor {
    return elementwise.floor(this);
  }
  ceil(): Tensor {
    return elementwise.ceil(this);
  }
  round(): Tensor {
    return elementwise.round(this);
  }
  floorSTE(): Tensor {
    return elementwise.floorSTE(this);
  }
  roundSTE(): Tensor {
    return elementwise.roundSTE(this);
  }
  signSTE(): Tensor {
    return elementwise.signSTE(this);
  }
  exp(): Tensor {
    return elementwise.exp(this);
  }
  log(): Tensor {
    return elementwise.log(this);
  }
  log1p(): Tensor {
    return elementwise.log1p(this);
  }
  expm1(): Tensor {
    return elementwise.expm1(this);
  }
  sqrt(): Tensor {
    return elementwise.sqrt(this);
  }
  rsqrt(): Tensor {
    return elementwise.rsqrt(this);
  }
  reciprocal(): Tensor {
    return elementwise.reciprocal(this);
  }
  square(): Tensor {
    return elementwise.square(this);
  }
  sin(): Tensor {
    return elementwise.sin(this);
  }
  cos(): Tensor {
    return elementwise.cos(this);
  }
  tan(): Tensor {
    return elementwise.tan(this);
  }
  asin(): Tensor {
    return elementwise.asin(this);
  }
  acos(): Tensor {
    return elementwise.acos(this);
  }
  atan(): Tensor {
    return elementwise.atan(this);
  }
  tanh(): Tensor {
    return elementwise.tanh(this);
  }
  sigmoid(): Tensor {
    return elementwise.sigmoid(this);
  }
  logSigmoid(): Tensor {
    return elementwise.logSigmoid(this);
  }
  erf(): Tensor {
    return elementwise.erf(this);
  }
  softplus(): Tensor {
    return elementwise.softplus(this);
  }
  relu(): Tensor {
    return elementwise.relu(this);
  }
  relu6(): Tensor {
    return elementwise.relu6(this);
  }
  gelu(): Tensor {
    return elementwise.gelu(this);
  }
  geluTanh(): Tensor {
    return elementwise.geluTanh(this);
  }
  silu(): Tensor {
    return elementwise.silu(this);
  }
  mish(): Tensor {
    return elementwise.mish(this);
  }
  hardSigmoid(): Tensor {
    return elementwise.hardSigmoid(this);
  }
  hardSwish(): Tensor {
    return elementwise.hardSwish(this);
  }
  leakyRelu(alpha = 0.01): Tensor {
    return elementwise.leakyRelu(this, alpha);
  }
  elu(alpha = 1): Tensor {
    return elementwise.elu(this, alpha);
  }
  /** Limits values to [low, high]. */
  clamp(low = -Infinity, high = Infinity): Tensor {
    return elementwise.clamp(this, low, high);
  }
  not(): Tensor {
    return elementwise.logicalNot(this);
  }
  /** The same values; gradients do not pass. */
  detach(): Tensor {
    return elementwise.stopGradient(this);
  }
  cast(dtype: DType): Tensor {
    return elementwise.cast(this, dtype);
  }

  // Elementwise, two operands (they broadcast; numbers take this tensor's dtype)
  add(other: Operand): Tensor {
    return elementwise.add(this, other);
  }
  sub(other: Operand): Tensor {
    return elementwise.sub(this, other);
  }
  mul(other: Operand): Tensor {
    return elementwise.mul(this, other);
  }
  div(other: Operand): Tensor {
    return elementwise.div(this, other);
  }
  pow(other: Operand): Tensor {
    return elementwise.pow(this, other);
  }
  mod(other: Operand): Tensor {
    return elementwise.mod(this, other);
  }
  minimum(other: Operand): Tensor {
    return elementwise.minimum(this, other);
  }
  maximum(other: Operand): Tensor {
    return elementwise.maximum(this, other);
  }
  eq(other: Operand): Tensor {
    return elementwise.eq(this, other);
  }
  ne(other: Operand): Tensor {
    return elementwise.ne(this, other);
  }
  lt(other: Operand): Tensor {
    return elementwise.lt(this, other);
  }
  le(other: Operand): Tensor {
    return elementwise.le(this, other);
  }
  gt(other: Operand): Tensor {
    return elementwise.gt(this, other);
  }
  ge(other: Operand): Tensor {
    return elementwise.ge(this, other);
  }
  and(other: Operand): Tensor {
    return elementwise.logicalAnd(this, other);
  }
  or(other: Operand): Tensor {
    return elementwise.logicalOr(this, other);
  }
  xor(other: Operand): Tensor {
    return elementwise.logicalXor(this, other);
  }
  /** Where this (bool) holds `a`, else `b`. */
  where(a: Operand, b: Operand): Tensor {
    return elementwise.where(this, a, b);
  }

  // Products
  matmul(other: Tensor): Tensor {
    return matmul(this, other);
  }

  // Reductions (all axes by default; `keep` leaves them as length 1)
  sum(axes?: Axes, keep = false): Tensor {
    return reduce.sum(this, axes, keep);
  }
  mean(axes?: Axes, keep = false): Tensor {
    return reduce.mean(this, axes, keep);
  }
  max(axes?: Axes, keep = false): Tensor {
    return reduce.max(this, axes, keep);
  }
  min(axes?: Axes, keep = false): Tensor {
    return reduce.min(this, axes, keep);
  }
  prod(axes?: Axes, keep = false): Tensor {
    return reduce.prod(this, axes, keep);
  }
  logsumexp(axes?: Axes, keep = false): Tensor {
    return reduce.logsumexp(this, axes, keep);
  }
  any(axes?: Axes, keep = false): Tensor {
    return reduce.any(this, axes, keep);
  }
  all(axes?: Axes, keep = false): Tensor {
    return reduce.all(this, axes, keep);
  }
  variance(axes?: Axes, keep = false, correction = 0): Tensor {
    return reduce.variance(this, axes, keep, correction);
  }
  std(axes?: Axes, keep = false, correction = 0): Tensor {
    return reduce.std(this, axes, keep, correction);
  }
  norm(p = 2, axes?: Axes, keep = false): Tensor {
    return reduce.norm(this, p, axes, keep);
  }
  cumsum(axis = -1, options: { exclusive?: boolean; reverse?: boolean } = {}): Tensor {
    return reduce.cumsum(this, axis, options);
  }
  softmax(axis = -1): Tensor {
    return reduce.softmax(this, axis);
  }
  logSoftmax(axis = -1): Tensor {
    return reduce.logSoftmax(this, axis);
  }

  // Movement
  reshape(shape: readonly number[]): Tensor {
    return movement.reshape(this, shape);
  }
  flatten(from = 1, to = -1): Tensor {
    return movement.flatten(this, from, to);
  }
  /** Permutes axes; without `perm` the last two are swapped. */
  transpose(perm?: readonly number[]): Tensor {
    return movement.transpose(this, perm);
  }
  expand(shape: readonly number[]): Tensor {
    return movement.expand(this, shape);
  }
  squeeze(axes?: number | readonly number[]): Tensor {
    return movement.squeeze(this, axes);
  }
  unsqueeze(axis: number): Tensor {
    return movement.unsqueeze(this, axis);
  }
  /** Elements start, start + step, … before `end` along `axis`; negative positions count from the end. */
  slice(axis: number, start?: number, end?: number, step = 1): Tensor {
    return movement.slice(this, axis, start, end, step);
  }
  flip(axes?: number | readonly number[]): Tensor {
    return movement.flip(this, axes);
  }
  pad(pads: readonly movement.Padding[], mode: movement.PadMode = 'constant', value = 0): Tensor {
    return movement.pad(this, pads, mode, value);
  }
  split(pieces: number | readonly number[], axis = 0): Tensor[] {
    return movement.split(this, pieces, axis);
  }
  tile(times: readonly number[]): Tensor {
    return movement.tile(this, times);
  }

  // Indexing and order (int32 positions; negative ones count from the end)
  /** Slices along `axis` at the given positions. */
  gather(indices: Tensor, axis = 0): Tensor {
    return gathering.gather(this, indices, axis);
  }
  /** One element for each position in `indices`, which stands in place of the coordinate `axis`. */
  gatherElements(indices: Tensor, axis = -1): Tensor {
    return gathering.gatherElements(this, indices, axis);
  }
  /** Adds slices of `updates` at positions along `axis`; repeated positions add up. */
  scatterAdd(indices: Tensor, updates: Tensor, axis = 0): Tensor {
    return gathering.scatterAdd(this, indices, updates, axis);
  }
  /** 1 at the position that each integer names on a new last axis, else 0. */
  oneHot(depth: number): Tensor {
    return gathering.oneHot(this, depth);
  }
  argmax(axis = -1, keep = false): Tensor {
    return sorting.argmax(this, axis, keep);
  }
  argmin(axis = -1, keep = false): Tensor {
    return sorting.argmin(this, axis, keep);
  }
  /** The k largest (or smallest) elements along an axis and their positions. */
  topk(k: number, axis = -1, options: { largest?: boolean; sorted?: boolean } = {}): [values: Tensor, indices: Tensor] {
    return sorting.topk(this, k, axis, options);
  }
  sort(axis = -1, descending = false): [values: Tensor, indices: Tensor] {
    return sorting.sort(this, axis, descending);
  }
}

type Nested = number | boolean | readonly Nested[];

/** A leaf from numbers (nested arrays give the shape), a typed array with its shape, or a plain array. */
export function tensor(data: Nested | TypedArray | NDArray, shape?: readonly number[], dtype?: DType): Tensor {
  if (typeof data === 'object' && 'dtype' in data)
    return new Tensor(leafNode(data, checkedLength(data.data, data.shape)));
  if (ArrayBuffer.isView(data)) {
    const array = data as TypedArray;
    const type = dtype ?? defaultDtype(array);
    check(array instanceof arrayType(type), () => `tensor: ${array.constructor.name} does not store ${type}`);
    const spec = { shape: shape ? [...shape] : [array.length], dtype: type };
    return new Tensor(leafNode(spec, checkedLength(array, spec.shape)));
  }
  const inferred: number[] = [];
  for (let x = data as Nested; typeof x === 'object'; x = x[0]) {
    inferred.push(x.length);
    if (x.length === 0) break;
  }
  check(
    isRegular(data as Nested, inferred),
    () => `tensor: the nested arrays are not all of one shape ${formatShape(inferred)}`,
  );
  const flat = (typeof data === 'object' ? (data as readonly unknown[]).flat(Infinity) : [data]) as (
    | number
    | boolean
  )[];
  const out = shape ?? inferred;
  const type = dtype ?? (typeof flat[0] === 'boolean' ? 'bool' : 'float32');
  const array = new (arrayType(type))(flat.length);
  const big = array instanceof BigInt64Array || array instanceof BigUint64Array;
  for (let i = 0; i < flat.length; i++) array[i] = big ? BigInt(flat[i]) : Number(flat[i]);
  return new Tensor(leafNode({ shape: out, dtype: type }, checkedLength(array, out)));
}

const isRegular = (data: Nested, [length, ...rest]: readonly number[]): boolean =>
  typeof data === 'object' ? data.length === length && data.every(x => isRegular(x, rest)) : length === undefined;

function checkedLength(data: TypedArray, shape: readonly number[]): TypedArray {
  if (data.length !== sizeOf(shape)) {
    throw new GossamerError(`tensor: ${data.length} elements do not fill shape ${formatShape(shape)}`);
  }
  return data;
}

function defaultDtype(data: TypedArray): DType {
  const name = data.constructor.name.replace('Array', '').replace('Big', '').toLowerCase();
  check(
    name !== 'uint16',
    'tensor: a Uint16Array may hold uint16, float16 or bfloat16: name the dtype, e.g. tensor(data, shape, "float16")',
  );
  return name as DType;
}
