/** Operators of the domain com.microsoft that ONNX Runtime's optimiser and exporters put into models: fused layers. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import { broadcastShapes } from './broadcast.ts';
import { convOperators } from './conv.ts';
import { elementwiseOperators } from './elementwise.ts';
import { gemm, matMulShape, matmulOperators, multiply } from './matmul.ts';
import { fusedAttention } from './microsoft-attention.ts';
import { quantised } from './microsoft-quantised.ts';
import { layerNorm, rmsNorm } from './normalize.ts';
import { type Floats, floats, likeFirst, need, pack, sigmoid, transposed, workspace } from './numeric.ts';
import { type Context, fail, type Inputs, number, numbers, type Operator, type Operators, text } from './operator.ts';
import { operators as quantiseOperators } from './quantise.ts';
import { activation } from './recurrent.ts';
import { gelu, geluTanh } from './scalar.ts';

/** The sum of two values of one type, broadcast. */
const add = (node: Node, context: Context, a: Value, b: Value): Value =>
  elementwiseOperators.Add.run({ ...node, op: 'Add', version: 14, attributes: {} }, [a, b], context)[0];

/** A function of x (+ bias). */
const pointwise = (make: (node: Node) => (x: number) => number, attributes: readonly string[] = []): Operator => ({
  attributes,
  infer: likeFirst,
  run(node, inputs, context) {
    const first = need(node, inputs, 0);
    const x = inputs[1] ? add(node, context, first, inputs[1]) : first;
    const y = workspace(x.type, sizeOf(x.dims));
    const [f, xs] = [make(node), floats(x)];
    for (let i = 0; i < y.length; i++) y[i] = f(xs[i]);
    return [pack(x.type, x.dims, y)];
  },
});

/** A fused activation, in place: ONNX's by name with its parameters, or Clip with its two limits. */
function activate(node: Node, name: string, parameters: readonly number[], y: Floats): Floats {
  if (name === '') return y;
  const [low = -Infinity, high = Infinity] = parameters;
  const clip = (x: number) => Math.min(Math.max(x, low), high);
  const f = name === 'Clip' ? clip : activation(node, name, parameters.slice(0, 1), parameters.slice(1, 2));
  for (let i = 0; i < y.length; i++) y[i] = f(y[i]);
  return y;
}

/** The node as the standard operator of a version sees it. */
const standard = (node: Node, op: string, version: number): Node => ({ ...node, op, domain: '', version });

/** An operator that is the standard one under another domain. */
const alias = (operator: Operator, op: string, version: number): Operator => ({
  ...operator,
  infer: operator.infer && ((node, inputs) => operator.infer!(standard(node, op, version), inputs)),
  run: (node, inputs, context) => operator.run(standard(node, op, version), inputs, context),
});

/** Outputs of skip-normalisations: result, mean and inverse deviation of each row, the sum that was normalised. */
const skipInfer = (node: Node, inputs: Inputs<Info>): Info[] => {
  const { type, dims } = need(node, inputs, 0);
  const row = { type: 'float32' as const, dims: [...dims.slice(0, -1), 1] };
  return [{ type, dims }, row, row, { type, dims }].slice(0, node.outputs.length);
};

const skipNorm = (simplified: boolean): Operator => ({
  attributes: ['epsilon'],
  infer: skipInfer,
  run(node, inputs, context) {
    const x = need(node, inputs, 0);
    const bias = inputs[simplified ? 3 : 4];
    let sum = add(node, context, x, need(node, inputs, 1));
    if (bias) sum = add(node, context, sum, bias);
    const axis = x.dims.length - 1;
    const scale = need(node, inputs, 2);
    const epsilon = number(node, 'epsilon', 1e-12);
    const rows = [...x.dims.slice(0, -1), 1];
    const result: { y: Floats; means?: Floats; inverses: Floats } = simplified
      ? rmsNorm(sum, axis, scale, epsilon)
      : layerNorm(sum, axis, scale, inputs[3], epsilon);
    const means = result.means ?? new Float32Array(sizeOf(rows));
    return [
      pack(x.type, x.dims, result.y),
      pack('float32', rows, means),
      pack('float32', rows, result.inverses),
      sum,
    ].slice(0, node.outputs.length);
  },
});

