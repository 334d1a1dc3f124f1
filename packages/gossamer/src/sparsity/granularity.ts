import { check, GossamerError } from '@gossamer/tensor';
import { type Layer, layoutOf } from './layer.ts';

/**
 * The unit of pruning.
 *
 * The first group are *partitions*: elements of a unit live and die together. With a weight seen as output × input ×
 * kernel, `element` is 1×1×1, `filter` (a linear layer's row, an output channel) 1×in×kernel, `channel` (a column, an
 * input channel) out×1×kernel, `kernel` 1×1×kernel, `filter-shape` (one input channel and one window position over
 * all filters) out×1×1, `head` an equal share of the layer's head axis, `layer` everything; `block` is `out`×`in`
 * channels at one window position, or over the whole kernel ({@link outputBlock}).
 *
 * `nm` is a *constraint* on elements: in every run of `m` consecutive elements along the `axis` at most `n` live. The
 * default axis is `in`, the one that a product sums over: along a linear layer's row, and in a convolution along the
 * input channels at a fixed window position (not along the window). `out` is the axis that the backward product sums over.
 *
 * `ragged`: what to do when the extent is not a multiple of the block or of m. `refuse` (default) is an error; `pad`
 * lets the last unit be smaller, as if padded by zeros that are not counted (a short N:M run of r elements keeps min(n, r)).
 */
export type Granularity = Partition | NM;

export type Partition =
  | { readonly kind: 'element' | 'filter' | 'channel' | 'kernel' | 'filter-shape' | 'head' | 'layer' }
  | Block;

export interface Block {
  readonly kind: 'block';
  readonly out: number;
  readonly in: number;
  /** What of the window a block takes: one `position` (default), or the `whole` kernel. */
  readonly kernel?: 'position' | 'whole';
  readonly ragged?: Ragged;
}

export interface NM {
  readonly kind: 'nm';
  readonly n: number;
  readonly m: number;
  readonly axis?: 'in' | 'out';
  readonly ragged?: Ragged;
}

export type Ragged = 'refuse' | 'pad';

/**
 * `size` consecutive output channels × one input channel × the whole kernel: what a kernel that computes `size` outputs
 * at a time can skip as one.
 */
export function outputBlock(size: number, ragged: Ragged = 'refuse'): Block {
  check(Number.isInteger(size) && size >= 1, () => `outputBlock: ${size} output channels; expected a whole number ≥ 1`);
  return { kind: 'block', out: size, in: 1, kernel: 'whole', ragged };
}

const plainKinds = ['element', 'filter', 'channel', 'kernel', 'filter-shape', 'head', 'layer'] as const;
const aliases: Record<string, (typeof plainKinds)[number]> = {
  unstructured: 'element',
  row: 'filter',
  column: 'channel',
};

/**
 * Reads `element`, `filter` (or `row`), `channel` (or `column`), `kernel`, `filter-shape`, `head`, `layer`,
 * `block:4x1` (output × input channels), `block:4x1:kernel` (over the whole kernel), `2:4`, `2:4:out`; `:pad` may follow
 * each block and n:m.
 */
export function parseGranularity(text: string): Granularity {
  const name = aliases[text] ?? text;
  const plain = plainKinds.find(kind => kind === name);
  if (plain) return { kind: plain };
  const block = /^block:(\d+)x(\d+)(:kernel)?(:pad)?$/.exec(text);
  if (block) {
    const granularity = {
      kind: 'block',
      out: Number(block[1]),
      in: Number(block[2]),
      kernel: block[3] ? 'whole' : 'position',
      ragged: ragged(block[4]),
    } as const;
    check(granularity.out >= 1 && granularity.in >= 1, `granularity '${text}': a block has at least 1x1 elements`);
    return granularity;
  }
  const nm = /^(\d+):(\d+)(:out|:in)?(:pad)?$/.exec(text);
  check(
    nm,
    `granularity '${text}': expected ${plainKinds.join(', ')}, row, column, block:4x1 (also block:4x1:kernel, block:4x1:pad) or 2:4 (also 2:4:out, 2:4:pad)`,
  );
  const axis = nm[3] === ':out' ? 'out' : 'in';
  const granularity = { kind: 'nm', n: Number(nm[1]), m: Number(nm[2]), axis, ragged: ragged(nm[4]) } as const;
  checkNM(granularity);
  return granularity;
}

