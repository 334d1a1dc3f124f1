/** Operators of ONNX Runtime's own domain, com.microsoft, that its optimiser puts into files. */
import { geluTanh } from '../../ops/elementwise.ts';
import { matmul } from '../../ops/matmul.ts';
import { layerNorm, rmsNorm } from '../../ops/norms.ts';
import type { Tensor } from '../../tensor.ts';
import type { Call, Import } from './call.ts';

export const FusedMatMul: Import = call => {
  if (call.flag('transBatchA') || call.flag('transBatchB')) call.fail('transposed batches are not supported');
  const side = (i: number, flag: string): Tensor => {
    const x = call.tensor(i);
    return call.flag(flag) && x.rank > 1 ? x.transpose() : x;
  };
  const y = matmul(side(0, 'transA'), side(1, 'transB'));
  const alpha = call.float('alpha', 1);
  return alpha === 1 ? y : y.mul(alpha);
};

export const Gelu: Import = call => call.tensor(0).gelu();
export const QuickGelu: Import = call => {
  const x = call.tensor(0);
  return x.mul(x.mul(call.float('alpha', 1.702)).sigmoid());
};
export const FastGelu: Import = call => geluTanh(call.has(1) ? call.tensor(0).add(call.tensor(1)) : call.tensor(0));
export const BiasGelu: Import = call => call.tensor(0).add(call.tensor(1)).gelu();

/** Normalises the sum of two inputs and a bias; the sum is the fourth output. */
const skipNorm =
  (biasInput: number, norm: (x: Tensor, call: Call, eps: number) => Tensor): Import =>
  call => {
    const sum = call.tensor(0).add(call.tensor(1));
    const bias = call.optional(biasInput);
    const x = bias ? sum.add(bias) : sum;
    return [norm(x, call, call.float('epsilon', 1e-12)), undefined, undefined, x];
  };
export const SkipLayerNormalization = skipNorm(4, (x, call, eps) =>
  layerNorm(x, { eps, weight: call.tensor(2), bias: call.optional(3) }),
);
export const SkipSimplifiedLayerNormalization = skipNorm(3, (x, call, eps) =>
  rmsNorm(x, { eps, weight: call.tensor(2) }),
);
