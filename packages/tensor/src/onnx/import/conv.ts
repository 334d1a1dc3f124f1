/** Convolutions. */
import { conv, convTranspose } from '../../ops/conv.ts';
import type { Tensor } from '../../tensor.ts';
import type { Call, Import } from './call.ts';
import { autoPad, checkKernel, explicitPads, list, windowAttributes } from './window.ts';

export const Conv: Import = call => convolution(call, call.tensor(0), call.tensor(1), call.optional(2));

function convolution(call: Call, x: Tensor, w: Tensor, bias: Tensor | undefined): Tensor {
  checkKernel(call, w.shape.slice(2));
  const options = windowAttributes(call, Math.max(0, x.rank - 2));
  return conv(x, w, { ...options, groups: call.int('group', 1), ...(bias && { bias }) });
}

/** Of 8-bit integers less their zero points; the sums are exact in float32 up to 2^24. */
export const ConvInteger: Import = call => {
  const [x, w] = [call.tensor(0).cast('float32'), call.tensor(1).cast('float32')];
  const zero = (i: number) => call.optional(i)?.cast('float32');
  const [zeroX, zeroW] = [zero(2), zero(3)];
  // A zero point for every output channel stands in front of the kernel's axes.
  const perChannel = zeroW && zeroW.size > 1 ? zeroW.reshape([zeroW.size, ...w.shape.slice(1).map(() => 1)]) : zeroW;
  return convolution(call, zeroX ? x.sub(zeroX) : x, perChannel ? w.sub(perChannel) : w, undefined).cast('int32');
};

/** `output_shape` and `auto_pad` choose what is cut off the full result, or what is added to it. */
export const ConvTranspose: Import = call => {
  const [x, w, bias] = [call.tensor(0), call.tensor(1), call.optional(2)];
  const kernel = w.shape.slice(2);
  const rank = Math.max(0, x.rank - 2);
  checkKernel(call, kernel);
  const [stride, dilation] = [list(call, 'strides', rank, 1), list(call, 'dilations', rank, 1)];
  let padding = explicitPads(call, rank);
  let outputPadding = list(call, 'output_padding', rank, 0);
  const mode = autoPad(call);
  const shape = call.intList('output_shape')?.slice(-rank);
  if (mode === 'VALID') padding = padding.map(() => [0, 0]);
  if (shape || mode === 'SAME_UPPER' || mode === 'SAME_LOWER') {
    const total = kernel.map((k, i) => {
      const size = x.shape[i + 2];
      const full = stride[i] * (size - 1) + outputPadding[i] + (k - 1) * dilation[i] + 1;
      return full - (shape?.[i] ?? size * stride[i]);
    });
    outputPadding = outputPadding.map((p, i) => p + Math.max(0, -total[i]));
    padding = total.map(t => {
      const [less, more] = [Math.floor(Math.max(0, t) / 2), Math.ceil(Math.max(0, t) / 2)];
      return mode === 'SAME_UPPER' ? [less, more] : [more, less];
    });
  }
  return convTranspose(x, w, {
    stride,
    dilation,
    padding,
    outputPadding,
    groups: call.int('group', 1),
    ...(bias && { bias }),
  });
};
