/** Builds a plan: nodes become kernel steps or plain calls, values become places in one arena. */
import { FormatError } from '../errors.ts';
import type { Node } from '../load/graph.ts';
import { operatorKey } from '../ops/operator.ts';
import type { Call } from '../threads.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import type { Address, Emitter, Step } from './emitter.ts';
import type { Quantized } from './fuse.ts';
import { infer } from './infer.ts';
import { align, layout } from './layout.ts';
import { type DeviceRun, Lowering } from './lowering.ts';
import { absolute, Places } from './places.ts';
import type { Located, Machine, NodeReport, Plan, Segment, Source } from './plan.ts';
import { needed, reads } from './reads.ts';

/** What a node has become. Without steps and `device` it is an alias. */
interface Planned {
  readonly plain: boolean;
  readonly steps: readonly Step[];
  readonly device?: DeviceRun;
}

export class Builder implements Emitter {
  readonly threads: number;
  readonly places: Places;
  readonly #machine: Machine;
  readonly #source: Source;
  readonly #infos: ReadonlyMap<string, Info>;
  readonly #nodes: readonly Node[];
  readonly #feeds: readonly string[];
  readonly #results: readonly string[];
  /** Constants that depend on the input shapes: copied in on every run. */
  readonly #local = new Set<string>();
  // Of the node at hand
  #steps: Step[] = [];
  #device: DeviceRun | undefined;
  #weightBytes = 0;

  constructor(
    machine: Machine,
    source: Source,
    infos: ReadonlyMap<string, Info>,
    nodes: readonly Node[],
    feeds: readonly string[],
    results: readonly string[],
  ) {
    this.threads = machine.adaptive && isSmall(nodes, infos) ? 1 : machine.threads.count;
    this.places = new Places(infos, nodes, results);
    this.#machine = machine;
    this.#source = source;
    this.#infos = infos;
    this.#nodes = nodes;
    this.#feeds = feeds;
    this.#results = results;
  }

  constant(key: string, make: () => ArrayBufferView): Address {
    const { constants, memory } = this.#machine;
    let found = constants.get(key);
    if (!found) {
      const data = make();
      found = { address: memory.put(data), bytes: data.byteLength };
      constants.set(key, found);
    }
    this.#weightBytes += found.bytes;
    return found.address;
  }

  scratch(bytes: number): Address {
    return this.places.scratch(bytes);
  }

  step(kernel: string, ...args: Address[]): void {
    this.#steps.push({ kernel, args });
  }

  device(run: DeviceRun): void {
    this.#device = run;
  }

  quantized(name: string): Quantized | undefined {
    return this.#source.quantized.get(name);
  }

  /**
   * Key of a constant that is the same in all plans; undefined for other values. No key of a packed weight, which has
   * text after it, can equal it: its length comes first.
   */
  key(name: string): string | undefined {
    const permanent = this.#source.fixed ? this.#infos.get(name)?.value : this.#source.constants.has(name);
    return permanent ? `${name.length}:${name}` : undefined;
  }

  /** Where a value lies. Constants are put into memory on first use. */
  address(name: string): Address {
    const value = this.#infos.get(name)!.value;
    const key = value && this.key(name);
    if (key !== undefined) return this.constant(key, () => value!.data as ArrayBufferView);
    if (value) this.#keep(name);
    return this.places.of(name);
  }

  alias(x: string, y: string, offset: number): void {
    if (this.#infos.get(x)!.value) this.#keep(x);
    this.places.alias(x, y, offset);
  }

  /** A constant that takes a place among the activations. */
  #keep(name: string): void {
    if (this.places.has(name)) return;
    this.#local.add(name);
    this.places.keep(name, this.#nodes.length);
  }

  #isNumeric(name: string): boolean {
    return this.#infos.get(name)!.type !== 'string';
  }

