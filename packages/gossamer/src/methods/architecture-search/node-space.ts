import { check, GossamerError, type Parameter, type Random, type Spec, type Tensor } from '@gossamer/tensor';
import type { Module } from '../../nn/module.ts';
import { type ChannelGroups, channelGroups } from '../../sparsity/groups.ts';
import { modelLayers } from '../../sparsity/model.ts';
import { shrink } from '../../sparsity/shrink.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';
import { type CandidateSparsity, type SearchSpace, switchOf } from './search-space.ts';

/** The hidden nodes that stay: for each layer, by the name of the weight that makes them, ascending positions. */
export type NodeCandidate = ReadonlyMap<string, Int32Array>;

export interface NodeSpaceOptions {
  /** Draw the same share from every layer (default), or from all nodes together. */
  readonly sampling?: 'layer' | 'global';
  /** Multiply inherited weights by √(h/k) where h nodes became k, so that sums keep their variance. Default false. */
  readonly rescale?: boolean;
  /** Layers that stay whole, by the name of the weight that makes their nodes. */
  readonly exclude?: readonly string[];
}

/** Nodes of one layer: what must go together, and its channel ids. */
interface Hidden {
  readonly name: string;
  readonly channels: readonly number[];
}

/** Where the nodes lie along an axis of a parameter. */
interface Axis {
  readonly parameter: Parameter;
  readonly axis: number;
  /** Id at each position, −1 where nothing can go. */
  readonly ids: Int32Array;
  /** 1 or 0 for each position, times the rescaling on the side that reads. */
  readonly factors: Parameter;
  readonly reads: boolean;
}

/**
 * Sub-networks that lack hidden nodes. A removed node loses all its incoming and outgoing weights and its bias; inputs and
 * outputs stay. Nodes are whatever the network's dependency graph lets go: neurons of a perceptron, filters, heads.
 * Their network is a physically smaller one.
 */
export class NodeSpace implements SearchSpace<NodeCandidate> {
  readonly parent: Module;
  readonly layers: readonly Hidden[];
  readonly #inputs: readonly Spec[];
  readonly #options: NodeSpaceOptions;
  readonly #axes: readonly Axis[];
  readonly #weights: ReadonlyMap<string, number>;

  private constructor(
    parent: Module,
    inputs: readonly Spec[],
    found: ChannelGroups,
    options: NodeSpaceOptions,
    weights: ReadonlyMap<string, number>,
  ) {
    this.parent = parent;
    this.#inputs = inputs;
    this.#options = options;
    this.#weights = weights;
    const { exclude = [] } = options;
    const names = found.groups.map(g => g.name);
    for (const name of exclude) {
      check(names.includes(name), () => `search: exclude '${name}' makes no nodes; there are ${names.join(', ')}`);
    }
    this.layers = found.groups.filter(g => !exclude.includes(g.name));
    check(this.layers.length > 0, 'search: the network has no hidden nodes that could be removed');
    const free = new Set(this.layers.flatMap(l => l.channels));
    const axes: Axis[] = [];
    for (const [name, parameter] of parent.namedParameters()) {
      if (!parameter.trainable) continue;
      parameter.shape.forEach((length, axis) => {
        const ids = found.channelsAlong(name, axis).map(id => (free.has(id) ? id : -1));
        if (ids.every(id => id < 0)) return;
        const shape = parameter.shape.map((_, a) => (a === axis ? length : 1));
        const reads = weights.has(name) && axis === weights.get(name);
        axes.push({ parameter, axis, ids, factors: switchOf(shape), reads });
      });
    }
    this.#axes = axes;
  }

  static async of(parent: Module, inputs: readonly Spec[], options: NodeSpaceOptions = {}): Promise<NodeSpace> {
    const found = await channelGroups(parent, inputs);
    const { layers } = await modelLayers(parent, inputs);
    return new NodeSpace(parent, inputs, found, options, new Map(layers.map(l => [l.name, l.inAxis])));
  }

