import { check } from '@gossamer/tensor';
import { countOf } from './apportion.ts';
import { type Layer, layoutOf } from './layer.ts';
import { type LayerMask, Mask } from './mask.ts';
import { type GroupedRows, runsOf, unitScores } from './rearrange-solver.ts';
import { keepHighest } from './select.ts';

// Kernel groups: g consecutive output channels × one input channel × the whole kernel live or die together (Xu et al.
// 2023, SparseByteNN). All outputs of a group read the same inputs, so an engine loads each once for g multiplications.

export interface KernelGroupOptions {
  /** Output channels g of a group; default 4. The last group of a layer (of a convolution's group) may be smaller. */
  readonly group?: number;
  /** Norm of a unit's weights, its score; default `l1`. */
  readonly norm?: 'l1' | 'l2';
  /** Whether all groups of a layer keep the same number of inputs; default false. */
  readonly balanced?: boolean;
  /** Factors on the rows of a layer's weight before they are scored, such as those of a batch normalisation behind it. */
  readonly rowScales?: ReadonlyMap<string, ArrayLike<number>>;
}

/** A layer as the rows that {@link solveOrders} groups. */
export function groupedRows(layer: Layer, sparsity: number, options: KernelGroupOptions = {}): GroupedRows {
  const { group = 4, norm = 'l1', balanced = false, rowScales } = options;
  const { out, in: inputs, kernel, outStride, inStride, kernelOffset } = layoutOf(layer);
  check(layer.inAxis >= 0, () => `layer ${layer.name}: a vector has no kernels to group; leave it dense`);
  check(
    Number.isInteger(group) && group >= 1 && group <= out / layer.groups,
    () =>
      `layer ${layer.name}: groups of ${group} output channels; it has ${out}${layer.groups > 1 ? ` in ${layer.groups} groups` : ''}: choose a smaller group or leave the layer dense`,
  );
  check(
    sparsity >= 0 && sparsity < 1,
    () => `layer ${layer.name}: sparsity ${sparsity}; expected 0 ≤ s < 1, for a layer without weights computes nothing`,
  );
  const scales = rowScales?.get(layer.name);
  check(
    !scales || scales.length === out,
    () => `layer ${layer.name}: ${scales?.length} row scales for ${out} output channels`,
  );
  const norms = new Float32Array(out * inputs);
  for (let o = 0; o < out; o++) {
    const scale = scales ? Math.abs(scales[o]) : 1;
    for (let i = 0; i < inputs; i++) {
      let sum = 0;
      for (let k = 0; k < kernel; k++) {
        const w = scale * layer.values[o * outStride + i * inStride + kernelOffset[k]];
        sum += norm === 'l1' ? Math.abs(w) : w * w;
      }
      norms[o * inputs + i] = sum;
    }
  }
  const runs = runsOf(out, group, layer.groups);
  const units = balanced ? inputs : runs.groupSizes.length * inputs;
  return { rows: out, inputs, norms, norm, ...runs, keep: units - countOf(sparsity, units), balanced };
}

export interface KernelGroupMaskOptions extends KernelGroupOptions {
  /** Share of the units that go, in each layer or in those given by name. */
  readonly sparsity: number | ((layer: string) => number);
  /** `layer` (default): each layer at its sparsity. `global`: one ranking of all units, by their mean |w| or √mean w². */
  readonly scope?: 'layer' | 'global';
  /**
   * Orders of rows in which groups are consecutive, for an engine that writes its outputs in another order than it
   * computes them. Default the weight's own.
   */
  readonly orders?: ReadonlyMap<string, ArrayLike<number>>;
}

/** Keeps the units of highest score: round(s · units) go in each layer; with `balanced`, round(s · inputs) in each group. */
export function kernelGroupMask(layers: readonly Layer[], options: KernelGroupMaskOptions): Mask {
  const { sparsity, scope = 'layer', orders, balanced = false } = options;
  check(
    scope === 'layer' || (!balanced && typeof sparsity === 'number'),
    'kernel groups: a global ranking decides what each group and layer keeps; balanced groups and sparsities by layer do not go with it',
  );
  const made = layers.map(l => {
    const rows = groupedRows(l, typeof sparsity === 'number' ? sparsity : sparsity(l.name), options);
    const order = orders?.get(l.name) ?? Int32Array.from({ length: rows.rows }, (_, i) => i);
    return { l, rows, order, scores: unitScores(rows, order) };
  });
  const keeps =
    scope === 'global'
      ? keepGlobally(made, sparsity as number)
      : made.map(({ l, rows, scores }) => keepInLayer(l, rows, scores));
  return new Mask(made.map(({ l, rows, order }, i) => [l.name, expanded(l, rows, order, keeps[i])] as const));
}

function keepInLayer({ name }: Layer, { inputs, keep, balanced, groupSizes }: GroupedRows, scores: Float64Array) {
  const all = Float32Array.from(scores);
  if (!balanced) return keepHighest([{ name, scores: all }], keep)[0];
  const kept = new Uint8Array(all.length);
  for (let g = 0; g < groupSizes.length; g++) {
    const own = all.subarray(g * inputs, (g + 1) * inputs);
    kept.set(keepHighest([{ name, scores: own }], keep)[0], g * inputs);
  }
  return kept;
}

/** Units of layers with other kernels differ in size: their scores are compared for each weight. */
function keepGlobally(
  made: readonly { l: Layer; rows: GroupedRows; scores: Float64Array }[],
  sparsity: number,
): Uint8Array[] {
  const parts = made.map(({ l, rows, scores }) => {
    const { kernel } = layoutOf(l);
    const perWeight = (s: number, u: number) => {
      const weights = rows.groupSizes[Math.floor(u / rows.inputs)] * kernel;
      return s / (rows.norm === 'l1' ? weights : Math.sqrt(weights));
    };
    return { name: l.name, scores: Float32Array.from(scores, perWeight) };
  });
  const units = parts.reduce((n, p) => n + p.scores.length, 0);
  return keepHighest(parts, units - countOf(sparsity, units));
}

/** Element mask of the units kept (group × input). */
function expanded(l: Layer, { inputs, groupOf }: GroupedRows, order: ArrayLike<number>, kept: Uint8Array): LayerMask {
  const { outStride, inStride, kernelOffset } = layoutOf(l);
  const keep = new Uint8Array(l.values.length);
  groupOf.forEach((g, position) => {
    for (let i = 0; i < inputs; i++) {
      if (kept[g * inputs + i] === 0) continue;
      for (const k of kernelOffset) keep[order[position] * outStride + i * inStride + k] = 1;
    }
  });
  return { shape: l.shape, keep };
}
