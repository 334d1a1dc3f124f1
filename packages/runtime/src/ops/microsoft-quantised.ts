/** Quantised operators of com.microsoft: integers in and out, the arithmetic between them in floating point. */
import type { Node } from '../load/graph.ts';
import { type DataType, type Info, sizeOf, type Value } from '../values.ts';
import { elementwiseOperators } from './elementwise.ts';
import { matMulShape, multiply } from './matmul.ts';
import { movementOperators } from './movement.ts';
import { dot, type Floats, floats, need, pack, roundEven, scalar, workspace } from './numeric.ts';
import { type Context, fail, type Inputs, number, type Operator, type Operators } from './operator.ts';
import { poolOperators } from './pool.ts';
import { toUint8, uint8Range } from './quantise.ts';
import { saturate } from './saturate.ts';
import { softmaxOperators } from './softmax.ts';

/** (x − zero) · scale with one scale for the whole value, as float32. */
function dequantise(value: Value, scale: Value, zeroPoint: Value | undefined): Value {
  const [s, zero] = [scalar(scale), scalar(zeroPoint)];
  const data = Float32Array.from(floats(value), x => (x - zero) * s);
  return { type: 'float32', dims: value.dims, data };
}

function quantise(value: Value, scale: Value, zeroPoint: Value | undefined, fallback: DataType): Value {
  const [s, zero] = [scalar(scale), scalar(zeroPoint)];
  const type = zeroPoint?.type ?? fallback;
  const data = Float64Array.from(floats(value), x => roundEven(Math.fround(x / s)) + zero);
  return pack(type, value.dims, saturate(type, data));
}

interface Rule {
  /** The operator between the two conversions, and the version it is run as. */
  readonly op: string;
  readonly operator: Operator;
  readonly version?: number;
  /** Input of the first (value, scale, zero point), and how many triples there are; −1 for all that follow. */
  readonly first?: number;
  readonly count?: number;
  /** Input of the result's scale, followed by its zero point; after the triples unless given. */
  readonly result?: number;
  readonly more?: readonly string[];
}

/** An operator on (value, scale, zero point) triples. */
function through({ op, operator, version = 13, first = 0, count = 1, result, more = [] }: Rule): Operator {
  const plan = (node: Node, inputs: Inputs<Info>) => {
    const triples = count < 0 ? Math.floor((inputs.length - first) / 3) : count;
    if (number(node, 'channels_last', 0)) fail(node, 'channels_last is not supported; export with channels first');
    const at = result ?? first + 3 * triples;
    // Attributes of the quantised operator are those of the plain one.
    const plain: Node = { ...node, op, domain: '', version: number(node, 'opset', version) };
    return { plain, at, places: Array.from({ length: triples }, (_, i) => first + 3 * i) };
  };
  return {
    attributes: [...operator.attributes, 'channels_last', ...more],
    infer:
      operator.infer &&
      ((node, inputs) => {
        const { plain, at, places } = plan(node, inputs);
        const values = places.map(i => need(node, inputs, i));
        const [{ dims }] = operator.infer!(plain, values);
        return [{ type: inputs[at + 1]?.type ?? values[0].type, dims }];
      }),
    run(node, inputs, context: Context) {
      const { plain, at, places } = plan(node, inputs);
      const values = places.map(i => dequantise(need(node, inputs, i), need(node, inputs, i + 1), inputs[i + 2]));
      const [y] = operator.run(plain, values, context);
      return [quantise(y, need(node, inputs, at), inputs[at + 1], need(node, inputs, places[0]).type)];
    },
  };
}

/** Integers less their zero point: one for all, or one for each column of a matrix. */
function centred(value: Value, zeroPoint: Value | undefined): Float64Array {
  const zero = zeroPoint ? floats(zeroPoint) : [0];
  return Float64Array.from(floats(value), (x, i) => x - zero[zero.length === 1 ? 0 : i % zero.length]);
}

/** a · b of centred integers as floats: scaled for all or by column, and shifted by a bias. */
function scaledProduct(
  node: Node,
  a: Floats,
  aDims: readonly number[],
  aScale: number,
  b: Value,
  bScale: Value,
  bZero: Value | undefined,
  bias: Value | undefined,
): Value {
  const shape = matMulShape(node, aDims, b.dims);
  const y = multiply(shape, a, centred(b, bZero), new Float64Array(sizeOf(shape.dims)));
  const scales = floats(bScale);
  const shifts = bias && floats(bias);
  for (let i = 0; i < y.length; i++) {
    const column = i % shape.n;
    y[i] = y[i] * aScale * scales[scales.length === 1 ? 0 : column] + (shifts ? shifts[column] : 0);
  }
  return pack('float32', shape.dims, y);
}

const productInfer = (node: Node, inputs: Inputs<Info>): Info[] => [
  { type: 'float32', dims: matMulShape(node, need(node, inputs, 0).dims, need(node, inputs, 1).dims).dims },
];

