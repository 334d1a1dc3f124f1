/** Operators that fusion makes, with the plain implementations of the sequences they stand for. */
import type { Node } from '../load/graph.ts';
import { type Context, type Inputs, number, type Operator, type Operators } from '../ops/operator.ts';
import type { Info, Value } from '../values.ts';

/** Domain of the fused operators. */
export const FUSED = 'fused';

const scalar = (value: number): Value => ({ type: 'float32', dims: [], data: Float32Array.of(value) });

/** Output dims of two broadcast together. */
export function broadcastDims(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    return x === 1 ? y : x;
  });
}

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
  const plain = (node: Node, name: string, inputs: Value[], context: Context): Value =>
    operators[name].run({ ...node, op: name, domain: '', version: 14, attributes: {} }, inputs, context)[0];
  return {
    attributes: [...base.attributes, 'lo', 'hi'],
    infer(node, inputs) {
      const [out] = base.infer!(split(node), inputs.slice(0, own));
      const residual = inputs[3];
      return [{ type: out.type, dims: residual ? broadcastDims(out.dims, residual.dims) : out.dims }];
    },
    run(node: Node, inputs: Inputs, context: Context) {
      let [y] = base.run(split(node), inputs.slice(0, own), context);
      if (own === 2 && inputs[2]) y = plain(node, 'Add', [y, inputs[2]], context);
      if (inputs[3]) y = plain(node, 'Add', [y, inputs[3]], context);
      const { lo, hi } = node.attributes;
      if (lo !== undefined) y = plain(node, 'Clip', [y, scalar(lo as number), scalar(hi as number)], context);
      return [y];
    },
  };
}

/** The fused operators over a registry of plain ones. */
export function fusedOperators(operators: Operators): Operators {
  return {
    [`${FUSED}:Conv`]: product('Conv', operators),
    [`${FUSED}:Gemm`]: product('Gemm', operators),
    [`${FUSED}:MatMul`]: product('MatMul', operators),
    /** x · sigmoid(x) */
    [`${FUSED}:Silu`]: {
      attributes: [],
      infer: (_node, [x]) => [{ type: x!.type, dims: x!.dims }],
      run: (_node, [x]) => [{ ...x!, data: (x!.data as Float32Array).map(v => v / (1 + Math.exp(-v))) }],
    },
    /** x / √(mean over the last axis of x² + epsilon) · scale */
    [`${FUSED}:RMSNorm`]: {
      attributes: ['epsilon'],
      infer: (_node: Node, [x]: Inputs<Info>) => [{ type: x!.type, dims: x!.dims }],
      run(node, [x, scale]) {
        const data = x!.data as Float32Array;
        const weights = scale?.data as Float32Array | undefined;
        const size = x!.dims.at(-1)!;
        const epsilon = number(node, 'epsilon', 0);
        const y = new Float32Array(data.length);
        for (let row = 0; row < data.length; row += size) {
          let sum = 0;
          for (let i = 0; i < size; i++) sum += data[row + i] ** 2;
          const factor = 1 / Math.sqrt(sum / size + epsilon);
          for (let i = 0; i < size; i++) y[row + i] = data[row + i] * factor * (weights ? weights[i] : 1);
        }
        return [{ ...x!, data: y }];
      },
    },
  };
}
