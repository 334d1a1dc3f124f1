/** Runs a model for the shapes that come: plans are made when they are first needed, and kept. */
import type { Node } from '../load/graph.ts';
import { interpret } from '../ops/interpret.ts';
import { operatorKey } from '../ops/operator.ts';
import type { Info, Value } from '../values.ts';
import { plan } from './builder.ts';
import { execute } from './execute.ts';
import type { Machine, Plan, Source } from './plan.ts';
import { isControl, reads } from './reads.ts';

/** Plans kept for different input shapes. */
const KEPT = 64;

interface Entry {
  readonly plan: Plan;
  readonly id: number;
}

export class Runner {
  readonly machine: Machine;
  #source: Source;
  /** In order of use: the first is the one to drop. */
  readonly #entries = new Map<string, Entry>();
  #made = 0;
  #last: readonly Plan[] = [];

  constructor(machine: Machine, source: Source) {
    this.machine = machine;
    this.#source = source;
  }

  /** The plans of the last run, one for each stage. */
  get last(): readonly Plan[] {
    return this.#last;
  }

  /** Makes the only plan of a model with fixed shapes, after which the weights as they were read are not kept. */
  prepare(infos: ReadonlyMap<string, Info>): void {
    const made = this.#plan(this.#source, infos, 0).plan;
    if (!made.rest) this.#source = { nodes: [], constants: new Map(), quantized: new Map(), outputs: [], fixed: true };
    this.#last = [made];
  }

  /** All outputs, and values between stages. */
  async run(feeds: ReadonlyMap<string, Value>, profile: boolean): Promise<Map<string, Value>> {
    const values = new Map(feeds);
    let source = this.#source;
    let names: Iterable<string> = feeds.keys();
    let wanted: ReadonlySet<string> = new Set();
    const plans: Plan[] = [];
    for (let id = 0; ; ) {
      const infos = new Map<string, Info>();
      for (const name of names) {
        const value = values.get(name);
        if (value) infos.set(name, { type: value.type, dims: value.dims, value: wanted.has(name) ? value : undefined });
      }
      const entry = this.#plan(source, infos, id);
      const { rest } = entry.plan;
      plans.push(entry.plan);
      for (const [name, value] of await execute(this.machine, entry.plan, values, profile)) values.set(name, value);
      const nodes = rest ? this.#unblock(rest.nodes, values) : [];
      if (!nodes.length) break;
      // What depends on data is not fixed, whatever the shapes of the inputs are.
      const outputs = source.outputs.filter(name => !values.has(name));
      source = { ...source, nodes, outputs, fixed: false };
      names = new Set(nodes.flatMap(reads));
      ({ id } = entry);
      ({ wanted } = rest!);
    }
    this.#last = plans;
    return values;
  }

  /** @param after the plan of the stage before, on which the nodes that are left depend; 0: none */
  #plan(source: Source, infos: ReadonlyMap<string, Info>, after: number): Entry {
    const given = [...infos].map(([name, { type, dims, value }]) => [
      name,
      type,
      dims,
      value && [...value.data].map(String),
    ]);
    const key = JSON.stringify([after, given]);
    const { memory } = this.machine;
    let entry = this.#entries.get(key);
    // Plans for an arena that was given up for a larger one no longer have their memory.
    const valid = (entry: Entry) => entry.plan.arena === memory.arena(0);
    if (entry && valid(entry)) {
      this.#entries.delete(key);
    } else {
      entry = { plan: plan(this.machine, source, infos), id: ++this.#made };
      for (const [other, old] of this.#entries) if (!valid(old) || this.#entries.size >= KEPT) this.#drop(other);
    }
    this.#entries.set(key, entry);
    return entry;
  }

  #drop(key: string): void {
    for (const segment of this.#entries.get(key)!.plan.segments)
      if ('program' in segment) this.machine.threads.forget(segment.program);
    this.#entries.delete(key);
  }

  /** Runs the nodes that can only be run with data, as far as their inputs are there; returns the others. */
  #unblock(nodes: readonly Node[], values: Map<string, Value>): Node[] {
    const { operators } = this.machine;
    const { constants } = this.#source;
    return nodes.filter(node => {
      if (!operators[operatorKey(node)].dynamic && !isControl(node)) return true;
      const known = new Map<string, Value>();
      for (const name of reads(node)) {
        const value = values.get(name) ?? constants.get(name);
        if (!value) return true;
        known.set(name, value);
      }
      const outputs = node.outputs.filter(name => name !== '').map(name => ({ name }));
      const graph = { name: node.name, nodes: [node], inputs: [], outputs, initializers: new Map() };
      for (const [name, value] of interpret(graph, known, operators)) values.set(name, value);
      return false;
    });
  }

  release(): void {
    this.#entries.clear();
    this.#last = [];
    this.machine.threads.release();
    this.machine.release();
  }
}
