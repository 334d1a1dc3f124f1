// The networks of the benchmarks: a dense ONNX model with the weights that may have zeros, and its pruned variants.
import { encodeOnnx, type OnnxModel, Random, type Spec } from '@gossamer/tensor';
import { exportModel, models, type nn, sparsity } from 'gossamer';
import { type Pattern, withZeros } from './zeros.ts';

export type { Pattern } from './zeros.ts';

type Layer = sparsity.Layer;

/** A model with fixed shapes, and the layers in it that are pruned. Names of layers are names of its initializers. */
export interface Base {
  readonly onnx: OnnxModel;
  readonly layers: readonly Layer[];
}

export interface Made {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Share of zeros among the weights of the layers that may be pruned. */
  readonly sparsity: number;
}

/**
 * Random numbers of low quality, 20 times faster than the library's: initial values of a hundred million weights in a
 * second.
 */
export class QuickRandom extends Random {
  override fork(name: string | number): Random {
    return new QuickRandom(super.fork(name).toJSON());
  }

  override normal: Random['normal'] = (target, mean = 0, std = 1) => {
    const out = (typeof target === 'number' ? new Float32Array(target) : target) as Float32Array;
    let state = this.key[0] | 1;
    const next = (): number => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return state;
    };
    // The sum of four uniform numbers, of variance 4/12 · 2⁶⁴.
    const scale = (std * Math.sqrt(3)) / 2 ** 32;
    for (let i = 0; i < out.length; i++) out[i] = mean + (next() + next() + next() + next()) * scale;
    return out as never;
  };
}

const isPointwise = (l: Layer): boolean => l.kind === 'conv' && l.groups === 1 && l.shape.slice(2).every(k => k === 1);

/** A module as a model with one sample, and those of its layers that `which` accepts. */
export async function baseOf(model: nn.Module, input: Spec, which: (l: Layer) => boolean): Promise<Base> {
  const { layers } = await sparsity.modelLayers(model, [input]);
  return { onnx: await exportModel(model, { input }, { batch: null }), layers: layers.filter(which) };
}

/**
 * An image network of the registry with random weights at its own input size; its 1×1 convolutions are pruned.
 *
 * @param width factor of the number of filters
 */
export function imageNetwork(name: string, width = 1): Promise<Base> {
  const { create, input } = models.models[name];
  const spec = { dtype: input.dtype, shape: [1, ...input.shape] };
  return baseOf(create({ random: new QuickRandom(0), width }), spec, isPointwise);
}

/** The model with exactly this share of zeros in each layer; at 0 the file is dense. */
export function pruned({ onnx, layers }: Base, share: number, pattern: Pattern = 'element'): Made {
  if (share === 0) return made({ onnx, layers }, new Map());
  return made({ onnx, layers }, new Map(layers.map(l => [l.name, withZeros(l.values, l.shape[0], share, pattern)])));
}

/** The model as this project's magnitude pruning makes it, the sparsity spread over all layers. */
export function magnitudePruned({ onnx, layers }: Base, share: number): Made {
  const mask = sparsity.prune(layers, l => sparsity.magnitude(l.values), { sparsity: share, allocation: 'global' });
  const values = layers.map(l => {
    const kept = l.values.slice();
    mask.apply(l.name, kept);
    return [l.name, kept] as const;
  });
  return made({ onnx, layers }, new Map(values));
}

function made({ onnx, layers }: Base, values: ReadonlyMap<string, Float32Array>): Made {
  const initializers = new Map(onnx.graph.initializers);
  let [zeros, weights] = [0, 0];
  for (const { name, shape, values: original } of layers) {
    const data = values.get(name) ?? original;
    initializers.set(name, { dtype: 'float32', shape, data: data as Float32Array<ArrayBuffer> });
    weights += data.length;
    for (const value of data) if (value === 0) zeros++;
  }
  const bytes = encodeOnnx({ ...onnx, graph: { ...onnx.graph, initializers } }, { sparse: 1 / 3 });
  return { bytes, sparsity: zeros / weights };
}

/** The model with its layers' weights as int8, a scale for each output, and a DequantizeLinear behind each. */
export function quantized({ onnx, layers }: Base): Made {
  const initializers = new Map(onnx.graph.initializers);
  const nodes = [...onnx.graph.nodes];
  for (const { name, shape, values } of layers) {
    const [rows] = shape;
    const cols = values.length / rows;
    const data = new Int8Array(values.length);
    const scales = new Float32Array(rows);
    for (let row = 0; row < rows; row++) {
      const line = values.subarray(row * cols, (row + 1) * cols);
      const scale = line.reduce((most, w) => Math.max(most, Math.abs(w)), 0) / 127 || 1;
      scales[row] = scale;
      for (let c = 0; c < cols; c++) data[row * cols + c] = Math.round(line[c] / scale);
    }
    initializers.delete(name);
    initializers.set(`${name}.int8`, { dtype: 'int8', shape, data });
    initializers.set(`${name}.scale`, { dtype: 'float32', shape: [rows], data: scales });
    nodes.unshift({
      name: `Dequantize_${name}`,
      opType: 'DequantizeLinear',
      domain: '',
      inputs: [`${name}.int8`, `${name}.scale`],
      outputs: [name],
      attributes: { axis: { type: 'int', value: 0 } },
    });
  }
  return { bytes: encodeOnnx({ ...onnx, graph: { ...onnx.graph, nodes, initializers } }), sparsity: 0 };
}