/** Root-mean-square normalisation as exported before the standard had it. */
const simplified: Operator = {
  attributes: ['axis', 'epsilon', 'stash_type'],
  infer(node, inputs) {
    const { type, dims } = need(node, inputs, 0);
    const axis = (number(node, 'axis', -1) + dims.length) % dims.length;
    const rest = { type: 'float32' as const, dims: dims.map((size, d) => (d < axis ? size : 1)) };
    return [{ type, dims }, rest].slice(0, node.outputs.length);
  },
  run(node, inputs) {
    const x = need(node, inputs, 0);
    const axis = (number(node, 'axis', -1) + x.dims.length) % x.dims.length;
    const { y, inverses } = rmsNorm(x, axis, need(node, inputs, 1), number(node, 'epsilon', 1e-5));
    const dims = x.dims.map((size, d) => (d < axis ? size : 1));
    return [pack(x.type, x.dims, y), pack('float32', dims, inverses)].slice(0, node.outputs.length);
  },
};

/** Shapes of FusedMatMul's operands once transposed. */
function fusedDims(node: Node, inputs: Inputs<Info>): [a: number[], b: number[]] {
  if (number(node, 'transBatchA', 0) || number(node, 'transBatchB', 0))
    fail(node, 'transBatchA and transBatchB are not supported; export without the transpose fusion');
  const turned = (index: number, name: string): number[] => {
    const dims = [...need(node, inputs, index).dims];
    if (number(node, name, 0) && dims.length > 1) dims.push(...dims.splice(-2).reverse());
    return dims;
  };
  return [turned(0, 'transA'), turned(1, 'transB')];
}

/** Every matrix of a value, transposed. */
function transposeLast({ dims }: Value, x: Floats): Floats {
  const [rows, columns] = dims.slice(-2);
  const y = x.slice();
  for (let at = 0; at < x.length; at += rows * columns)
    y.set(transposed(rows, columns, x.subarray(at, at + rows * columns)), at);
  return y;
}

const FUSED = ['activation', 'activation_alpha', 'activation_beta', 'activation_gamma'];

const fusedMatMul: Operator = {
  attributes: ['alpha', 'transA', 'transB', 'transBatchA', 'transBatchB'],
  infer: (node, inputs) => [
    { type: need(node, inputs, 0).type, dims: matMulShape(node, ...fusedDims(node, inputs)).dims },
  ],
  run(node, inputs) {
    const [a, b] = [need(node, inputs, 0), need(node, inputs, 1)];
    const shape = matMulShape(node, ...fusedDims(node, inputs));
    const turn = (value: Value, name: string) =>
      number(node, name, 0) && value.dims.length > 1 ? transposeLast(value, floats(value)) : floats(value);
    const y = multiply(shape, turn(a, 'transA'), turn(b, 'transB'), workspace(a.type, sizeOf(shape.dims)));
    const alpha = number(node, 'alpha', 1);
    if (alpha !== 1) for (let i = 0; i < y.length; i++) y[i] *= alpha;
    return [pack(a.type, shape.dims, y)];
  },
};

