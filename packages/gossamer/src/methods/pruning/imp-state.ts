import { FormatError, type NDArray } from '@gossamer/tensor';
import { Mask } from '../../sparsity/index.ts';
import type { Checkpoint } from '../../train/checkpoint.ts';
import type { Snapshot } from '../../train/snapshot.ts';
import type { ImpState } from './imp.ts';

/** A round's state as a checkpoint, ready for `saveCheckpoint`; `extra` is kept beside it. */
export function impCheckpoint({ round, mask, weights, rewind }: ImpState, extra: unknown = null): Checkpoint {
  const arrays: Record<string, NDArray> = {};
  const put = (prefix: string, entries: Iterable<readonly [string, NDArray]>) => {
    for (const [name, array] of entries) arrays[`${prefix}/${name}`] = array;
  };
  put('weights', flat(weights));
  if (rewind) put('rewind', flat(rewind));
  if (mask) put('mask', mask.toArrays());
  return { arrays, json: { imp: { round, extra } } };
}

/** What {@link impCheckpoint} gave. Refuses checkpoints of other runs. */
export function impState({ arrays, json }: Checkpoint): { readonly state: ImpState; readonly extra: unknown } {
  const saved = (json as { imp?: { round: number; extra: unknown } } | null)?.imp;
  if (!saved) throw new FormatError('a checkpoint, but none of a round of iterative pruning');
  const part = (prefix: string) =>
    Object.entries(arrays).flatMap(([name, array]) =>
      name.startsWith(`${prefix}/`) ? [[name.slice(prefix.length + 1), array] as const] : [],
    );
  const numbers = (prefix: string): Snapshot => new Map(part(prefix).map(([n, { data }]) => [n, data as Float32Array]));
  const mask = part('mask');
  const rewind = numbers('rewind');
  const state: ImpState = {
    round: saved.round,
    mask: mask.length > 0 ? Mask.fromArrays(mask) : undefined,
    weights: numbers('weights'),
    rewind: rewind.size > 0 ? rewind : undefined,
  };
  return { state, extra: saved.extra };
}

const flat = (snapshot: Snapshot) =>
  Array.from(snapshot, ([name, data]): [string, NDArray] => [name, { dtype: 'float32', shape: [data.length], data }]);
