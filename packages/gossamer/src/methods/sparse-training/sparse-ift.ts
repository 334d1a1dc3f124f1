// Swaps dense layers for larger sparse ones at exactly the same FLOPs.
// Thangarasa, Saxena, Gupta & Lie 2023, "Sparse Iso-FLOP Transformations for Maximizing Training Efficiency".

import { check, Random, type Spec } from '@gossamer/tensor';
import { Identity } from '../../nn/activation.ts';
import { Conv2d } from '../../nn/conv.ts';
import type { Module } from '../../nn/module.ts';
import type { Group } from '../../optim/optimizer.ts';
import type { Layer } from '../../sparsity/layer.ts';
import { modelLayers, traceModel } from '../../sparsity/model.ts';
import type { MethodInfo } from '../method.ts';
import { type Audit, auditOf, type Balance, densities, type Transformed } from './sparse-ift-budget.ts';
import { type Between, type FoldedPair, SparseDoped, SparseFactorized, SparseParallel } from './sparse-ift-layers.ts';
import { ends, exchangeModules, normsBehind, replaceable } from './sparse-ift-surgery.ts';
import { type IsoFlopOptions, IsoFlopTraining } from './sparse-ift-training.ts';

export { type Audit, type AuditRow, auditTable, type Balance } from './sparse-ift-budget.ts';
export { fold, SparseDoped, SparseFactorized, SparseParallel } from './sparse-ift-layers.ts';
export type { IsoFlopOptions, IsoFlopTraining } from './sparse-ift-training.ts';

export const method: MethodInfo = {
  slug: 'sparse-ift',
  name: 'Sparse-IFT',
  summary:
    'Replaces dense layers by wider, parallel, factorised or doped sparse ones that cost exactly the same FLOPs.',
  paper: 'Sparse Iso-FLOP Transformations for Maximizing Training Efficiency (Thangarasa et al. 2023)',
  kind: 'rewriter',
};

export type Family = 'wide' | 'parallel' | 'factorized' | 'doped' | 'wide+factorized';
export const families: readonly Family[] = ['wide', 'parallel', 'factorized', 'doped', 'wide+factorized'];

/** k_sw = √(1/(1 − s)): factor on the width at which a layer of density 1 − s costs what it did. */
export const wideFactor = (sparsity: number): number => Math.sqrt(1 / (1 - sparsity));

/** ⌊k·base⌋, whole numbers within rounding error being themselves. */
export const widened = (base: number, factor: number): number => Math.floor(base * factor + 1e-9);

/** k_sp = 1/(1 − s). Refuses a sparsity for which it is no whole number, naming the nearest that have one. */
export function parallelBranches(sparsity: number): number {
  const exact = 1 / (1 - sparsity);
  const count = Math.round(exact);
  const nearest = [Math.floor(exact), Math.ceil(exact)].map(k => `${+(1 - 1 / k).toFixed(4)} (${k} branches)`);
  check(
    Math.abs(exact - count) < 1e-6,
    () =>
      `sparse-ift: sparsity ${sparsity} asks for ${exact.toFixed(3)} parallel branches; the nearest are ${nearest.join(' and ')}`,
  );
  return count;
}

/**
 * d_sf for a weight of `inputs` = K²·C_in columns and `outputs` rows: the rank at which V·U at density 1 − s costs what
 * the dense weight did. With `dense` V only U is sparse.
 */
export function factorizedRank(inputs: number, outputs: number, sparsity: number, v: 'sparse' | 'dense' = 'sparse') {
  const density = 1 - sparsity;
  const cost = v === 'sparse' ? density * (inputs + outputs) : density * inputs + outputs;
  return Math.ceil((inputs * outputs) / cost - 1e-9);
}

/** d_sd: the rank of a dense pair that costs what a sparsity s saves; refuses a pair of rank 0. */
export function dopedRank(inputs: number, outputs: number, sparsity: number): number {
  const rank = Math.floor((sparsity * inputs * outputs) / (inputs + outputs) + 1e-9);
  check(
    rank > 0,
    () =>
      `sparse-ift: at sparsity ${sparsity} a ${outputs}×${inputs} layer saves too little for a pair of rank 1; raise the sparsity above ${((inputs + outputs) / (inputs * outputs)).toFixed(4)}`,
  );
  return rank;
}

