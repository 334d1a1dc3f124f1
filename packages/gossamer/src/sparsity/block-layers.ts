import type { Layer } from './layer.ts';

/**
 * The weights of a network's repeated blocks: those whose name has a number between dots, as in `h.3.mlp.c_fc.weight` or
 * `layer1.0.conv2.weight`. Embeddings and the output layer stand outside. Without such names: all but embeddings and the
 * last layer.
 */
export function blockLayers(layers: readonly Layer[]): Layer[] {
  const blocks = layers.filter(l => l.kind !== 'embedding' && /\.\d+\./.test(l.name));
  return blocks.length > 0 ? blocks : layers.slice(0, -1).filter(l => l.kind !== 'embedding');
}