const ragged = (suffix: string | undefined): Ragged => (suffix ? 'pad' : 'refuse');

/** The text that {@link parseGranularity} reads. */
export function formatGranularity(granularity: Granularity): string {
  if (granularity.kind === 'nm') {
    const { n, m, axis, ragged } = granularity;
    return `${n}:${m}${axis === 'out' ? ':out' : ''}${ragged === 'pad' ? ':pad' : ''}`;
  }
  if (granularity.kind === 'block') {
    const { out, in: inputs, kernel, ragged } = granularity;
    return `block:${out}x${inputs}${kernel === 'whole' ? ':kernel' : ''}${ragged === 'pad' ? ':pad' : ''}`;
  }
  return granularity.kind;
}

export function checkNM({ n, m }: NM): void {
  check(
    Number.isInteger(n) && Number.isInteger(m) && n >= 1 && n < m,
    () => `granularity ${n}:${m}: expected whole numbers with 1 ≤ n < m`,
  );
}

/** One layer's units: which unit each element is in, and how many elements each unit has. */
export interface Units {
  readonly count: number;
  /** Elements per unit; one number where all are equal. */
  readonly sizes: number | Uint32Array;
  /** Unit of each element; absent where every element is its own unit. */
  readonly of?: Uint32Array;
}

/** Divides a layer into units. N:M divides into elements: its constraint is applied by {@link keepNM}. */
export function unitsOf(layer: Layer, granularity: Granularity): Units {
  const { kind } = granularity;
  if (kind === 'element' || kind === 'nm') return { count: layer.values.length, sizes: 1 };
  const layout = layoutOf(layer);
  const tile = tileOf(layer, granularity, layout);
  const inTiles = Math.ceil(layout.in / tile.in);
  const kernelTiles = layout.kernel / tile.kernel;
  const count = Math.ceil(layout.out / tile.out) * inTiles * kernelTiles;
  const of = new Uint32Array(layer.values.length);
  const sizes = new Uint32Array(count);
  for (let o = 0; o < layout.out; o++) {
    const outTile = Math.floor(o / tile.out);
    for (let i = 0; i < layout.in; i++) {
      const base = o * layout.outStride + i * layout.inStride;
      const first = (outTile * inTiles + Math.floor(i / tile.in)) * kernelTiles;
      for (let k = 0; k < layout.kernel; k++) {
        const unit = tile.kernel === 1 ? first + k : first;
        of[base + layout.kernelOffset[k]] = unit;
        sizes[unit]++;
      }
    }
  }
  return { count, sizes: sizes.every(s => s === sizes[0]) ? sizes[0] : sizes, of };
}

/** Extents of one unit; the kernel is either divided into single positions or not at all. */
function tileOf(layer: Layer, granularity: Partition, layout: { out: number; in: number; kernel: number }) {
  const { out, in: inputs, kernel } = layout;
  switch (granularity.kind) {
    case 'element':
      return { out: 1, in: 1, kernel: 1 };
    case 'filter':
      return { out: 1, in: inputs, kernel };
    case 'channel':
      return { out, in: 1, kernel };
    case 'kernel':
      return { out: 1, in: 1, kernel };
    case 'filter-shape':
      return { out, in: 1, kernel: 1 };
    case 'layer':
      return { out, in: inputs, kernel };
    case 'head': {
      const { heads } = layer;
      check(heads, `layer ${layer.name}: granularity head needs the layer's \`heads\`: { count, axis }`);
      return heads.axis === 'out'
        ? { out: out / heads.count, in: inputs, kernel }
        : { out, in: inputs / heads.count, kernel };
    }
    case 'block': {
      const fits = out % granularity.out === 0 && inputs % granularity.in === 0;
      check(
        fits || granularity.ragged === 'pad',
        () =>
          `layer ${layer.name}: ${out} × ${inputs} channels are not a multiple of block ${granularity.out}x${granularity.in}; exclude the layer, or let the last blocks be smaller with '${formatGranularity(granularity)}:pad'`,
      );
      return { out: granularity.out, in: granularity.in, kernel: granularity.kernel === 'whole' ? kernel : 1 };
    }
  }
}

