/** Whether a product with constant weights runs sparse or dense. */
import type { Pattern } from '../kernels/pattern.ts';
import type { KernelChoice } from './lowerings.ts';

/** A product of a constant matrix [rows, cols] with `uses` columns (pixels, tokens). */
export interface Work {
  readonly kind: 'pixels' | 'window' | 'depthwise' | 'tokens' | 'vector';
  readonly rows: number;
  readonly cols: number;
  readonly uses: number;
  readonly density: number;
  readonly nonzeros: number;
}

/** The pattern to run with; undefined: dense. */
export type Chooser = (work: Work, patterns: readonly Pattern[]) => Pattern | undefined;

export const chooser =
  (kernels: KernelChoice): Chooser =>
  (work, patterns) => {
    if (kernels === 'dense' || work.kind === 'depthwise' || work.density === 1) return undefined;
    const block = patterns.find(p => p.kind === 'block' && p.rows <= 4);
    if (kernels === 'csr') return { kind: 'csr' };
    if (kernels === 'block') return block ?? { kind: 'csr' };
    return work.density < 0.35 ? (block ?? { kind: 'csr' }) : undefined;
  };
