import { check, sizeOf } from '@gossamer/tensor';

/** What a weight belongs to; decides the default axes and what {@link maskable} can leave out by kind. */
export type LayerKind = 'linear' | 'conv' | 'depthwise' | 'recurrent' | 'embedding' | 'vector';

/**
 * One weight tensor that can be masked: plain numbers, and what its axes mean.
 *
 * All axes other than `outAxis` and `inAxis` together are the "kernel": a convolution's window, the directions of a
 * recurrent weight.
 */
export interface Layer {
  readonly name: string;
  readonly shape: readonly number[];
  /** Row-major elements; the caller's array, never written here. */
  readonly values: Float32Array;
  readonly kind: LayerKind;
  /** Axis of the output channels. */
  readonly outAxis: number;
  /** Axis of the input channels (per group for grouped convolutions), −1 for a vector, which has none. */
  readonly inAxis: number;
  /**
   * How often one application of the network to one sample uses each weight: output pixels of a convolution, tokens or
   * time steps of a linear layer on sequences, 1 for a plain linear layer, 0 for an embedding (a table look-up).
   */
  readonly positions: number;
  /** Groups that a convolution's channels are divided into; 1 for all other layers. */
  readonly groups: number;
  /** Attention heads that share this weight, and the axis they divide. */
  readonly heads?: { readonly count: number; readonly axis: 'out' | 'in' };
}

/**
 * A checked {@link Layer}.
 *
 * Default axes are those of PyTorch's weights: `[out, in, …kernel]`; an embedding `[vocabulary, features]` is the linear
 * map of one-hot rows, so its `inAxis` is 0 and `outAxis` 1. Weights stored the other way round (ONNX `MatMul`
 * `[in, out]`, transposed convolutions `[in, out, kh, kw]`) pass `{ outAxis: 1, inAxis: 0 }`.
 * Without `kind`: a rank-1 shape is a vector, rank 2 linear, above that depth-wise if there is one input channel, else conv.
 */
export function layer(
  name: string,
  shape: readonly number[],
  values: Float32Array,
  options: Partial<Omit<Layer, 'name' | 'shape' | 'values'>> = {},
): Layer {
  const rank = shape.length;
  check(rank >= 1, `layer ${name}: a scalar has nothing to mask; leave it out`);
  check(
    shape.every(d => Number.isInteger(d) && d >= 1) && sizeOf(shape) === values.length,
    () => `layer ${name}: shape [${shape.join(', ')}] does not describe ${values.length} values`,
  );
  const kind = options.kind ?? (rank === 1 ? 'vector' : rank === 2 ? 'linear' : shape[1] === 1 ? 'depthwise' : 'conv');
  const outAxis = options.outAxis ?? (kind === 'embedding' ? 1 : 0);
  const inAxis = options.inAxis ?? (rank === 1 ? -1 : kind === 'embedding' ? 0 : 1);
  const isAxis = (a: number) => Number.isInteger(a) && a >= 0 && a < rank;
  check(
    isAxis(outAxis) && (rank === 1 ? inAxis === -1 : isAxis(inAxis) && inAxis !== outAxis),
    () => `layer ${name}: output axis ${outAxis} and input axis ${inAxis} do not fit shape [${shape.join(', ')}]`,
  );
  const positions = options.positions ?? (kind === 'embedding' ? 0 : 1);
  check(
    positions >= 0 && Number.isFinite(positions),
    () => `layer ${name}: ${positions} positions; expected 0 or more`,
  );
  const { heads, groups = 1 } = options;
  check(Number.isInteger(groups) && groups >= 1, () => `layer ${name}: ${groups} groups; expected a whole number ≥ 1`);
  if (heads) {
    const axis = heads.axis === 'out' ? outAxis : inAxis;
    const width = axis < 0 ? 1 : shape[axis];
    check(
      Number.isInteger(heads.count) && heads.count >= 1 && width % heads.count === 0,
      () => `layer ${name}: ${heads.count} heads do not divide its ${width} ${heads.axis}put channels`,
    );
  }
  return { name, shape, values, kind, outAxis, inAxis, positions, groups, ...(heads && { heads }) };
}

