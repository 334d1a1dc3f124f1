import { check } from '@gossamer/tensor';
import type { Module } from '../nn/module.ts';

/** The values of all parameters and buffers of a model at one moment, by their `state_dict` names. */
export type Snapshot = ReadonlyMap<string, Float32Array>;

/** Copies a model's state: to rewind to it, to start several trainings from it, to average several of them. */
export async function snapshot(model: Module): Promise<Snapshot> {
  const entries = [...model.stateDict()].map(async ([name, p]) => [name, (await p.data()).slice()] as const);
  return new Map(await Promise.all(entries));
}

/** Gives a model the state that {@link snapshot} took of one like it. Refuses names and sizes that differ. */
export function restore(model: Module, state: Snapshot): void {
  const own = model.stateDict();
  for (const [name, p] of own) {
    const values = state.get(name);
    check(values, () => `restore: the snapshot has no '${name}'; it has ${[...state.keys()].join(', ')}`);
    check(values.length === p.size, () => `restore: '${name}' has ${p.size} values, the snapshot ${values.length}`);
  }
  for (const [name, p] of own) p.set(state.get(name)!.slice());
}