export interface SparseIFTOptions {
  /** The network with a factor on all its widths; 1 is the dense network. Only the wide families ask for another one. */
  readonly build: (width: number) => Module;
  /** One sample. */
  readonly input: Spec;
  readonly family: Family;
  /** The one knob, 0 ≤ s < 1. At 0 the dense network comes back. */
  readonly sparsity: number;
  /**
   * Layers left as they are, by weight name. Default for the wide families: none but those that grow on one side only
   * (stem, head, embeddings); for the others the first and the last layer.
   */
  readonly exclude?: readonly string[];
  /**
   * Where multiply-adds are made equal; default `network` for the wide families, else `layer`. With `layer` a widened
   * network's one-sided layers are masked, too: use it where the first layer dominates, as in a perceptron.
   */
  readonly balance?: Balance;
  /** Shape of the densities under balance `network`; default uniform. */
  readonly allocation?: 'uniform' | 'er' | 'erk';
  /** Between the factors U and V; default linear. */
  readonly between?: Between;
  /** Whether both factors are sparse (default), or U only. */
  readonly factors?: 'both' | 'u';
  /** What new weights are drawn from; default `new Random(0)`. */
  readonly random?: Random;
}

export interface SparseIFT {
  readonly model: Module;
  /** Density of each masked weight, by name. */
  readonly densities: ReadonlyMap<string, number>;
  readonly audit: Audit;
  /** Pairs whose weight decay belongs on the product V·U: factors without a non-linearity between them, and doped pairs. */
  readonly folded: readonly FoldedPair[];
  /** All trainable parameters for an optimiser with weight decay: none on U and V of {@link folded}, where the sparsifier adds it. */
  groups(): Group[];
  /** Training that keeps the densities; undefined if nothing is masked (s = 0). */
  sparsifier(options?: Omit<IsoFlopOptions, 'densities' | 'folded'>): IsoFlopTraining | undefined;
}

/** Rewrites a network. Widening builds it anew; the other families replace layers inside it. */
export async function sparseIFT(options: SparseIFTOptions): Promise<SparseIFT> {
  const { build, input, family, sparsity, exclude, allocation = 'uniform' } = options;
  check(sparsity >= 0 && sparsity < 1, () => `sparse-ift: sparsity ${sparsity}; expected 0 ≤ s < 1`);
  check(families.includes(family), () => `sparse-ift: no family '${family}'; there are ${families.join(', ')}`);
  const isWide = family.startsWith('wide');
  const balance = options.balance ?? (isWide ? 'network' : 'layer');
  check(
    family !== 'wide+factorized' || balance !== 'none',
    'sparse-ift: the factors of wide+factorized are dense up to rounding; balance none makes no difference to them',
  );
  const model = build(1);
  const dense = await costlyLayers(model, input);
  for (const name of exclude ?? []) {
    check(
      dense.some(l => l.name === name),
      () => `sparse-ift: exclude '${name}': no such weight; there are ${dense.map(l => l.name).join(', ')}`,
    );
  }
  const made =
    sparsity === 0
      ? { model, transformed: dense.map(asItIs), folded: [] }
      : isWide
        ? await widen(dense, options, balance)
        : await replace(model, dense, options);
  const density = densities(made.transformed, { sparsity, balance, allocation });
  const pairs = new Set(made.folded.flatMap(({ u, v }) => [u, v]));
  return {
    model: made.model,
    densities: density,
    audit: auditOf(made.transformed, density),
    folded: made.folded,
    groups: () => {
      const others = made.model.parameters().filter(p => !pairs.has(p));
      return [{ parameters: others }, { parameters: [...pairs], weightDecay: 0 }];
    },
    sparsifier: rest =>
      density.size === 0 ? undefined : new IsoFlopTraining({ ...rest, densities: density, folded: made.folded }),
  };
}

