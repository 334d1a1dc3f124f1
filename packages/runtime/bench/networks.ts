// The networks of the benchmarks, as bytes of ONNX files with exact sparsity.
import { Random, type Spec } from '@gossamer/tensor';
import { encodeOnnx } from '@gossamer/tensor/onnx';
import { exportModel, models, type nn, sparsity } from 'gossamer';

/** How zeros lie: single weights, blocks of output rows that share their inputs, or n of every m. */
export type BenchPattern = 'element' | '2x1' | '4x1' | '2:4';

export interface Made {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Zeros among the weights that may be zero, and their number. */
  readonly sparsity: number;
  readonly weights: number;
}

const granularity = (pattern: BenchPattern) =>
  pattern === '2x1' || pattern === '4x1' ? sparsity.outputBlock(Number(pattern[0]), 'pad') : pattern;

type Which = (layer: sparsity.Layer) => boolean;

const pointwise: Which = l => l.kind === 'conv' && l.groups === 1 && l.shape.slice(2).every(k => k === 1);

/**
 * A module as a file with fixed input shape, the chosen layers pruned by magnitude to exactly `share` zeros each.
 * At 0 the file is dense.
 */
export async function prunedFile(
  model: nn.Module,
  input: Spec,
  which: Which,
  share: number,
  pattern: BenchPattern,
): Promise<Made> {
  const { layers, parameters } = await sparsity.modelLayers(model, [input]);
  const chosen = layers.filter(which);
  let zeros = 0;
  let weights = 0;
  const values = new Map<string, Float32Array>();
  if (share > 0) {
    const mask = sparsity.prune(chosen, l => sparsity.magnitude(l.values), {
      sparsity: share,
      granularity: granularity(pattern),
      allocation: 'uniform',
    });
    for (const l of chosen) {
      const kept = l.values.slice();
      mask.apply(l.name, kept);
      values.set(l.name, kept);
    }
  }
  for (const l of chosen) {
    weights += l.values.length;
    for (const value of values.get(l.name) ?? l.values) if (value === 0) zeros++;
  }
  const before = new Map([...values.keys()].map(name => [name, layers.find(l => l.name === name)!.values.slice()]));
  for (const [name, kept] of values) parameters.get(name)!.set(kept);
  const onnx = await exportModel(model, { input }, { batch: null });
  const bytes = encodeOnnx(onnx, { sparse: 1 / 3 });
  for (const [name, original] of before) parameters.get(name)!.set(original);
  return { bytes, sparsity: zeros / weights, weights };
}

/** A model of the registry with fresh weights, and its input for one sample. */
export function network(name: string): { model: nn.Module; input: Spec } {
  const entry = models.models[name];
  return {
    model: entry.create({ random: new Random(0) }),
    input: { dtype: entry.input.dtype, shape: [1, ...entry.input.shape] },
  };
}

/** An image network at its own input size with zeros in its 1×1 convolutions. */
export const imageNetwork = (name: string, share: number, pattern: BenchPattern): Promise<Made> => {
  const { model, input } = network(name);
  return prunedFile(model, input, pointwise, share, pattern);
};
