/** Models from paths, addresses and bytes, with the files of external data that lie beside them. */
import { RuntimeError } from '../errors.ts';
import type { Model } from './graph.ts';
import { externalRanges } from './locate.ts';
import { parseModel } from './model.ts';
import type { ExternalFiles } from './ranges.ts';
import { type Bytes, locate, readWhole, view } from './source.ts';

export type { ExternalFiles };

export interface ReadOptions {
  /** Looked up before the model's folder. */
  readonly external?: ExternalFiles;
}

/**
 * Reads a model from a path (Node), an address (`http`, `file`, `data`, `blob`; relative ones in a browser) or bytes,
 * which must not change afterwards. Of external data only the parts that tensors name are read, in a browser the whole
 * file. Errors start with the model's name.
 */
export async function readModel(source: string | URL | Bytes, options: ReadOptions = {}): Promise<Model> {
  const address = typeof source === 'string' || source instanceof URL ? locate(source) : undefined;
  const name = address === undefined ? 'model' : String(address);
  const bytes = address === undefined ? view(source as Bytes) : await readWhole(address);
  try {
    const ranges = externalRanges(bytes);
    const { readRanges } = ranges.length > 0 ? await import('./ranges.ts') : {};
    const external = await readRanges?.(ranges, options.external, address);
    return await parseModel(bytes, { owned: address !== undefined, external });
  } catch (error) {
    if (!(error instanceof RuntimeError)) throw error;
    throw new (error.constructor as typeof RuntimeError)(`${name}: ${error.message}`, { cause: error });
  }
}
