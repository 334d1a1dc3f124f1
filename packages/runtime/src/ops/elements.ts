/** Factories of operators that map elements to elements, with broadcasting, for every element type. */
import type { Node } from '../load/graph.ts';
import { type DataType, type Info, type NumericArray, sizeOf, type Value } from '../values.ts';
import { isBig, isFloat } from './access.ts';
import { broadcastShapes, expandedStrides, forEachRow } from './broadcast.ts';
import { narrow, room, widen } from './half.ts';
import { need } from './numeric.ts';
import { fail, type Inputs, number, type Operator } from './operator.ts';

/** A function of elements. Many bodies serve numbers and BigInts alike; `Unary` and `Binary` are typed by the former. */
export type Unary = (x: number) => number | boolean;
export type Binary = (x: number, y: number) => number | boolean;

/** A body for BigInts under the common type. */
export const big = (f: (...xs: bigint[]) => bigint) => f as unknown as Binary & Unary;

/** The type's name, or an error when the operator does not take it. */
export function numeric(node: Node, value: Value): Exclude<DataType, 'string'> {
  return value.type === 'string' ? fail(node, 'does not take strings') : value.type;
}

export function sameTypes(node: Node, inputs: Inputs<Info>): void {
  const types = inputs.flatMap(info => info?.type ?? []);
  if (types.some(type => type !== types[0])) fail(node, `inputs have types ${types.join(' and ')}, expected one type`);
}

// Loops apart for float32, so that their accesses stay specialised whatever else a model computes.
function mapFloat32(f: Unary, x: Float32Array, out: Float32Array): void {
  for (let i = 0; i < x.length; i++) out[i] = f(x[i]) as number;
}
function mapAny(f: Unary, x: Float64Array, out: Float64Array): void {
  for (let i = 0; i < x.length; i++) out[i] = f(x[i]) as number;
}

export function mapInto(f: Unary, x: NumericArray, out: NumericArray): void {
  if (x instanceof Float32Array && out instanceof Float32Array) mapFloat32(f, x, out);
  else mapAny(f, x as Float64Array, out as Float64Array);
}

export type Row = (a: Float64Array, b: Float64Array, out: Float64Array, at: number, row: readonly number[]) => void;

/**
 * Loops of their own for the functions that models compute on many elements: a call that returns a number costs ten times
 * what an addition does.
 */
const ROWS = new Map<Binary, Row>();

/** Registers the loop of a function of numbers. */
export function withRow(f: Binary, row: Row): Binary {
  ROWS.set(f, row);
  return f;
}

/** out = f(a, b) over the shape `dims`; `a` and `b` of shapes that expand to it. */
export function zip(
  f: Binary,
  a: ArrayLike<unknown>,
  aDims: readonly number[],
  b: ArrayLike<unknown>,
  bDims: readonly number[],
  out: NumericArray,
  dims: readonly number[],
): void {
  const fast = a instanceof BigInt64Array || a instanceof BigUint64Array ? undefined : ROWS.get(f);
  const [x, y, z] = [a, b, out] as [Float64Array, Float64Array, Float64Array];
  let at = 0;
  forEachRow(dims, [expandedStrides(aDims, dims), expandedStrides(bDims, dims)], ([i, j], [p, q], n) => {
    if (fast) {
      fast(x, y, z, at, [i, j, p, q, n]);
      at += n;
    } else for (const end = at + n; at < end; at++, i += p, j += q) z[at] = f(x[i], y[j]) as number;
  });
}

/** Elements as a function of the input's type; undefined refuses the type. */
export type ByType<F> = (type: DataType, node: Node) => F | undefined;

export function unary(byType: ByType<Unary>, attributes: readonly string[] = [], out?: DataType): Operator {
  return {
    attributes,
    infer: (node, inputs) => [{ type: out ?? need(node, inputs, 0).type, dims: need(node, inputs, 0).dims }],
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const f = byType(x.type, node) ?? fail(node, `does not take ${x.type}`);
      const type = out ?? numeric(node, x);
      const result = room(type as 'float32', sizeOf(x.dims));
      mapInto(f, widen(x), result);
      return [narrow(type, x.dims, result)];
    },
  };
}