interface Made {
  readonly model: Module;
  readonly transformed: readonly Transformed[];
  readonly folded: readonly FoldedPair[];
}

const asItIs = (dense: Layer): Transformed => ({ dense, parts: [{ layer: dense, masked: false }] });

/** The layers that cost multiply-adds, in the order of their use. */
async function costlyLayers(model: Module, input: Spec): Promise<readonly Layer[]> {
  const { layers } = await modelLayers(model, [input]);
  return layers.filter(l => l.positions > 0);
}

/** Family 1: every width times k, and the weights between two widened layers masked. */
async function widen(dense: readonly Layer[], options: SparseIFTOptions, balance: Balance): Promise<Made> {
  const { build, input, family, sparsity, exclude = [] } = options;
  const factor = wideFactor(sparsity);
  const model = build(factor);
  const wide = await costlyLayers(model, input);
  const pairs = dense.map(d => {
    const layer = wide.find(l => l.name === d.name);
    check(layer, () => `sparse-ift: the network of width ${factor.toFixed(3)} has no weight ${d.name}`);
    check(
      d.groups === 1 || layer.groups > d.groups,
      () =>
        `sparse-ift: ${d.name} has ${d.groups} groups at any width; scale them with its channels in \`build\`, or take the family parallel, factorized or doped`,
    );
    return { dense: d, layer };
  });
  const grows = ({ dense: d, layer: l }: (typeof pairs)[number], axis: number) => l.shape[axis] > d.shape[axis];
  const chosen = pairs.filter(p => {
    const sides = Number(grows(p, p.dense.outAxis)) + Number(grows(p, p.dense.inAxis));
    return !exclude.includes(p.dense.name) && p.dense.groups === 1 && sides >= (balance === 'layer' ? 1 : 2);
  });
  check(
    chosen.length > 0,
    'sparse-ift: no layer is wider on both sides; does build use the width, or is balance layer meant?',
  );
  if (family === 'wide+factorized') return widenAndFactorize(model, pairs, chosen, options);
  const transformed = pairs.map(
    (p): Transformed => ({
      dense: p.dense,
      parts: [{ layer: p.layer, masked: chosen.includes(p) }],
      ...roundingNote(p.dense, p.layer, factor),
    }),
  );
  return { model, transformed, folded: [] };
}

/** Widths are whole numbers: says where one is not quite k times the former. */
function roundingNote(dense: Layer, wide: Layer, factor: number): { note?: string } {
  const exact = dense.shape[dense.outAxis] * factor;
  const width = wide.shape[wide.outAxis];
  return width === dense.shape[dense.outAxis] || Math.abs(width - exact) < 1e-6
    ? {}
    : { note: `width ${exact.toFixed(2)} → ${width}` };
}

/** Widened layers as V·U of the rank at which dense factors cost what the layer did before it was widened. */
async function widenAndFactorize(
  model: Module,
  pairs: readonly { dense: Layer; layer: Layer }[],
  chosen: readonly { dense: Layer; layer: Layer }[],
  options: SparseIFTOptions,
): Promise<Made> {
  const rank = new Map(
    chosen.map(({ dense, layer }) => {
      const [rows, columns] = [layer.shape[0], layer.values.length / layer.shape[0]];
      return [layer.name, Math.ceil(dense.values.length / (rows + columns) - 1e-9)] as const;
    }),
  );
  const random = (options.random ?? new Random(0)).fork('sparse-ift');
  const factorized = new Map<Module, SparseFactorized>();
  for (const [name, module] of replaceable(model, [...rank.keys()])) {
    factorized.set(
      module,
      new SparseFactorized(module, rank.get(name)!, options.between ?? 'linear', random.fork(name)),
    );
  }
  exchangeModules(model, factorized);
  const after = await costlyLayers(model, options.input);
  const transformed = pairs.map(
    ({ dense, layer }): Transformed => ({
      dense,
      parts: partsOf(after, dense.name, rank.has(dense.name)),
      ...roundingNote(dense, layer, wideFactor(options.sparsity)),
    }),
  );
  return { model, transformed, folded: pairsOf([...factorized.values()]) };
}