  /**
   * k_l = round((1 − p)·h_l) nodes of each layer, uniformly without replacement; with global sampling, as many of all
   * nodes together. Refuses a sparsity that leaves a layer empty.
   */
  sample(sparsity: number, random: Random): NodeCandidate {
    check(sparsity >= 0 && sparsity < 1, () => `search: sparsity ${sparsity}; expected 0 ≤ p < 1`);
    if (this.#options.sampling === 'global') return this.#sampleGlobally(sparsity, random);
    return new Map(
      this.layers.map(({ name, channels }) => {
        const kept = keptNodes(sparsity, channels.length);
        check(
          kept > 0,
          () =>
            `search: node sparsity ${sparsity} rounds the ${channels.length} nodes of ${name} to 0, which cuts the network; at most ${(1 - 0.5 / channels.length).toFixed(4)} leaves one`,
        );
        return [name, random.fork(name).permutation(channels.length).slice(0, kept).sort()] as const;
      }),
    );
  }

  #sampleGlobally(sparsity: number, random: Random): NodeCandidate {
    const all = this.layers.flatMap(({ name, channels }) => channels.map((_, i) => [name, i] as const));
    const kept = keptNodes(sparsity, all.length);
    // Uniform among the sub-networks that are not cut: others are drawn again.
    for (let attempt = 0; attempt < 1000; attempt++) {
      const drawn = new Map(this.layers.map(l => [l.name, [] as number[]]));
      for (const i of random.fork(attempt).permutation(all.length).subarray(0, kept))
        drawn.get(all[i][0])!.push(all[i][1]);
      if ([...drawn.values()].every(nodes => nodes.length > 0)) {
        return new Map([...drawn].map(([name, nodes]) => [name, Int32Array.from(nodes).sort()]));
      }
    }
    throw new GossamerError(
      `search: ${kept} of ${all.length} nodes (sparsity ${sparsity}) hardly ever reach all ${this.layers.length} layers; sample by layer, or keep more`,
    );
  }

  show(candidate: NodeCandidate): void {
    const factors = this.#factorsOf(candidate);
    for (const a of this.#axes) a.factors.set(factors(a));
  }

  effective(): ReadonlyMap<Parameter, Tensor> {
    const values = new Map<Parameter, Tensor>();
    for (const { parameter, factors } of this.#axes) {
      values.set(parameter, (values.get(parameter) ?? parameter).mul(factors));
    }
    return values;
  }

  /** Between two hidden layers a share (k_{l−1}/h_{l−1})·(k_l/h_l) of the weights is left. */
  sparsity(candidate: NodeCandidate): CandidateSparsity {
    const alive = this.#alive(candidate);
    const nodes = this.layers.reduce((n, l) => n + l.channels.length, 0);
    const kept = [...candidate.values()].reduce((n, k) => n + k.length, 0);
    let [all, live] = [0, 0];
    for (const [name, p] of this.parent.namedParameters()) {
      if (!this.#weights.has(name)) continue;
      const shares = this.#axes
        .filter(a => a.parameter === p)
        .map(({ ids }) => ids.reduce((n, id) => n + (id < 0 || alive.has(id) ? 1 : 0), 0) / ids.length);
      all += p.size;
      live += shares.reduce((n, share) => n * share, p.size);
    }
    return { nodes: 1 - kept / nodes, weights: 1 - live / all };
  }

  async network(candidate: NodeCandidate): Promise<{ model: Module; sparsifiers: readonly Sparsifier[] }> {
    const alive = this.#alive(candidate);
    const remove = this.layers.flatMap(l => l.channels.filter(id => !alive.has(id)));
    const { model } = await shrink(this.parent, this.#inputs, { remove });
    if (this.#options.rescale) {
      const factors = this.#factorsOf(candidate);
      const own = model.stateDict();
      for (const a of this.#axes.filter(a => a.reads)) {
        const p = own.get(a.parameter.name)!;
        const kept = factors(a).filter(f => f !== 0);
        const inner = p.shape.slice(a.axis + 1).reduce((n, d) => n * d, 1);
        p.set((await p.data()).map((w, i) => w * kept[Math.floor(i / inner) % kept.length]));
      }
    }
    return { model, sparsifiers: [] };
  }

  /** Ids of the nodes that stay. */
  #alive(candidate: NodeCandidate): ReadonlySet<number> {
    return new Set(
      this.layers.flatMap(({ name, channels }) => {
        const kept = candidate.get(name);
        check(kept, () => `search: the candidate says nothing about ${name}`);
        return Array.from(kept, i => {
          check(i in channels, () => `search: ${name} has ${channels.length} nodes, not a node ${i}`);
          return channels[i];
        });
      }),
    );
  }

  #factorsOf(candidate: NodeCandidate): (axis: Axis) => Float32Array {
    const alive = this.#alive(candidate);
    const scale = new Map<number, number>();
    for (const { name, channels } of this.layers) {
      const factor = this.#options.rescale ? Math.sqrt(channels.length / candidate.get(name)!.length) : 1;
      for (const id of channels) scale.set(id, factor);
    }
    return ({ ids, reads }) =>
      Float32Array.from(ids, id => (id < 0 ? 1 : alive.has(id) ? (reads ? scale.get(id)! : 1) : 0));
  }
}

/** round((1 − p)·h), halves up. */
const keptNodes = (sparsity: number, nodes: number): number => nodes - Math.ceil(sparsity * nodes - 0.5 - 1e-9);
