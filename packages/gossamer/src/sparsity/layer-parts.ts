import { check } from '@gossamer/tensor';
import { blockLayers } from './block-layers.ts';
import { type Layer, layer, matches } from './layer.ts';

/** Rows (output channels) of a layer's weight that are treated alike. */
export interface LayerPart {
  readonly of: Layer;
  /** The rows as a layer of their own, named `weight#q` where they are not all; its values are a view. */
  readonly rows: Layer;
  /** First element of the rows in the whole weight. */
  readonly start: number;
  /** What stands behind the = of the selector; absent without. */
  readonly setting?: string;
}

/** Names of transformer weights in PyTorch's model collections. */
const projections: Readonly<Record<string, readonly string[]>> = {
  ff: ['*.mlp.*', '*.ffn.*', '*.feed_forward.*'],
  q: ['*.q_proj.*', '*.query.*'],
  k: ['*.k_proj.*', '*.key.*'],
  v: ['*.v_proj.*', '*.value.*'],
};
/** Weights that hold the three projections below each other. */
const fused = ['*.qkv.*', '*.c_attn.*', '*.in_proj*'];
const third: Readonly<Record<string, number>> = { q: 0, k: 1, v: 2 };

const like = (l: Layer, patterns: readonly string[]): boolean => patterns.some(p => matches(l, -1, 0, p));

/** Whether `ff` means something in a network. */
export const hasFeedForward = (layers: readonly Layer[]): boolean => layers.some(l => like(l, projections.ff));

/**
 * Parts of layers by what they do in a transformer: `ff` (feed-forward), `q`, `k`, `v` (also as rows of a fused weight),
 * `blocks` ({@link blockLayers}), `all`, or names and kinds as in {@link maskable}. Each selector may have a setting
 * behind it: `q=2:4`. Of several selectors for one weight the first wins. One that matches nothing is refused.
 */
export function layerParts(layers: readonly Layer[], selectors: readonly string[]): LayerPart[] {
  const parts: LayerPart[] = [];
  for (const text of selectors) {
    const [selector, ...rest] = text.split('=');
    const setting = rest.length > 0 ? { setting: rest.join('=') } : {};
    const found = select(layers, selector);
    check(found.length > 0, () => {
      return `layers '${selector}': no such weight; use ff, q, k, v, blocks, all, or names among ${layers.map(l => l.name).join(', ')}`;
    });
    for (const part of found) {
      const overlaps = (p: LayerPart) =>
        p.of === part.of &&
        p.start < part.start + part.rows.values.length &&
        part.start < p.start + p.rows.values.length;
      if (!parts.some(overlaps)) parts.push({ ...part, ...setting });
    }
  }
  return parts;
}

function select(layers: readonly Layer[], selector: string): LayerPart[] {
  const whole = (of: Layer): LayerPart => ({ of, rows: of, start: 0 });
  if (selector === 'all') return layers.map(whole);
  if (selector === 'blocks') return blockLayers(layers).map(whole);
  const known = projections[selector];
  if (!known) return layers.filter((l, i) => matches(l, i, layers.length, selector)).map(whole);
  const separate = layers.filter(l => like(l, known)).map(whole);
  if (!(selector in third)) return separate;
  const inside = layers.filter(l => like(l, fused) && l.shape.length === 2 && l.outAxis === 0 && l.shape[0] % 3 === 0);
  return [...separate, ...inside.map(l => rowsOf(l, third[selector], selector))];
}

/** Third number `index` of a fused weight [3·n, in]. */
function rowsOf(of: Layer, index: number, selector: string): LayerPart {
  const [out, inputs] = of.shape;
  const size = (out / 3) * inputs;
  const { kind, positions } = of;
  const values = of.values.subarray(index * size, (index + 1) * size);
  const rows = layer(`${of.name}#${selector}`, [out / 3, inputs], values, { kind, positions });
  return { of, rows, start: index * size };
}