/** Families 2 to 4: layers are exchanged where they stand; widths between layers stay as they are. */
async function replace(model: Module, dense: readonly Layer[], options: SparseIFTOptions): Promise<Made> {
  const { family, sparsity, input, between = 'linear', factors = 'both' } = options;
  const random = (options.random ?? new Random(0)).fork('sparse-ift');
  const traced = await traceModel(model, [input], 'sparse-ift');
  const exclude = options.exclude ?? ends(traced, input);
  const chosen = dense.filter(l => !exclude.includes(l.name) && l.groups === 1);
  check(
    chosen.length > 0,
    () =>
      `sparse-ift: of the layers ${dense.map(l => l.name).join(', ')} none is left to transform; give exclude without ${exclude.join(' or ')}`,
  );
  const norms = family === 'parallel' ? normsBehind(model, traced, input) : new Map<string, Module>();
  const exchanged = new Map<Module, Module>();
  const made: Module[] = [];
  const notes = new Map<string, string>();
  for (const [name, module] of replaceable(
    model,
    chosen.map(l => l.name),
  )) {
    const layer = chosen.find(l => l.name === name)!;
    const r = random.fork(name);
    const [outputs, inputs] = [layer.shape[0], layer.values.length / layer.shape[0]];
    let replacement: Module;
    if (family === 'parallel') {
      check(
        module instanceof Conv2d || layer.positions === 1,
        () => `sparse-ift: ${name} maps sequences, which its branches' batch norm does not take; exclude it`,
      );
      replacement = new SparseParallel(module, deviation(layer.values), parallelBranches(sparsity), r);
      const norm = norms.get(name);
      if (norm) exchanged.set(norm, new Identity());
    } else if (family === 'factorized') {
      const rank = factorizedRank(inputs, outputs, sparsity, factors === 'both' ? 'sparse' : 'dense');
      if (between === 'linear' && rank >= Math.min(inputs, outputs)) {
        notes.set(name, `rank ${rank}: linear over-parameterisation, not low rank`);
      }
      replacement = new SparseFactorized(module, rank, between, r);
    } else replacement = new SparseDoped(module, dopedRank(inputs, outputs, sparsity), r);
    exchanged.set(module, replacement);
    made.push(replacement);
  }
  exchangeModules(model, exchanged);
  const after = await costlyLayers(model, input);
  // The dense pair of a doped layer, and V where only U is sparse, pay for themselves.
  const isDense = (part: string) =>
    family === 'doped' ? !part.endsWith('.sparse.weight') : factors === 'u' && part.endsWith('.v.weight');
  const transformed = dense.map((d): Transformed => {
    const parts = partsOf(after, d.name, chosen.includes(d)).map(p => ({
      ...p,
      masked: p.masked && !isDense(p.layer.name),
    }));
    const note = notes.get(d.name) ?? (d.groups > 1 ? 'grouped: left as it is' : undefined);
    return note === undefined ? { dense: d, parts } : { dense: d, parts, note };
  });
  return { model, transformed, folded: pairsOf(made) };
}

/** What stands in the place of a layer: itself, or the weights below its path. */
const partsOf = (after: readonly Layer[], name: string, masked: boolean): Transformed['parts'] => {
  const path = name.slice(0, name.lastIndexOf('.') + 1);
  return after.filter(l => l.name === name || (masked && l.name.startsWith(path))).map(layer => ({ layer, masked }));
};

const pairsOf = (modules: readonly Module[]): FoldedPair[] =>
  modules.flatMap(m =>
    m instanceof SparseDoped || (m instanceof SparseFactorized && m.between === 'linear')
      ? [{ u: m.u.weight, v: m.v.weight }]
      : [],
  );

/** Standard deviation about zero. */
const deviation = (values: Float32Array): number => Math.sqrt(values.reduce((s, v) => s + v * v, 0) / values.length);
