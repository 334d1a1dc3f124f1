/** Whether a product with constant weights runs sparse or dense. */
import { type Product, predict, type Rates } from '../kernels/cost.ts';
import type { Pattern, Sparsity } from '../kernels/pattern.ts';
import type { Value } from '../values.ts';
import { nonzeros } from './nonzeros.ts';

/** A product of a constant matrix [rows, cols] with `uses` columns (pixels, tokens). */
export interface Work extends Omit<Product, 'kind'> {
  /** Depthwise convolutions have no sparse kernel. */
  readonly kind: Product['kind'] | 'depthwise';
  readonly density: number;
}

/** The pattern to run with; undefined: dense. */
export type Chooser = (work: Work, found: Sparsity) => Pattern | undefined;

/**
 * `dense`: never a pattern; `csr` and `block`: that kernel wherever there are zeros; `auto`: the one that the rates make
 * the fastest. Without rates nothing is sparse.
 */
export function chooser(kernels: 'auto' | 'dense' | 'csr' | 'block', rates: Rates | undefined): Chooser {
  return (work, { patterns }) => {
    const { kind } = work;
    if (kernels === 'dense' || kind === 'depthwise' || work.density === 1) return undefined;
    // Of blocks that fit into each other the kernels like four rows best.
    const block = patterns.find(p => p.kind === 'block' && p.rows <= 4);
    if (kernels === 'csr') return { kind: 'csr' };
    if (kernels === 'block') return block ?? { kind: 'csr' };
    if (!rates) return undefined;
    let best: Pattern | undefined;
    let least = predict({ ...work, kind }, 'dense', rates);
    for (const pattern of patterns) {
      if (pattern.kind === 'block' && pattern !== block) continue;
      const ms = predict({ ...work, kind }, pattern, rates);
      if (ms < least) [best, least] = [pattern, ms];
    }
    return best;
  };
}

/** Whether any weight has enough zeros for a sparse kernel to be considered. */
export function hasSparseWeights(constants: Iterable<Value>): boolean {
  for (const { type, dims, data } of constants) {
    if (type !== 'float32' || dims.length < 2 || data.length < 256) continue;
    if (nonzeros(data as Float32Array) < (data.length * 3) / 4) return true;
  }
  return false;
}