/** K and N of a MatMulNBits node, and its output's shape. */
function packedShape(node: Node, inputs: Inputs<Info>) {
  const { type, dims } = need(node, inputs, 0);
  const [k, n] = [number(node, 'K', 0), number(node, 'N', 0)];
  if (dims[dims.length - 1] !== k) fail(node, `input [${dims}] × [${k}, ${n}]: inner dimensions differ`);
  return { type, k, n, dims: [...dims.slice(0, -1), n] };
}

/** x · Wᵀ with W [N, K] packed in blocks of 2-, 4- or 8-bit integers, each block with its scale and zero point. */
const matMulNBits: Operator = {
  attributes: ['K', 'N', 'bits', 'block_size', 'accuracy_level'],
  infer(node, inputs) {
    const { type, dims } = packedShape(node, inputs);
    return [{ type, dims }];
  },
  run(node, inputs) {
    const { type, k, n, dims } = packedShape(node, inputs);
    const x = floats(need(node, inputs, 0));
    const bits = number(node, 'bits', 4);
    const block = number(node, 'block_size', 32);
    if (inputs[4] && inputs[4].data.length > 0)
      fail(node, 'g_idx (act-order groups) is not supported; quantise without it');
    const weights = need(node, inputs, 1).data as Uint8Array;
    const scales = floats(need(node, inputs, 2));
    const zeroes = inputs[3];
    const blocks = Math.ceil(k / block);
    const mask = 2 ** bits - 1;
    const unpack = (bytes: Uint8Array, at: number, i: number) =>
      (bytes[at + ((i * bits) >> 3)] >> ((i * bits) & 7)) & mask;
    const zeroBytes = Math.ceil((blocks * bits) / 8);
    const zeroOf = (row: number, b: number): number => {
      if (!zeroes) return 2 ** (bits - 1);
      if (zeroes.type === 'uint8') return unpack(zeroes.data as Uint8Array, row * zeroBytes, b);
      return floats(zeroes)[row * blocks + b];
    };
    const bias = inputs[5] && floats(inputs[5]);
    const rows = x.length / k;
    const y = workspace(type, rows * n);
    const w = new Float32Array(k);
    const blob = (block * bits) / 8;
    for (let j = 0; j < n; j++) {
      for (let b = 0; b < blocks; b++) {
        const scale = scales[j * blocks + b];
        const zero = zeroOf(j, b);
        const at = (j * blocks + b) * blob;
        for (let i = 0, end = Math.min(block, k - b * block); i < end; i++)
          w[b * block + i] = (unpack(weights, at, i) - zero) * scale;
      }
      for (let r = 0; r < rows; r++) y[r * n + j] = dot(k, x, r * k, w, 0) + (bias ? bias[j] : 0);
    }
    return [pack(type, dims, y)];
  },
};

export const quantised: Operators = {
  QLinearAdd: through({ op: 'Add', operator: elementwiseOperators.Add, count: 2 }),
  QLinearMul: through({ op: 'Mul', operator: elementwiseOperators.Mul, count: 2 }),
  QLinearSigmoid: through({ op: 'Sigmoid', operator: elementwiseOperators.Sigmoid }),
  QLinearLeakyRelu: through({ op: 'LeakyRelu', operator: elementwiseOperators.LeakyRelu }),
  QLinearGlobalAveragePool: through({ op: 'GlobalAveragePool', operator: poolOperators.GlobalAveragePool }),
  QLinearAveragePool: through({ op: 'AveragePool', operator: poolOperators.AveragePool, version: 19 }),
  QLinearConcat: through({ op: 'Concat', operator: movementOperators.Concat, first: 2, count: -1, result: 0 }),
  QLinearSoftmax: through({ op: 'Softmax', operator: softmaxOperators.Softmax, more: ['opset'] }),
  DynamicQuantizeMatMul: {
    attributes: [],
    infer: productInfer,
    run(node, inputs) {
      const a = need(node, inputs, 0);
      const x = floats(a);
      const [scale, zero] = uint8Range(x);
      const centre = Float64Array.from(x, value => toUint8(value, scale, zero) - zero);
      return [
        scaledProduct(node, centre, a.dims, scale, need(node, inputs, 1), need(node, inputs, 2), inputs[3], inputs[4]),
      ];
    },
  },
  MatMulIntegerToFloat: {
    attributes: [],
    infer: productInfer,
    run(node, inputs) {
      const a = need(node, inputs, 0);
      const scale = scalar(need(node, inputs, 2));
      return [
        scaledProduct(
          node,
          centred(a, inputs[4]),
          a.dims,
          scale,
          need(node, inputs, 1),
          need(node, inputs, 3),
          inputs[5],
          inputs[6],
        ),
      ];
    },
  },
  MatMulNBits: matMulNBits,
};
