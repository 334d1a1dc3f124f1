/** Fusions and lowerings that only some models need; loaded when a graph names their operators. */
import type { Operators } from '../ops/operator.ts';
import type { Rule } from './fuse.ts';
import type { Lowerings } from './lowering.ts';
import type { Products } from './products.ts';

export interface Extension {
  readonly rules?: readonly Rule[];
  /** What the rules make. */
  readonly operators?: Operators;
  lowerings(products: Products): Lowerings;
}

const EXTENSIONS: readonly (readonly [operators: string, load: () => Promise<{ readonly extension: Extension }>])[] = [
  ['Softmax Attention RotaryEmbedding com.microsoft:', () => import('./attention.ts')],
  ['LSTM GRU', () => import('./recurrent.ts')],
];

/** Those that a graph with these operators (keys as in the registry) may use. */
export function loadExtensions(keys: ReadonlySet<string>): Promise<Extension[]> {
  const has = (name: string) => (name.endsWith(':') ? [...keys].some(key => key.startsWith(name)) : keys.has(name));
  const wanted = EXTENSIONS.filter(([names]) => names.split(' ').some(has));
  return Promise.all(wanted.map(async ([, load]) => (await load()).extension));
}
