/** Reading a node's inputs: presence, whole numbers that decide shapes, axes. */
import type { Node } from '../load/graph.ts';
import type { DataType, Info, NumericArray, Value } from '../values.ts';
import { fail, type Inputs, numbers } from './operator.ts';

/**
 * Numbers held by input `i`, undefined when it is omitted. Takes values (in `run`) and constants (in `infer`), so that one
 * shape rule serves both.
 */
export function contents(node: Node, inputs: Inputs<Info>, i: number): number[] | undefined {
  const info = inputs[i];
  if (info === undefined) return undefined;
  const value = 'data' in info ? (info as Value) : info.value;
  if (value === undefined)
    return fail(node, `input ${i} (${node.inputs[i]}) decides the output's shape and is not known`);
  return Array.from(value.data as ArrayLike<number | bigint>, Number);
}

/** Axes from an attribute in versions before `since`, from input `i` afterwards. */
export const axesOf = (node: Node, inputs: Inputs<Info>, i: number, since: number): number[] | undefined =>
  node.version < since ? numbers(node, 'axes') : contents(node, inputs, i);

export const isFloat = (type: DataType): boolean => type.includes('float');
/** Held in BigInt arrays. */
export const isBig = (type: DataType): boolean => type.endsWith('int64');
export const isInteger = (type: DataType): boolean => type.includes('int');

/** A scalar number (or BigInt) of an optional input. */
export const scalarOf = (value: Value | undefined): number | bigint | undefined =>
  value && (value.data as NumericArray)[0];
