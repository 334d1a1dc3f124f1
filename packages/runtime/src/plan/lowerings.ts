/** Which kernels compute a node: every lowering emits steps, or returns false and leaves the node to the plain operator. */

import { UnsupportedError } from '../errors.ts';
import { type Binary, binary, type Unary, unary } from '../kernels/elementwise.ts';
import type { Build } from '../kernels/module.ts';
import { number } from '../ops/operator.ts';
import { sizeOf } from '../values.ts';
import { chooser } from './choose.ts';
import type { Extension } from './extensions.ts';
import { FUSED } from './fused.ts';
import type { Lower, Lowering, Lowerings } from './lowering.ts';
import { movementLowerings } from './movement.ts';
import { conv, linear, transposedConv } from './products.ts';
import { batchNormalization, pooling } from './spatial.ts';
import { statisticsLowerings } from './statistics.ts';
import type { Tuning } from './tuning.ts';

export type KernelChoice = 'auto' | 'dense' | 'csr' | 'block' | 'plain';

export interface LoweringOptions {
  readonly kernels: KernelChoice;
  readonly build: Build;
  readonly backend: 'wasm' | 'webgpu';
  /** Needed by `auto` to choose sparse kernels. */
  readonly tuning?: Tuning;
  readonly extensions?: readonly Extension[];
}

const isFloat = (l: Lowering, ...inputs: number[]): boolean =>
  inputs.every(i => l.inputs[i]?.type === 'float32') && l.outputs[0].type === 'float32';

/** Output 0 has the elements of input 0 in the same order: costs nothing. */
const same: Lower = l => {
  if (l.inputs[0]!.type === 'string' || l.outputs.slice(1).some(Boolean)) return false;
  l.alias(0);
  return true;
};

/** y = f(x), in x's memory where nothing else needs it. */
const one =
  (name: Unary, parameters: (l: Lowering) => { alpha?: number; beta?: number } | undefined = () => ({})): Lower =>
  l => {
    const given = isFloat(l, 0) ? parameters(l) : undefined;
    if (!given) return false;
    const x = l.x(0);
    unary(l.emitter, name, { x, y: l.reuse(0), size: sizeOf(l.outputs[0].dims), ...given });
    return true;
  };

/** Whether dims broadcast to the output's; old operators place theirs by an axis. */
const fits = (dims: readonly number[], out: readonly number[]): boolean =>
  dims.every((dim, i) => dim === 1 || dim === out[i - dims.length + out.length]);

const two =
  (name: Binary): Lower =>
  l => {
    if (l.inputs.length !== 2 || !isFloat(l, 0, 1) || !l.inputs.every(info => fits(info!.dims, l.outputs[0].dims)))
      return false;
    const [a, b] = [l.x(0), l.x(1)];
    const y = [l.reuse(0), l.reuse(1)][1];
    binary(l.emitter, name, { a, b, y, aDims: l.inputs[0]!.dims, bDims: l.inputs[1]!.dims, yDims: l.outputs[0].dims });
    return true;
  };

/** Bounds of Clip: attributes, or inputs that are constant. */
function bounds(l: Lowering): { alpha: number; beta: number } | undefined {
  const bound = (i: number, name: string, fallback: number) =>
    l.inputs[i] ? (l.inputs[i].value?.data[0] as number | undefined) : number(l.node, name, fallback);
  const [alpha, beta] = [bound(1, 'min', -Infinity), bound(2, 'max', Infinity)];
  return alpha === undefined || beta === undefined ? undefined : { alpha, beta };
}

const attributes =
  (alpha: number, beta = 1) =>
  (l: Lowering) => ({
    alpha: number(l.node, 'alpha', alpha),
    beta: number(l.node, 'beta', number(l.node, 'gamma', beta)),
  });

const elementwise: Record<string, Lower> = {
  Relu: one('relu'),
  Clip: one('clip', bounds),
  LeakyRelu: one('leakyRelu', attributes(0.01)),
  Sigmoid: one('sigmoid'),
  HardSigmoid: one('hardSigmoid', attributes(0.2, 0.5)),
  HardSwish: one('hardSwish'),
  Tanh: one('tanh'),
  Exp: one('exp'),
  Log: one('log'),
  Sqrt: one('sqrt'),
  Reciprocal: one('reciprocal'),
  Neg: one('neg'),
  Abs: one('abs'),
  Floor: one('floor'),
  Ceil: one('ceil'),
  Round: one('round'),
  Erf: one('erf'),
  Gelu: l => (l.node.attributes.approximate === 'tanh' ? one('geluTanh') : one('gelu'))(l),
  Elu: one('elu', attributes(1)),
  Selu: one('elu', attributes(1.6732631921768188, 1.0507010221481323)),
  Softplus: one('softplus'),
  Softsign: one('softsign'),
  Mish: one('mish'),
  Celu: one('celu', attributes(1)),
  ThresholdedRelu: one('thresholdedRelu', attributes(1)),
  [`${FUSED}:Silu`]: one('silu', () => ({ alpha: 1 })),
  Add: two('add'),
  Sub: two('sub'),
  Mul: two('mul'),
  Div: two('div'),
  Min: two('min'),
  Max: two('max'),
  PRelu: two('prelu'),
};

/**
 * @throws UnsupportedError when WebGPU is asked for and there is no adapter
 */
export async function createLowerings({
  kernels,
  backend,
  tuning,
  extensions = [],
}: LoweringOptions): Promise<{ lowerings: Lowerings; release(): void }> {
  const gpu = backend === 'webgpu' ? await (await import('../webgpu/gpu.ts')).createGpu() : undefined;
  if (backend === 'webgpu' && !gpu)
    throw new UnsupportedError("backend: 'webgpu', but this engine gives no GPU adapter; use 'wasm'");
  const products = { choose: chooser(kernels === 'plain' ? 'dense' : kernels, tuning?.rates), wide: tuning?.wide, gpu };
  const lowerings: Lowerings = {
    ...Object.fromEntries(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Identity'].map(op => [op, same])),
    ...elementwise,
    ...movementLowerings,
    ...statisticsLowerings,
    MaxPool: pooling('max'),
    AveragePool: pooling('average'),
    BatchNormalization: batchNormalization,
    ConvTranspose: transposedConv,
    Conv: conv(products),
    [`${FUSED}:Conv`]: conv(products),
    MatMul: linear(products),
    Gemm: linear(products),
    [`${FUSED}:MatMul`]: linear(products),
    [`${FUSED}:Gemm`]: linear(products),
    ...Object.assign({}, ...extensions.map(extension => extension.lowerings(products))),
  };
  return { lowerings, release: () => gpu?.release() };
}
