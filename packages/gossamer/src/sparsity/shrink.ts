import { check, Parameter, type Spec } from '@gossamer/tensor';
import type { Module } from '../nn/module.ts';
import { channelGroups, type ModelCost } from './groups.ts';
import { planShrink, type ShrinkDecision, type ShrinkOptions, type ShrinkPlan } from './shrink-plan.ts';
import { ShrunkModule, type SlicedParameter } from './shrunk-module.ts';

export type { ShrinkDecision, ShrinkOptions } from './shrink-plan.ts';
export type { ShrunkModule } from './shrunk-module.ts';

export interface Shrunk {
  readonly model: ShrunkModule;
  readonly before: ModelCost;
  readonly after: ModelCost;
  /** The channels that are gone, by their ids in the model that was given. */
  readonly removed: readonly number[];
  /** The positions that are left along an axis (default 0) of a parameter, ascending. */
  kept(parameter: string, axis?: number): Int32Array;
  /** With `constant: 'fold'`: weights that read a constant which no bias could take over exactly. */
  readonly dropped: readonly string[];
}

/**
 * Makes a module physically smaller: channels are removed wherever they lie, from filters and biases to the weights that
 * read them. The result computes what the model computes with those channels at zero, trains like the model (batch
 * normalisation and dropout included), exports, and has the same names of parameters. The model stays as it was, but
 * lends its graph: do not change its structure later.
 *
 * A mask removes a channel if nothing that depends on the input leaves it any more: its filters are dead everywhere, or
 * its scales and shifts, or all weights that read it. What else a mask prunes stays, as zeros.
 *
 * ```ts
 * const mask = prune(layers, l => magnitude(l.values), { sparsity: 0.5, granularity: 'filter' });
 * const { model: small, before, after } = await shrink(model, inputs, mask);
 * ```
 *
 * @param inputs shape and dtype of each input, for one sample
 * @throws a GossamerError that names the layer, where nothing of it would be left or its groups would become unequal
 */
export async function shrink(
  model: Module,
  inputs: readonly Spec[],
  decision: ShrinkDecision,
  options: ShrinkOptions = {},
): Promise<Shrunk> {
  const plan = await planShrink(model, inputs, decision, options);
  const small = new ShrunkModule(
    model,
    plan.parameters.map(p => sliced(p, plan)),
    newBiases(plan),
  );
  const { groups, removed, dropped } = plan;
  return {
    model: small,
    before: groups.cost(),
    after: (await channelGroups(small, inputs, options)).cost(),
    removed,
    kept(name, axis = 0) {
      const found = plan.parameters.find(p => p.name === name);
      check(found, () => `shrink: the model has no parameter ${name}`);
      return plan.kept(found)[axis] ?? Int32Array.from({ length: found.shape[axis] }, (_, i) => i);
    },
    dropped,
  };
}

function sliced(original: Parameter, plan: ShrinkPlan): SlicedParameter {
  const { name, trainable, shape } = original;
  const kept = plan.kept(original);
  const removed = shape.map((length, axis) => {
    const stay = kept[axis];
    if (!stay) return undefined;
    const gone = new Uint8Array(length).fill(1);
    for (const p of stay) gone[p] = 0;
    return gone;
  });
  return { name, original, small: new Parameter(plan.slice(original), { name, trainable }), removed };
}

/** `conv1.weight` → `conv1.bias`. */
function newBiases({ biases, parameters }: ShrinkPlan): Map<Parameter, Parameter> {
  const taken = new Set(parameters.map(p => p.name));
  return new Map(
    [...biases].map(([weight, data]) => {
      let name = weight.name.replace(/(^|\.)weight$|$/, '$1bias');
      while (taken.has(name)) name = `${name}_`;
      taken.add(name);
      return [weight, new Parameter({ dtype: 'float32', shape: [data.length], data }, { name })] as const;
    }),
  );
}