/** Token, position and segment embeddings, summed and normalised. */
const embedLayerNorm: Operator = {
  attributes: ['epsilon', 'mask_index_type'],
  infer(node, inputs) {
    const { dims } = need(node, inputs, 0);
    const { type, dims: table } = need(node, inputs, 2);
    const y = { type, dims: [...dims, table[1]] };
    return [y, { type: 'int32' as const, dims: [dims[0]] }, y].slice(0, node.outputs.length);
  },
  run(node, inputs) {
    const ids = need(node, inputs, 0);
    const [batch, length] = ids.dims;
    const words = need(node, inputs, 2);
    const width = words.dims[1];
    const dims = [batch, length, width];
    const sum = workspace(words.type, sizeOf(dims));
    const addRows = (table: Value, row: (i: number) => number) => {
      const data = floats(table);
      for (let i = 0; i < batch * length; i++) {
        const from = row(i) * width;
        if (!(from >= 0 && from < data.length))
          fail(node, `index ${row(i)} is outside an embedding of ${table.dims[0]} rows`);
        for (let e = 0; e < width; e++) sum[i * width + e] += data[from + e];
      }
    };
    const [tokens, segments, mask, positions] = [ids, inputs[1], inputs[7], inputs[8]].map(
      value => value && floats(value),
    );
    addRows(words, i => tokens![i]);
    addRows(need(node, inputs, 3), i =>
      positions ? positions[positions.length === length ? i % length : i] : i % length,
    );
    if (segments && inputs[4]) addRows(inputs[4], i => segments[i]);
    const whole: Value = pack(words.type, dims, sum);
    const { y } = layerNorm(whole, 2, need(node, inputs, 5), inputs[6], number(node, 'epsilon', 1e-12));
    const lengths = new Int32Array(batch);
    mask?.forEach((used, i) => {
      if (used) lengths[Math.floor(i / length)]++;
    });
    const counts: Value = { type: 'int32', dims: [batch], data: lengths };
    return [pack(words.type, dims, y), counts, whole].slice(0, node.outputs.length);
  },
};

const quick = (node: Node) => {
  const alpha = number(node, 'alpha', 1.702);
  return (x: number) => x * sigmoid(alpha * x);
};

const fused: Operators = {
  Gelu: pointwise(() => gelu),
  BiasGelu: pointwise(() => gelu),
  FastGelu: pointwise(() => geluTanh),
  QuickGelu: pointwise(quick, ['alpha']),
  FusedConv: {
    attributes: [...convOperators.Conv.attributes, 'activation', 'activation_params'],
    infer: convOperators.Conv.infer,
    run(node, inputs, context) {
      let [y] = convOperators.Conv.run(node, inputs.slice(0, 3), context);
      if (inputs[3]) y = add(node, context, y, inputs[3]);
      const result = activate(node, text(node, 'activation', ''), numbers(node, 'activation_params', []), floats(y));
      return [pack(y.type, y.dims, result)];
    },
  },
  FusedGemm: {
    attributes: [...matmulOperators.Gemm.attributes, ...FUSED],
    infer: matmulOperators.Gemm.infer,
    run(node, inputs) {
      const y = gemm(node, need(node, inputs, 0), need(node, inputs, 1), inputs[2]);
      const parameters = FUSED.slice(1).flatMap(name => number(node, name) ?? []);
      return [pack(y.type, y.dims, activate(node, text(node, 'activation', ''), parameters, floats(y)))];
    },
  },
  FusedMatMul: fusedMatMul,
  TransposeMatMul: fusedMatMul,
  SkipLayerNormalization: skipNorm(false),
  SkipSimplifiedLayerNormalization: skipNorm(true),
  EmbedLayerNormalization: embedLayerNorm,
  BiasAdd: {
    attributes: [],
    infer: (node, inputs) => [
      {
        type: need(node, inputs, 0).type,
        dims: broadcastShapes(
          node,
          [0, 1, 2].map(i => need(node, inputs, i).dims),
        ),
      },
    ],
    run: (node, inputs, context) => [
      add(node, context, add(node, context, need(node, inputs, 0), need(node, inputs, 1)), need(node, inputs, 2)),
    ],
  },
  QuantizeLinear: alias(quantiseOperators.QuantizeLinear, 'QuantizeLinear', 21),
  DequantizeLinear: alias(quantiseOperators.DequantizeLinear, 'DequantizeLinear', 21),
  ...fusedAttention,
  ...quantised,
};

/** The optimiser puts this one into the standard domain, of whatever version. */
const SIMPLIFIED: Operators = {
  SimplifiedLayerNormalization: simplified,
  'com.microsoft:SimplifiedLayerNormalization': simplified,
};

export const operators: Operators = {
  ...Object.fromEntries(Object.entries(fused).map(([name, operator]) => [`com.microsoft:${name}`, operator])),
  ...SIMPLIFIED,
};