  /** Places of values that JavaScript writes or reads; constants and strings it has outside the memory. */
  #touch(names: readonly string[]): void {
    for (const name of names) {
      const info = this.#infos.get(name);
      if (info && !info.value && info.type !== 'string') this.places.of(name);
    }
  }

  #lower(node: Node, report: NodeReport): Planned {
    const { lowerings } = this.#machine;
    const inputs = node.inputs.map(name => (name === '' ? undefined : this.#infos.get(name)));
    const outputs = node.outputs.map(name => this.#infos.get(name)!);
    const lower = lowerings[operatorKey(node)];
    this.#steps = [];
    this.#device = undefined;
    this.#weightBytes = 0;
    // Kernels know no empty values.
    const empty = inputs.some(isEmpty) || outputs.some(isEmpty);
    if (!lower || empty || !lower(new Lowering(this, node, inputs, outputs, report))) {
      this.#touch(node.inputs);
      this.#touch(node.outputs);
      return { plain: true, steps: [] };
    }
    if (report.kernel === 'plain') report.kernel = this.#steps[0]?.kernel ?? 'alias';
    report.weightBytes += this.#weightBytes;
    return { plain: false, steps: this.#steps, device: this.#device };
  }

  /** Plans all nodes. `rest` of the plan is left to the caller. */
  build(): Omit<Plan, 'rest'> {
    const { places } = this;
    // Also feeds whose values are known: they are written on every run.
    for (const name of this.#feeds) if (this.#isNumeric(name)) places.of(name);
    const reports = this.#nodes.map((node): NodeReport => {
      const outputs = node.outputs.map(name => this.#infos.get(name)).filter(info => info !== undefined);
      const dims = outputs.map(info => info.dims);
      return { name: node.name, op: node.op, kernel: 'plain', outputs: dims, flops: 0, skipped: 0, weightBytes: 0 };
    });
    const planned = this.#nodes.map((node, i) => {
      places.now = i;
      const made = this.#lower(node, reports[i]);
      places.done(node);
      return made;
    });
    places.now = this.#nodes.length;
    this.#touch(this.#results);

    const arenaBytes = align(layout(places.buffers));
    const arena = this.#machine.memory.arena(arenaBytes);
    return {
      segments: this.#segments(planned, arena),
      ...this.#outside(planned, arena),
      feeds: [...this.#feeds, ...this.#local],
      results: this.#results,
      reports,
      arena,
      arenaBytes,
    };
  }

  /** Calls in order; those of kernels are joined to programs. */
  #segments(planned: readonly Planned[], arena: number): Segment[] {
    const { memory, threads } = this.#machine;
    const segments: Segment[] = [];
    let calls: Call[] = [];
    let owners: number[] = [];
    const flush = () => {
      if (calls.length) segments.push({ program: threads.prepare(calls, this.threads), reports: owners });
      [calls, owners] = [[], []];
    };
    const view = (at: Address, floats: number) => memory.view('float32', absolute(at, arena), floats) as Float32Array;
    planned.forEach(({ plain, steps, device }, report) => {
      if (plain || device) flush();
      if (plain) segments.push({ node: this.#nodes[report], report });
      if (device) segments.push({ run: () => device(view), report });
      for (const { kernel, args } of steps) {
        calls.push({ kernel, args: args.map(arg => absolute(arg, arena)) });
        owners.push(report);
      }
    });
    flush();
    return segments;
  }

  /** What JavaScript writes or reads: constants, and where the other values lie. */
  #outside(planned: readonly Planned[], arena: number): Pick<Plan, 'values' | 'constants'> {
    const values = new Map<string, Located>();
    const constants = new Map<string, Value>();
    const add = (name: string): void => {
      const { type, dims, value } = this.#infos.get(name) ?? {};
      if (value) constants.set(name, this.#source.fixed ? compact(value) : value);
      if (type && type !== 'string' && this.places.has(name)) {
        const address = absolute(this.places.of(name), arena);
        values.set(name, { type, dims: dims!, address, length: sizeOf(dims!) });
      }
    };
    this.#nodes.forEach((node, i) => {
      if (!planned[i].plain) return;
      reads(node).forEach(add);
      node.outputs.forEach(add);
    });
    this.#feeds.forEach(add);
    this.#local.forEach(add);
    this.#results.forEach(add);
    return { values, constants };
  }
}

const isEmpty = (info: Info | undefined): boolean => info !== undefined && sizeOf(info.dims) === 0;

/** A value that does not keep the whole file in memory whose bytes it is a part of. */
function compact(value: Value): Value {
  if (value.type === 'string') return value;
  const data = value.data as Float32Array;
  return data.byteLength === data.buffer.byteLength ? value : { ...value, data: data.slice() };
}

/** Below these multiply-adds, in all and for a node on average, waking threads and waiting for them costs more than they save. */
const LEAST_WORK = 4e6;
const LEAST_STEP = 1e4;

/** Whether a graph is computed faster by one thread. */
function isSmall(nodes: readonly Node[], infos: ReadonlyMap<string, Info>): boolean {
  let work = 0;
  for (const { op, inputs, outputs } of nodes) {
    const size = sizeOf(infos.get(outputs[0])?.dims ?? [0]);
    const [a, b] = [infos.get(inputs[0])?.dims ?? [], infos.get(inputs[1])?.dims ?? []];
    if (op === 'Conv') work += size * sizeOf(b.slice(1));
    else if (op === 'MatMul' || op === 'Gemm') work += size * (a.at(-1) ?? 1);
    else if (op === 'LSTM' || op === 'GRU') work += sizeOf(a.slice(0, 2)) * sizeOf(b) * 2;
    else work += size;
  }
  return work < LEAST_WORK || work < LEAST_STEP * nodes.length;
}

/** Values of at most so many elements that are passed on to the next stage as constants. */
const SHAPE_SIZE = 64;

/** The plan of a graph for given inputs. `feeds` with a `value` are treated as constants. */
export function plan(machine: Machine, source: Source, feeds: ReadonlyMap<string, Info>): Plan {
  const { infos, known, deferred, wanted } = infer(source.nodes, source.constants, feeds, machine.operators);
  // Constants of the graph are there in every stage.
  const later = deferred.flatMap(reads).filter(name => infos.has(name) && !source.constants.has(name));
  const results = [...new Set([...source.outputs.filter(name => infos.has(name)), ...later])];
  if (!deferred.length) {
    const missing = source.outputs.find(name => !infos.has(name));
    if (missing !== undefined) throw new FormatError(`output '${missing}' is made by no node`);
  }
  const { nodes, values } = needed(known, results);
  const used = [...feeds.keys()].filter(name => values.has(name));
  const built = new Builder(machine, source, infos, nodes, used, results).build();
  if (!deferred.length) return built;
  for (const name of later) {
    const info = infos.get(name)!;
    if (info.value && sizeOf(info.dims) <= SHAPE_SIZE) wanted.add(name);
  }
  return { ...built, rest: { nodes: deferred, wanted } };
}
