import { check } from '../errors.ts';
import type { OnnxBuilder } from '../onnx/builder.ts';
import { operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { type ConvAttributes, convolve, cropped, inputGradient } from './conv.ts';
import { emitUnfold, product } from './unfold.ts';
import { outputSize, span, type Window } from './window.ts';

/** The windows that gather the taps of the input and of the output gradient; their products are the weight's taps. */
function sides(a: ConvAttributes, depthwise: boolean): { input: Window; output?: Window } {
  const [k0, ...rest] = a.kernel;
  if (!depthwise || a.stride[0] !== 1 || k0 === 1 || rest.every(k => k === 1)) return { input: a };
  // A depthwise product is all memory traffic: with the first kernel axis taken over by the output gradient, K + K
  // copies of a channel are made instead of K·K (1.5 times faster).
  const ones = rest.map(() => 1);
  const none = rest.map(() => 0);
  const reach = span(a, 0) - 1;
  return {
    input: { ...a, kernel: [1, ...rest] },
    output: {
      kernel: [k0, ...ones],
      stride: [1, ...ones],
      dilation: [a.dilation[0], ...ones],
      begin: [reach, ...none],
      end: [reach, ...none],
    },
  };
}

/** Neighbouring groups are multiplied as one block until it is 4 channels wide; tinier products run far slower. */
function blockOf(groups: number, inner: number): number {
  let block = 1;
  for (let n = 2; n * inner <= 4; n++) if (groups % n === 0) block = n;
  return block;
}

/** left · rightᵀ over the last two of four axes; ONNX Runtime's own operator spares the copy that Transpose makes. */
function productTransposed(b: OnnxBuilder, left: string, right: string): string {
  if (b.standard) return b.node('MatMul', [left, b.node('Transpose', [right], { perm: [0, 1, 3, 2] })]);
  return b.multi('FusedMatMul', [left, right], { transB: 1 }, 1, 'com.microsoft')[0];
}

const op = operator<ConvAttributes>({
  name: 'convWeightGradient',
  infer: ([x, g], { groups, kernel }) => ({ shape: [g.shape[1], x.shape[1] / groups, ...kernel], dtype: x.dtype }),
  gradient: ({ inputs: [x, g], grads: [u], attributes: a, needs }) => [
    needs(0) ? inputGradient(g, u, x.shape.slice(2), a) : undefined,
    needs(1) ? convolve(x, u, a) : undefined,
  ],
  emit: (b, [x, g], { attributes: a, inputs: [xs, gs], outputs: [{ shape }] }) => {
    const { groups } = a;
    const [outer, inner] = [shape[0] / groups, shape[1]];
    const { input, output } = sides(a, inner === 1 && groups > 1);
    const [inputTaps, outputTaps] = [product(input.kernel), output ? product(output.kernel) : 1];
    const left = emitUnfold(b, x, xs.shape[1], input);
    const right = output ? emitUnfold(b, g, gs.shape[1], output, true) : g;
    const positions = product(outputSize(xs.shape.slice(2), input));
    const [m, n] = [inner * inputTaps, outer * outputTaps];
    // Rows (input channel, input tap), columns (output channel, output tap).
    let products: string;
    if (groups === 1 && m * n > 2 * positions * (m + n)) {
      // Few positions, many channels: one product over batch and positions costs two transposes, a product per image
      // and the sum over the batch cost more (512 channels of 4×4: four times).
      const rows = (t: string, count: number) =>
        b.reshape(b.node('Transpose', [b.reshape(t, [xs.shape[0], count, positions])], { perm: [1, 0, 2] }), [
          count,
          -1,
        ]);
      products = b.node('Gemm', [rows(left, m), rows(right, n)], { transB: 1 });
    } else {
      const block = blockOf(groups, inner);
      const rows = (t: string, count: number) => b.reshape(t, [xs.shape[0], groups / block, block * count, positions]);
      const batched = productTransposed(b, rows(left, m), rows(right, n));
      products = b.node('ReduceSum', [batched, b.dims([0])], { keepdims: 0 });
      if (block > 1) {
        // Of a block of groups only the products of a group with itself count.
        const eye = new Float32Array(block * block);
        for (let i = 0; i < block; i++) eye[i * block + i] = 1;
        const own = b.constant({ dtype: 'float32', shape: [block, 1, block, 1], data: eye });
        const split = b.reshape(products, [groups / block, block, m, block, n]);
        products = b.node('ReduceSum', [b.node('Mul', [split, own]), b.dims([3])], { keepdims: 0 });
      }
    }
    // [group, inner, input tap, outer, output tap] → [group, outer, inner, output tap, input tap].
    const parts = b.reshape(products, [groups, inner, inputTaps, outer, outputTaps]);
    return b.reshape(b.node('Transpose', [parts], { perm: [0, 3, 1, 4, 2] }), shape);
  },
});

/**
 * Gradient of {@link convolve} in its weight: ∂/∂w[o, c, t] = Σ over batch and positions p of g[o, p]·x[c, p·stride + t].
 *
 * @param x [N, C, ...space], the convolution's input
 * @param g [N, O, ...positions], the gradient of its output
 * @returns [O, C / groups, ...kernel]
 */
export function weightGradient(x: Tensor, g: Tensor, a: ConvAttributes): Tensor {
  check(x.dtype === 'float32', () => `conv: the gradient of a ${x.dtype} weight is not supported; cast to float32`);
  const [input, window] = cropped(x, a);
  return op([input, g], window);
}