export const floats = (f: Unary, attributes?: readonly string[]): Operator =>
  unary(type => (isFloat(type) ? f : undefined), attributes);

/** An activation of floats whose function depends on attributes. */
export const activation = (make: (node: Node) => Unary, ...attributes: string[]): Operator =>
  unary((type, node) => (isFloat(type) ? make(node) : undefined), attributes);

/** A function of floats and integers; `bigs` where BigInts need another body. */
export const numbersAndBigs = (f: Unary, bigs: Unary = f): Operator =>
  unary(type => (type === 'bool' || type === 'string' ? undefined : isBig(type) ? bigs : f));

/**
 * Before version 7 the second operand was placed at `axis` (PRelu's slope at the channels) and the axes behind it repeated it:
 * dimensions of 1 say the same to the broadcasting of today.
 */
export function placed<T extends Info>(node: Node, inputs: Inputs<T>): Inputs<T> {
  const [a, b] = inputs;
  if (node.version >= 7 || !a || !b) return inputs;
  const axis = number(node, 'axis') ?? (node.op === 'PRelu' && sizeOf(b.dims) > 1 ? 1 : undefined);
  if (axis === undefined) return inputs;
  const behind = a.dims.length - b.dims.length - (axis < 0 ? axis + a.dims.length : axis);
  return behind > 0 ? [a, { ...b, dims: [...b.dims, ...new Array<number>(behind).fill(1)] }] : inputs;
}

export function binary(byType: ByType<Binary>, attributes: readonly string[] = [], out?: DataType): Operator {
  const infer = (node: Node, inputs: Inputs<Info>): Info[] => {
    const [a, b] = placed(node, [need(node, inputs, 0), need(node, inputs, 1)]) as [Info, Info];
    sameTypes(node, inputs);
    return [{ type: out ?? a.type, dims: broadcastShapes(node, [a.dims, b.dims]) }];
  };
  return {
    attributes: [...attributes, 'axis', 'broadcast'],
    infer,
    run(node, inputs) {
      const [{ type, dims }] = infer(node, inputs);
      const [a, b] = placed(node, inputs) as [Value, Value];
      const f = byType(a.type, node) ?? fail(node, `does not take ${a.type}`);
      const result = room(type as 'float32', sizeOf(dims));
      zip(f, widen(a), a.dims, widen(b), b.dims, result, dims);
      return [narrow(type, dims, result)];
    },
  };
}

/** Sum, Max, Min and Mean: any number of inputs. */
export function variadic(byType: ByType<Binary>, mean = false): Operator {
  const infer = (node: Node, inputs: Inputs<Info>): Info[] => {
    sameTypes(node, inputs);
    const all = inputs.map((_, i) => need(node, inputs, i));
    return [
      {
        type: need(node, inputs, 0).type,
        dims: broadcastShapes(
          node,
          all.map(info => info.dims),
        ),
      },
    ];
  };
  return {
    attributes: [],
    infer,
    run(node, inputs) {
      const [{ dims }] = infer(node, inputs);
      const type = numeric(node, inputs[0]!);
      const f = byType(type, node) ?? fail(node, `does not take ${type}`);
      let [sum, sumDims] = [widen(inputs[0]!), inputs[0]!.dims];
      for (const value of inputs.slice(1) as Value[]) {
        const next = room(type, sizeOf(dims));
        zip(f, sum, sumDims, widen(value), value.dims, next, dims);
        [sum, sumDims] = [next, dims];
      }
      const count = inputs.length;
      if (mean) mapInto(x => x / count, sum, (sum = room(type, sum.length)));
      return [narrow(type, dims, sum)];
    },
  };
}
