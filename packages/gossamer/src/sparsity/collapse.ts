import type { Spec } from '@gossamer/tensor';
import { layoutOf } from './layer.ts';
import type { Mask } from './mask.ts';
import type { Model, ModelLayers } from './model.ts';
import { synapticFlow } from './synaptic-flow.ts';

/** Where a mask cuts a network. */
export interface Collapse {
  /** Whether a path of surviving weights leads from an input to an output; without one the output is constant. */
  readonly connected: boolean;
  /** Layers without any surviving weight. */
  readonly empty: readonly string[];
  /** Layers with surviving weights none of which lies on such a path. */
  readonly severed: readonly string[];
  /** Surviving weights that lie on a path, and all surviving ones. */
  readonly alive: number;
  readonly kept: number;
}

/**
 * Looks for layer collapse: layers that are empty, and layers whose weights survive but reach no output or are reached
 * by no input, since the channels before or behind them are dead. Weights are on a path if they have a synaptic flow.
 * Embeddings are looked at through one row only.
 *
 * @param inputs shape and dtype of each input, for one sample
 */
export async function findCollapse(
  model: Model,
  inputs: readonly Spec[],
  found: ModelLayers,
  mask: Mask,
): Promise<Collapse> {
  // Every surviving weight counts the same, scaled so that a layer hands on about as much as it gets: paths through deep
  // or very sparse networks stay in the range of numbers.
  const scales = new Map(
    found.layers.map(l => [
      l.name,
      layoutOf(l).out / Math.max(1, mask.has(l.name) ? mask.kept(l.name) : l.values.length),
    ]),
  );
  const flow = await synapticFlow(model, inputs, found, { weight: (w, l) => (w === 0 ? 0 : scales.get(l.name)!) });
  const shares = await flow(mask);
  const onPath = (name: string) => shares?.get(name)?.reduce((n, share) => n + (share > 0 ? 1 : 0), 0) ?? 0;
  const { names } = mask;
  return {
    connected: shares !== undefined,
    empty: names.filter(n => mask.kept(n) === 0),
    severed: names.filter(n => mask.kept(n) > 0 && onPath(n) === 0),
    alive: names.reduce((n, name) => n + onPath(name), 0),
    kept: mask.kept(),
  };
}
