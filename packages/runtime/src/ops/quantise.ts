/** Linear quantisation: numbers as small integers with a scale and a zero point. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { bytesOf, type DataType, type Info, type NumericArray, sizeOf } from '../values.ts';
import { isInteger } from './access.ts';
import { typeAttribute } from './cast.ts';
import { narrow, room, widen } from './half.ts';
import { axisOf, type Floats, need, pack, roundEven } from './numeric.ts';
import { fail, type Inputs, number, type Operator, type Operators } from './operator.ts';
import { saturate } from './saturate.ts';

/**
 * out[i] = f(x[i], scale, zero) where scale and zero point are one number, one for each index of an axis, or one for each
 * block of `block_size` along the axis.
 */
function scaled(
  node: Node,
  inputs: Inputs,
  out: NumericArray,
  f: (x: number, scale: number, zero: number) => number,
): void {
  const [x, scale] = [need(node, inputs, 0), need(node, inputs, 1)];
  const zero = inputs[2];
  const [data, scales] = [widen(x) as Float32Array, widen(scale) as Float32Array];
  if (zero && sizeOf(zero.dims) !== scales.length) {
    fail(node, `scale has shape [${scale.dims}] and the zero point [${zero.dims}]: they must be equal`);
  }
  const zeros = zero ? (widen(zero) as Int8Array) : new Int8Array(scales.length);
  const block = number(node, 'block_size', 0);
  const whole = scales.length === 1 && !block;
  const axis = whole ? 0 : axisOf(node, number(node, 'axis', 1), x.dims.length);
  const length = whole ? 1 : x.dims[axis];
  const inner = whole ? data.length : sizeOf(x.dims.slice(axis + 1));
  const outer = whole ? 1 : sizeOf(x.dims.slice(0, axis));
  const blocks = block ? Math.ceil(length / block) : length;
  if (block ? scales.length !== outer * blocks * inner : scales.length !== length) {
    fail(node, `scale has shape [${scale.dims}], which does not fit an input of shape [${x.dims}] along axis ${axis}`);
  }
  for (let o = 0, i = 0; o < outer; o++) {
    for (let d = 0; d < length; d++) {
      let at = block ? (o * blocks + Math.floor(d / block)) * inner : d;
      const step = block ? 1 : 0;
      for (const end = i + inner; i < end; i++, at += step) out[i] = f(data[i], scales[at], zeros[at]);
    }
  }
}

const quantizedType = (node: Node, inputs: Inputs<Info>): DataType =>
  inputs[2]?.type ?? typeAttribute(node, 'output_dtype', 'uint8');

const quantize: Operator = {
  attributes: ['axis', 'block_size', 'output_dtype', 'precision', 'saturate'],
  infer: (node, inputs) => [{ type: quantizedType(node, inputs), dims: need(node, inputs, 0).dims }],
  run(node, inputs) {
    const { dims } = need(node, inputs, 0);
    const type = quantizedType(node, inputs);
    if (!isInteger(type) || bytesOf(type as 'int8') > 2) fail(node, `does not quantise to ${type}`);
    const data = new Float64Array(sizeOf(dims));
    scaled(node, inputs, data, (x, scale, zero) => roundEven(Math.fround(x / scale)) + zero);
    return [pack(type, dims, saturate(type, data))];
  },
};

const dequantizedType = (node: Node, inputs: Inputs<Info>): DataType =>
  typeAttribute(node, 'output_dtype') ?? need(node, inputs, 1).type;

const dequantize: Operator = {
  attributes: ['axis', 'block_size', 'output_dtype'],
  infer: (node, inputs) => [{ type: dequantizedType(node, inputs), dims: need(node, inputs, 0).dims }],
  run(node, inputs) {
    const { dims } = need(node, inputs, 0);
    const type = dequantizedType(node, inputs);
    const data = room(type as 'float32', sizeOf(dims));
    scaled(node, inputs, data, (x, scale, zero) => (x - zero) * scale);
    return [narrow(type, dims, data)];
  },
};

/** Scale and zero point of uint8 over a range that holds all of the numbers, and zero. */
export function uint8Range(numbers: Floats): [scale: number, zero: number] {
  let [low, high] = [0, 0];
  for (let i = 0; i < numbers.length; i++) {
    low = Math.min(low, numbers[i]);
    high = Math.max(high, numbers[i]);
  }
  const scale = high > low ? Math.fround(Math.fround(high - low) / 255) : 1;
  return [scale, toUint8(-low, scale, 0)];
}

/** x / scale + zero, rounded to even and saturated. */
export const toUint8 = (x: number, scale: number, zero: number): number =>
  Math.max(0, Math.min(255, roundEven(Math.fround(x / scale)) + zero));

const dynamicQuantize: Operator = {
  attributes: [],
  infer: (node, inputs) => [
    { type: 'uint8', dims: need(node, inputs, 0).dims },
    { type: 'float32', dims: [] },
    { type: 'uint8', dims: [] },
  ],
  run(node, inputs) {
    const x = need(node, inputs, 0);
    const data = x.data as Float32Array;
    const [scale, zero] = uint8Range(data);
    return [
      { type: 'uint8', dims: x.dims, data: Uint8Array.from(data, v => toUint8(v, scale, zero)) },
      { type: 'float32', dims: [], data: Float32Array.of(scale) },
      { type: 'uint8', dims: [], data: Uint8Array.of(zero) },
    ];
  },
};

export const operators: Operators = {
  QuantizeLinear: quantize,
  DequantizeLinear: dequantize,
  DynamicQuantizeLinear: dynamicQuantize,
};
