import { check, compile, gradients, ones, type Spec, type Tensor, tensor } from '@gossamer/tensor';
import type { Layer } from './layer.ts';
import { linearize } from './linearize.ts';
import type { Mask } from './mask.ts';
import type { Model, ModelLayers } from './model.ts';

/** Flow through each weight, w·∂R/∂w, by layer name, divided by the flow R of the whole network. */
export type Flow = ReadonlyMap<string, Float32Array>;

/**
 * Synaptic flow R = 1ᵀ(Π|W|)1: the sum, over all paths from input to output, of the product of |w| along the path; a
 * weight's share of it is |w|·∂R/∂|w| (Tanaka et al. 2020, SynFlow, eq. 2 and 3). It needs no data, and the shares of a
 * chain's layers add up to the same number. Returned is a function of the mask, compiled once; it gives
 * undefined for a mask that leaves no path. Layers that the mask does not have are dense.
 *
 * @param inputs shape and dtype of each input, for one sample
 * @param options.weight what stands for a weight; default its magnitude
 */
export async function synapticFlow(
  model: Model,
  inputs: readonly Spec[],
  { layers, parameters }: ModelLayers,
  { weight = Math.abs }: { weight?: (w: number, layer: Layer) => number } = {},
): Promise<(mask?: Mask) => Promise<Flow | undefined>> {
  const network = await linearize(model, inputs, parameters);
  const run = compile((scale: Tensor, ...weights: Tensor[]) => {
    const named = new Map(layers.map((l, i) => [l.name, weights[i]]));
    const signal = inputs.map(({ shape, dtype }) =>
      dtype === 'float32' ? ones(shape).mul(scale) : ones(shape).cast(dtype),
    );
    const outputs = network(named, signal).map(y => y.sum());
    const total = outputs.reduce((a, b) => a.add(b)).mul(scale);
    return { total, flows: gradients(total, weights).map((g, i) => g.mul(weights[i])) };
  });
  // The flow of a deep network leaves the range of float32. It is linear in the input and in the seed of its gradient,
  // so both are scaled by the root of its inverse, and everything in between stays between √R and 1/√R.
  let scale = 1;
  return async mask => {
    const weights = layers.map(l => {
      const keep = mask?.has(l.name) ? mask.get(l.name) : undefined;
      return tensor(
        l.values.map((w, i) => (keep?.[i] === 0 ? 0 : weight(w, l))),
        l.shape,
      );
    });
    for (let attempt = 0; attempt < 20; attempt++) {
      const { total, flows } = await run(tensor([scale], []), ...weights);
      const flow = await total.item();
      if (flow === 0 && scale > 1e25) return undefined;
      if (flow > 1e-9 && flow < 1e9) {
        const shares = flows.map(async (f, i) => [layers[i].name, (await f.data()).map(s => s / flow)] as const);
        return new Map(await Promise.all(shares));
      }
      if (flow === 0) scale *= 1e9;
      else if (Number.isFinite(flow)) scale /= Math.sqrt(flow);
      else scale *= 1e-10;
    }
    check(false, 'synapticFlow: the flow leaves the range of float32 whatever its scale; the network is too deep');
    return undefined;
  };
}