/** How element scores become the score of their unit: Σ|s|, √Σs², Σs, mean or maximum of s. */
export type GroupNorm = 'l1' | 'l2' | 'sum' | 'mean' | 'max';

/** Unit scores from element scores; the element scores themselves where each element is a unit. */
export function groupScores(scores: Float32Array, units: Units, norm: GroupNorm): Float32Array {
  const { of, count, sizes } = units;
  if (!of) return scores;
  const sum = new Float64Array(count).fill(norm === 'max' ? -Infinity : 0);
  switch (norm) {
    case 'l1':
      for (let e = 0; e < of.length; e++) sum[of[e]] += Math.abs(scores[e]);
      break;
    case 'l2':
      for (let e = 0; e < of.length; e++) sum[of[e]] += scores[e] * scores[e];
      break;
    case 'max':
      // Math.max lets NaN through, so that the selection can refuse it.
      for (let e = 0; e < of.length; e++) sum[of[e]] = Math.max(sum[of[e]], scores[e]);
      break;
    case 'sum':
    case 'mean':
      for (let e = 0; e < of.length; e++) sum[of[e]] += scores[e];
  }
  const out = new Float32Array(count);
  for (let u = 0; u < count; u++) {
    const size = typeof sizes === 'number' ? sizes : sizes[u];
    out[u] = norm === 'l2' ? Math.sqrt(sum[u]) : norm === 'mean' ? sum[u] / size : sum[u];
  }
  return out;
}

/** Element mask (0/1) from the units kept (0/1). */
export function expandUnits(keep: Uint8Array, { of }: Units): Uint8Array {
  if (!of) return keep;
  const mask = new Uint8Array(of.length);
  for (let e = 0; e < of.length; e++) mask[e] = keep[of[e]];
  return mask;
}

/**
 * The N:M mask of a layer: 1 at the n highest scores of every run of m along the axis; of equal scores the lower index
 * stays. A NaN score is refused.
 */
export function keepNM(layer: Layer, scores: Float32Array, pattern: NM): Uint8Array {
  checkNM(pattern);
  const { n, m, axis = 'in', ragged = 'refuse' } = pattern;
  const { out, in: inputs, kernel, outStride, inStride, kernelOffset } = layoutOf(layer);
  const [along, stride] = axis === 'in' ? [inputs, inStride] : [out, outStride];
  const [across, acrossStride] = axis === 'in' ? [out, outStride] : [inputs, inStride];
  check(
    along % m === 0 || ragged === 'pad',
    () =>
      `layer ${layer.name}: its ${along} ${axis}put channels are not a multiple of ${m}; exclude the layer, or keep min(${n}, rest) of the last run with '${formatGranularity({ ...pattern, ragged: 'pad' })}'`,
  );
  const keep = new Uint8Array(scores.length);
  const best = new Int32Array(n);
  for (let a = 0; a < across; a++) {
    for (let k = 0; k < kernel; k++) {
      const base = a * acrossStride + kernelOffset[k];
      for (let start = 0; start < along; start += m) {
        const end = Math.min(start + m, along);
        let found = 0;
        for (let i = start; i < end; i++) {
          const element = base + i * stride;
          const score = scores[element];
          if (Number.isNaN(score)) throw new GossamerError(`layer ${layer.name}: score ${element} is NaN`);
          // Insertion into the n best so far, highest first; strict comparison keeps the lower index on ties.
          let place = found;
          while (place > 0 && score > scores[best[place - 1]]) place--;
          if (place === n) continue;
          if (found < n) found++;
          for (let j = found - 1; j > place; j--) best[j] = best[j - 1];
          best[place] = element;
        }
        for (let j = 0; j < found; j++) keep[best[j]] = 1;
      }
    }
  }
  return keep;
}
