/** What kernels cost on this machine, predicted for any product from rates that were measured once. Rates are plain JSON. */
import { fitsGroups } from './pack.ts';
import type { Pattern } from './pattern.ts';

/** `pixels`: 1×1 convolution; `window`: k×k; `tokens`: row-major vectors; `vector`: one of them. */
export type ProductKind = 'pixels' | 'window' | 'tokens' | 'vector';

/** A product of constant weights [rows, cols] with `uses` columns of activations. */
export interface Product {
  readonly kind: ProductKind;
  readonly rows: number;
  readonly cols: number;
  readonly uses: number;
  readonly nonzeros: number;
}

/** How the weights are stored. */
export type Variant = 'dense' | 'csr' | 'block' | 'grouped';

/** Nanoseconds: for each multiply-add that is done, each output, and each element of the activations [cols, uses]. */
export type Rate = readonly [multiplyAdd: number, output: number, input: number];

/** Rates by `kind variant`, as `pixels csr`; `stream` has the nanoseconds to read a byte from beyond the caches. */
export type Rates = Readonly<Record<string, Rate>>;

/** What a rate's parts are multiplied with. */
export const amounts = ({ kind, rows, cols, uses, nonzeros }: Product): Rate => [
  nonzeros * uses,
  rows * uses,
  // A window's input is `cols` times larger than what is read.
  (kind === 'window' ? cols / 9 : cols) * uses,
];

/** Weights of more bytes are not expected to be in a cache still when they are used for the next vector. */
const CACHED = 1 << 17;

/** Bytes that a single vector's product reads, with the shortest indices. */
const streamed = (rows: number, cols: number, nonzeros: number, variant: Variant): number =>
  ({ dense: 4, csr: 6, block: 4.5, grouped: 4.5 })[variant] * (variant === 'dense' ? rows * cols : nonzeros);

/** Milliseconds that a product takes on one thread with its weights stored dense or by a pattern. */
export function predict(product: Product, pattern: Pattern | 'dense', rates: Rates): number {
  const { kind, rows, cols } = product;
  const grouped = pattern !== 'dense' && pattern.kind === 'nm' && kind === 'vector' && fitsGroups(pattern.n, pattern.m);
  const variant = pattern === 'dense' ? pattern : grouped ? 'grouped' : pattern.kind === 'block' ? 'block' : 'csr';
  // Dense kernels work on zeros as well, grouped ones on half of the columns.
  const nonzeros = pattern === 'dense' ? rows * cols : grouped ? (rows * cols) / 2 : product.nonzeros;
  const rate = rates[`${kind} ${variant}`];
  const work = amounts({ ...product, nonzeros }).reduce((sum, amount, i) => sum + amount * rate[i], 0);
  const reads = kind === 'vector' && rows * cols * 4 > CACHED;
  return Math.max(work, reads ? streamed(rows, cols, nonzeros, variant) * rates.stream[0] : 0) / 1e6;
}