/** Refuses an empty list, a name used twice and a tensor shared by two names (it would be masked twice). */
export function checkLayers(layers: readonly Layer[]): void {
  check(
    layers.length > 0,
    'no maskable tensor: the model has no linear, convolution, recurrent or embedding weight left',
  );
  const names = new Set<string>();
  const owner = new Map<string, string>();
  const buffers = new Map<ArrayBufferLike, number>();
  for (const { name, values } of layers) {
    check(!names.has(name), () => `layer ${name} appears twice`);
    names.add(name);
    const buffer = buffers.get(values.buffer) ?? buffers.size;
    buffers.set(values.buffer, buffer);
    const place = `${buffer}:${values.byteOffset}`;
    const other = owner.get(place);
    check(
      other === undefined,
      () => `layers ${other} and ${name} share one tensor, which would be masked twice; pass it once, under one name`,
    );
    owner.set(place, name);
  }
}

/** Layers to mask, layers left dense, and the left ones' share of all parameters (to be printed with any sparsity). */
export interface Selection {
  readonly layers: readonly Layer[];
  readonly excluded: readonly Layer[];
  readonly excludedShare: number;
}

/**
 * Leaves layers out of masking: they stay dense and do not count in the sparsity.
 *
 * `exclude` holds `'first'`, `'last'` (by position in `layers`), a kind such as `'depthwise'`, a layer's name, or a name
 * with `*` wildcards such as `'encoder.*.bias'`. An entry that matches nothing is refused.
 */
export function maskable(layers: readonly Layer[], exclude: readonly string[] = []): Selection {
  checkLayers(layers);
  const out = new Set<Layer>();
  for (const entry of exclude) {
    const found = layers.filter((l, i) => matches(l, i, layers.length, entry));
    check(
      found.length > 0,
      () => `exclude '${entry}': no such layer or kind; the layers are ${layers.map(l => l.name).join(', ')}`,
    );
    for (const l of found) out.add(l);
  }
  const kept = layers.filter(l => !out.has(l));
  check(kept.length > 0, () => `exclude [${exclude.join(', ')}] leaves no layer to mask`);
  const size = (ls: Iterable<Layer>) => [...ls].reduce((n, l) => n + l.values.length, 0);
  return { layers: kept, excluded: layers.filter(l => out.has(l)), excludedShare: size(out) / size(layers) };
}

/** Whether an entry of `exclude` (see {@link maskable}) means this layer, number `index` of `count`. */
export function matches(l: Layer, index: number, count: number, entry: string): boolean {
  if (entry === 'first') return index === 0;
  if (entry === 'last') return index === count - 1;
  if (entry === l.kind || entry === l.name) return true;
  if (!entry.includes('*')) return false;
  const pattern = entry.split('*').map(part => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${pattern.join('.*')}$`).test(l.name);
}

/** A weight as output × input × kernel: element (o, i, k) lies at `o·outStride + i·inStride + kernelOffset[k]`. */
export interface Layout {
  readonly out: number;
  readonly in: number;
  readonly kernel: number;
  readonly outStride: number;
  readonly inStride: number;
  readonly kernelOffset: Int32Array;
}

export function layoutOf({ shape, outAxis, inAxis }: Layer): Layout {
  const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
  let offsets = [0];
  shape.forEach((extent, axis) => {
    if (axis === outAxis || axis === inAxis) return;
    offsets = offsets.flatMap(base => Array.from({ length: extent }, (_, j) => base + j * strides[axis]));
  });
  return {
    out: shape[outAxis],
    in: inAxis < 0 ? 1 : shape[inAxis],
    kernel: offsets.length,
    outStride: strides[outAxis],
    inStride: inAxis < 0 ? 0 : strides[inAxis],
    kernelOffset: Int32Array.from(offsets),
  };
}

/** Floating-point operations (2 a multiply-add) that `weights` weights of this layer cost for one sample. */
export const flops = (l: Layer, weights: number): number => 2 * weights * l.positions;
