/** Operators that fusion makes, with the plain implementations of the sequences they stand for. */
import type { Node } from '../load/graph.ts';
import { broadcastShapes } from '../ops/broadcast.ts';
import { type Context, type Inputs, number, type Operator, type Operators, operatorKey } from '../ops/operator.ts';
import type { Info, Value } from '../values.ts';

/** Domain of the fused operators. */
export const FUSED = 'fused';

const scalar = (value: number): Value => ({ type: 'float32', dims: [], data: Float32Array.of(value) });

const none: Context = {
  evaluate() {
    throw new Error('fused operators have no subgraphs');
  },
};

/** Applies standard operators to values. */
const plainly =
  (operators: Operators) =>
  (node: Node, op: string, ...inputs: Value[]): Value =>
    operators[op].run({ ...node, op, domain: '', version: 14, attributes: {} }, inputs, none)[0];

/**
 * clamp(base(x, w, b) + residual): Conv, Gemm or MatMul with what follows it. Inputs: x, w, b, residual; attributes: the
 * base's own, and `lo` and `hi` where there is a clamp. MatMul has no bias of its own: it is added.
 */
function product(op: 'Conv' | 'Gemm' | 'MatMul', operators: Operators): Operator {
  const base = operators[op];
  const own = op === 'MatMul' ? 2 : 3;
  const split = (node: Node): Node => {
    const { lo: _lo, hi: _hi, ...attributes } = node.attributes;
    return { ...node, op, domain: '', attributes };
  };
  const plain = plainly(operators);
  return {
    attributes: [...base.attributes, 'lo', 'hi'],
    infer(node, inputs) {
      const [{ type, dims }] = base.infer!(split(node), inputs.slice(0, own));
      const added = [own === 2 ? inputs[2] : undefined, inputs[3]];
      const shapes = [dims, ...added.flatMap(info => (info ? [info.dims] : []))];
      return [{ type, dims: broadcastShapes(node, shapes) }];
    },
    run(node: Node, inputs: Inputs, context: Context) {
      let [y] = base.run(split(node), inputs.slice(0, own), context);
      if (own === 2 && inputs[2]) y = plain(node, 'Add', y, inputs[2]);
      if (inputs[3]) y = plain(node, 'Add', y, inputs[3]);
      const { lo, hi } = node.attributes;
      if (lo !== undefined) y = plain(node, 'Clip', y, scalar(lo as number), scalar(hi as number));
      return [y];
    },
  };
}

/** The fused operators over a registry of plain ones. */
export function fusedOperators(operators: Operators): Operators {
  const plain = plainly(operators);
  return {
    [`${FUSED}:Conv`]: product('Conv', operators),
    [`${FUSED}:Gemm`]: product('Gemm', operators),
    [`${FUSED}:MatMul`]: product('MatMul', operators),
    /** x · sigmoid(x) */
    [`${FUSED}:Silu`]: {
      attributes: [],
      infer: (_node, [x]) => [{ type: x!.type, dims: x!.dims }],
      run: (node, [x]) => [plain(node, 'Mul', x!, plain(node, 'Sigmoid', x!))],
    },
    /** x / √(mean over the last axis of x² + epsilon) · scale */
    [`${FUSED}:RMSNorm`]: {
      attributes: ['epsilon'],
      infer: (node, [x, scale]) => [{ type: x!.type, dims: broadcastShapes(node, [x!.dims, scale!.dims]) }],
      run(node, [x, scale]) {
        const data = x!.data as Float32Array;
        const size = x!.dims.at(-1)!;
        const epsilon = number(node, 'epsilon', 0);
        const normal = new Float32Array(data.length);
        for (let row = 0; row < data.length; row += size) {
          let sum = 0;
          for (let i = 0; i < size; i++) sum += data[row + i] ** 2;
          const factor = 1 / Math.sqrt(sum / size + epsilon);
          for (let i = 0; i < size; i++) normal[row + i] = data[row + i] * factor;
        }
        return [plain(node, 'Mul', { ...x!, data: normal }, scale!)];
      },
    },
  };
}

/**
 * The parts of a fused product whose residual does not have the product's own shape, so that a kernel cannot add it as it
 * writes: the product, the addition and the clamp. Undefined where the shapes agree.
 */
export function takeApart(node: Node, inputs: Inputs<Info>, operators: Operators): Node[] | undefined {
  const residual = node.domain === FUSED ? inputs[3] : undefined;
  if (!residual) return undefined;
  const { lo, hi, ...attributes } = node.attributes;
  const [y] = node.outputs;
  const [a, b] = [`${y} product`, `${y} sum`];
  const product = { ...node, attributes, inputs: node.inputs.slice(0, 3), outputs: [a] };
  const { dims } = operators[operatorKey(product)].infer!(product, inputs.slice(0, 3))[0];
  if (dims.length === residual.dims.length && dims.every((dim, i) => dim === residual.dims[i])) return undefined;
  const sum = {
    ...node,
    op: 'Add',
    domain: '',
    version: 14,
    attributes: {},
    inputs: [a, node.inputs[3]],
    outputs: [b],
  };
  if (lo === undefined) return [product, { ...sum, outputs: [y] }];
  const clamp = { ...sum, op: 'Clip', version: 6, attributes: { min: lo, max: hi }, inputs: [b], outputs: [y] };
  return [product, sum, clamp];
}
