import { check, type Node, Parameter, type Spec, type Traced } from '@gossamer/tensor';
import { Conv2d } from '../../nn/conv.ts';
import { Linear } from '../../nn/linear.ts';
import type { Module } from '../../nn/module.ts';
import { weightUses } from '../../sparsity/model.ts';
import type { Dense } from './sparse-ift-layers.ts';

// Finding layers inside a module and putting others in their place.

/** The weights used first and last. Of a tied embedding that is one. */
export function ends({ nodes, parameters }: Traced, { shape }: Spec): string[] {
  const uses = [...weightUses(nodes, parameters, shape[0])].flatMap(([p, list]) =>
    list.map(u => ({ p, id: u.node.id })),
  );
  uses.sort((a, b) => a.id - b.id);
  return [...new Set([uses[0].p.name, uses.at(-1)!.p.name])];
}

/** Batch norms that are the only readers of a layer's output, by that layer's weight. */
export function normsBehind(
  model: Module,
  { nodes, parameters, outputs }: Traced,
  { shape }: Spec,
): Map<string, Module> {
  const owner = new Map<Parameter, Module>();
  for (const [, m] of model.namedModules()) {
    for (const [, value] of m.members()) if (value instanceof Parameter) owner.set(value, m);
  }
  const readers = new Map<Node, Node[]>();
  for (const n of nodes) for (const i of n.inputs) readers.set(i, [...(readers.get(i) ?? []), n]);
  const found = new Map<string, Module>();
  for (const [weight, uses] of weightUses(nodes, parameters, shape[0])) {
    const [reader, ...others] = readers.get(uses[0].node) ?? [];
    const isOutput = outputs.some(o => o.node === uses[0].node);
    if (uses.length > 1 || others.length > 0 || isOutput || reader?.op.name !== 'batchNormInference') continue;
    const scale = reader.inputs.map(i => parameters.get(i)).find(p => p !== undefined);
    const norm = scale && owner.get(scale);
    if (norm) found.set(weight.name, norm);
  }
  return found;
}

/** The modules that own these weights. Refuses one that is no plain linear layer or convolution. */
export function replaceable(model: Module, names: readonly string[]): [name: string, module: Dense][] {
  const modules = new Map(model.namedModules());
  return names.map(name => {
    const module = name.endsWith('.weight') ? modules.get(name.slice(0, -'.weight'.length)) : undefined;
    check(
      module instanceof Linear || module instanceof Conv2d,
      () => `sparse-ift: ${name} belongs to no Linear or Conv2d inside the model, so it cannot be replaced; exclude it`,
    );
    return [name, module];
  });
}

/** Puts modules in the place of others, wherever these are fields. */
export function exchangeModules(model: Module, exchanged: ReadonlyMap<Module, Module>): void {
  for (const [, parent] of [...model.namedModules()]) {
    for (const [key, value] of Object.entries(parent)) {
      if (Array.isArray(value)) {
        value.forEach((item, i) => {
          if (exchanged.has(item)) value[i] = exchanged.get(item);
        });
      } else if (exchanged.has(value)) Reflect.set(parent, key, exchanged.get(value));
    }
  }
}
