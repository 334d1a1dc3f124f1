/** Builds a plan: nodes become kernel steps or plain calls, values become places in one arena. */
import { FormatError } from '../errors.ts';
import type { Node } from '../load/graph.ts';
import type { Memory } from '../memory.ts';
import { type Operators, operatorKey } from '../ops/operator.ts';
import type { Call, Program, Threads } from '../threads.ts';
import { bytesOf, type DataType, type Info, sizeOf, type Value } from '../values.ts';
import type { Address, Emitter, Step } from './emitter.ts';
import type { Quantized } from './fuse.ts';
import { infer, reads } from './infer.ts';
import { align, type Live, layout } from './layout.ts';

/** What executes plans: one for each session. */
export interface Machine {
  readonly memory: Memory;
  readonly threads: Threads;
  readonly operators: Operators;
  readonly lowerings: Lowerings;
  /** Addresses of permanent constants by key. */
  readonly constants: Map<string, number>;
  /** Bytes of packed weights by key. */
  readonly weightBytes: Map<string, number>;
  /** Gives back what lowerings hold outside the memory. */
  release(): void;
}

/** A graph, or what is left of it after a stage. */
export interface Source {
  readonly nodes: readonly Node[];
  readonly constants: ReadonlyMap<string, Value>;
  readonly quantized: ReadonlyMap<string, Quantized>;
  readonly outputs: readonly string[];
  /** Shapes never change: what they make constant is kept in memory for good. */
  readonly fixed: boolean;
}

/** How a node runs. */
export interface NodeReport {
  readonly name: string;
  readonly op: string;
  /** `alias` when it costs nothing, `plain` for the TypeScript implementation, else the kernel's name. */
  kernel: string;
  readonly outputs: readonly (readonly number[])[];
  /** Share of non-zero weights, 0…1; undefined for nodes without weights. */
  density?: number;
  /** Multiply-adds that are done, times two. */
  flops: number;
  /** Those that zeros save. */
  skipped: number;
  /** Bytes of weights as this kernel keeps them. */
  weightBytes: number;
  /** Milliseconds of the last profiled run. */
  ms?: number;
}

interface Place {
  readonly buffer: Live & { pending: number };
  readonly offset: number;
}

/** A plain operator between kernels. */
export interface PlainCall {
  readonly node: Node;
  /** Index of the node's report. */
  readonly report: number;
}

/** Work outside the memory, such as on a GPU. */
export interface DeviceCall {
  readonly run: () => Promise<void>;
  readonly report: number;
}

export interface Located {
  readonly type: Exclude<DataType, 'string'>;
  readonly dims: readonly number[];
  readonly address: number;
  readonly length: number;
}

export interface Plan {
  readonly segments: readonly (
    | { readonly program: Program; readonly reports: readonly number[] }
    | PlainCall
    | DeviceCall
  )[];
  /** Where numeric values lie; strings live outside the memory. */
  readonly values: ReadonlyMap<string, Located>;
  readonly constants: ReadonlyMap<string, Value>;
  readonly feeds: readonly string[];
  /** Values to hand out: graph outputs, and what later stages need. */
  readonly results: readonly string[];
  readonly reports: readonly NodeReport[];
  readonly arenaBytes: number;
  /** What waits for data: nodes, and the values whose contents the next stage's plan depends on. */
  readonly rest?: { readonly nodes: readonly Node[]; readonly wanted: ReadonlySet<string> };
}

/** What a lowering sees of its node. It returns false to leave the node to the plain operator. */
export class Lowering {
  readonly #builder: Builder;
  readonly node: Node;
  readonly inputs: readonly (Info | undefined)[];
  readonly outputs: readonly Info[];
  readonly report: NodeReport;

  constructor(
    builder: Builder,
    node: Node,
    inputs: readonly (Info | undefined)[],
    outputs: readonly Info[],
    report: NodeReport,
  ) {
    this.#builder = builder;
    this.node = node;
    this.inputs = inputs;
    this.outputs = outputs;
    this.report = report;
  }

  get emitter(): Emitter {
    return this.#builder;
  }

  /** The integer weight that a float constant input was made from. */
  quantized(i: number): Quantized | undefined {
    return this.#builder.quantized(this.node.inputs[i]);
  }

  /** The data of a float32 constant input that is the same for all shapes, and its name; else undefined. */
  weight(
    i: number,
  ): { readonly data: Float32Array; readonly dims: readonly number[]; readonly key: string } | undefined {
    const value = this.inputs[i]?.value;
    const key = this.node.inputs[i];
    return value?.type === 'float32' && this.#builder.permanent(key)
      ? { data: value.data as Float32Array, dims: value.dims, key }
      : undefined;
  }

  /** Address of an input; constants are put into memory on first use. */
  x(i: number): Address {
    return this.#builder.address(this.node.inputs[i]);
  }

  /** Address of an output. */
  y(i = 0): Address {
    return this.#builder.address(this.node.outputs[i]);
  }

  /** Output 0 takes over input `i`'s memory where nothing else needs it (elementwise operators). */
  reuse(i: number): Address {
    this.#builder.reuse(this.node, i);
    return this.y();
  }

  /** The node runs elsewhere: `run` finds the final addresses with `view`. */
  device(run: (view: (address: Address, floats: number) => Float32Array) => Promise<void>): void {
    this.#builder.device(run);
  }

  /** Output `o` is input `i`'s memory under another shape. */
  alias(i: number, o = 0): void {
    this.#builder.alias(this.node.inputs[i], this.node.outputs[o]);
  }
}

type DeviceRun = (view: (address: Address, floats: number) => Float32Array) => Promise<void>;

export type Lowerings = Readonly<Record<string, (l: Lowering) => boolean>>;

export class Builder implements Emitter {
  readonly threads: number;
  readonly #machine: Machine;
  readonly #source: Source;
  readonly #infos: Map<string, Info>;
  readonly #places = new Map<string, Place>();
  readonly #buffers: Live[] = [];
  readonly #uses = new Map<string, number>();
  /** Inputs of a concatenation that are written in place: value → concatenation's output and byte offset. */
  readonly #parts = new Map<string, { whole: string; offset: number }>();
  /** Constants that depend on the input shapes. */
  readonly #local = new Set<string>();
  /** Bytes of permanent constants that the node at hand uses. */
  #weightBytes = 0;
  readonly #devices = new Map<number, DeviceRun>();
  #steps: { step: Step; report: number }[] = [];
  #now = 0;
  #last = 0;

  constructor(machine: Machine, source: Source, infos: Map<string, Info>) {
    this.#machine = machine;
    this.#source = source;
    this.#infos = infos;
    this.threads = machine.threads.count;
  }

  // What lowerings use

  constant(key: string, make: () => ArrayBufferView): Address {
    const { constants, memory, weightBytes } = this.#machine;
    let address = constants.get(key);
    if (address === undefined) {
      const data = make();
      address = memory.put(data);
      constants.set(key, address);
      weightBytes.set(key, data.byteLength);
    }
    this.#weightBytes += weightBytes.get(key)!;
    return address;
  }

  scratch(bytes: number): Address {
    return { buffer: this.#buffer(bytes), offset: 0 };
  }

  step(kernel: string, ...args: Address[]): void {
    this.#steps.push({ step: { kernel, args }, report: this.#now });
  }

  device(run: DeviceRun): void {
    this.#devices.set(this.#now, run);
  }

  quantized(name: string): Quantized | undefined {
    return this.#source.quantized.get(name);
  }

  /** Name of a constant of the graph itself, the same in all plans. */
  permanent(name: string): boolean {
    return this.#source.fixed ? this.#infos.get(name)?.value !== undefined : this.#source.constants.has(name);
  }

  address(name: string): Address {
    const info = this.#infos.get(name)!;
    if (info.value && this.permanent(name))
      return this.constant(name, () => info.value!.data as ArrayBufferView<ArrayBuffer>);
    if (info.value && !this.#places.has(name)) {
      // A constant of these shapes only: copied in on every run, alive throughout.
      this.#local.add(name);
      const { buffer } = this.#place(name);
      buffer.first = 0;
      buffer.last = this.#last;
      buffer.pending = Number.POSITIVE_INFINITY;
    }
    const place = this.#place(name);
    this.#touch(place);
    return place;
  }

  reuse(node: Node, i: number): void {
    const [x, y] = [node.inputs[i], node.outputs[0]];
    const place = this.#places.get(x);
    if (!place || this.#places.has(y) || this.#parts.has(y)) return;
    const own = node.inputs.filter(name => this.#places.get(name)?.buffer === place.buffer).length;
    const bytes = this.#bytes(y);
    if (place.offset === 0 && place.buffer.bytes === bytes && place.buffer.pending === own) this.alias(x, y);
  }

  alias(x: string, y: string): void {
    const place = this.#places.get(x) ?? this.#place(x);
    this.#touch(place);
    place.buffer.pending += this.#uses.get(y) ?? 0;
    this.#places.set(y, place);
  }

  // Building

  #buffer(bytes: number): Live & { pending: number } {
    const buffer = { bytes, first: this.#now, last: this.#now, pending: 0 };
    this.#buffers.push(buffer);
    return buffer;
  }

  #bytes(name: string): number {
    const info = this.#infos.get(name)!;
    return sizeOf(info.dims) * bytesOf(info.type as 'float32');
  }

  #touch(place: Place): void {
    place.buffer.first = Math.min(place.buffer.first, this.#now);
    place.buffer.last = Math.max(place.buffer.last, this.#now);
  }

  #place(name: string): Place {
    let place = this.#places.get(name);
    if (place) return place;
    const part = this.#parts.get(name);
    if (part) {
      const whole = this.#place(part.whole);
      place = { buffer: whole.buffer, offset: whole.offset + part.offset };
    } else {
      place = { buffer: this.#buffer(this.#bytes(name)), offset: 0 };
    }
    place.buffer.pending += this.#uses.get(name) ?? 0;
    this.#places.set(name, place);
    return place;
  }

  /** Inputs of a concatenation along the outermost axis that counts are made where they belong. */
  #concatenations(nodes: readonly Node[]): void {
    const made = new Set(nodes.flatMap(node => node.outputs));
    for (const node of nodes) {
      if (node.op !== 'Concat' || node.domain !== '') continue;
      const out = this.#infos.get(node.outputs[0])!;
      if (out.type !== 'float32') continue;
      const axis = ((node.attributes.axis as number) + out.dims.length) % out.dims.length;
      if (sizeOf(out.dims.slice(0, axis)) !== 1) continue;
      let offset = 0;
      for (const name of node.inputs) {
        if (made.has(name) && !this.#parts.has(name)) this.#parts.set(name, { whole: node.outputs[0], offset });
        offset += this.#bytes(name);
      }
    }
  }

  /** Whether a value lies at its part of a concatenation already. */
  inPart(name: string, whole: string, offset: number): boolean {
    const [a, b] = [this.#places.get(name), this.#places.get(whole)];
    return a !== undefined && b !== undefined && a.buffer === b.buffer && a.offset === b.offset + offset;
  }

  build(nodes: readonly Node[], feeds: readonly string[], results: readonly string[]): Omit<Plan, 'rest'> {
    const { memory, threads, lowerings } = this.#machine;
    this.#last = nodes.length;
    for (const name of [...nodes.flatMap(node => node.inputs), ...results]) {
      if (name !== '') this.#uses.set(name, (this.#uses.get(name) ?? 0) + 1);
    }
    const numeric = (name: string) => this.#infos.get(name)!.type !== 'string';
    for (const name of feeds) if (numeric(name)) this.#place(name);
    this.#concatenations(nodes);
    const reports: NodeReport[] = [];
    const plain = new Set<number>();
    nodes.forEach((node, i) => {
      this.#now = i;
      const inputs = node.inputs.map(name => (name === '' ? undefined : this.#infos.get(name)));
      const outputs = node.outputs.map(name => this.#infos.get(name)!);
      const report: NodeReport = {
        name: node.name,
        op: node.op,
        kernel: 'plain',
        outputs: outputs.filter(Boolean).map(info => info.dims),
        flops: 0,
        skipped: 0,
        weightBytes: 0,
      };
      reports.push(report);
      const empty = [...inputs, ...outputs].some(info => info && sizeOf(info.dims) === 0);
      const lower = empty ? undefined : lowerings[operatorKey(node)];
      const before = this.#steps.length;
      this.#weightBytes = 0;
      if (!lower?.(new Lowering(this, node, inputs, outputs, report))) {
        plain.add(i);
        for (const name of [...node.inputs, ...node.outputs]) {
          if (name !== '' && this.#infos.get(name) && !this.#infos.get(name)!.value && numeric(name))
            this.#touch(this.#place(name));
        }
      } else if (report.kernel === 'plain') {
        report.kernel = this.#steps[before]?.step.kernel ?? 'alias';
      }
      report.weightBytes += this.#weightBytes;
      for (const name of node.inputs) {
        const place = this.#places.get(name);
        if (place) place.buffer.pending--;
      }
    });
    this.#now = this.#last;
    for (const name of results) if (numeric(name) && !this.#infos.get(name)!.value) this.#touch(this.#place(name));

    const arenaBytes = layout(this.#buffers);
    const base = memory.arena(arenaBytes);
    const resolve = (address: Address): number =>
      typeof address === 'number' ? address : base + address.buffer.address! + address.offset;

    const segments: Plan['segments'][number][] = [];
    let calls: Call[] = [];
    let owners: number[] = [];
    const flush = () => {
      if (calls.length) segments.push({ program: threads.prepare(calls), reports: owners });
      [calls, owners] = [[], []];
    };
    let at = 0;
    nodes.forEach((node, i) => {
      if (plain.has(i)) {
        flush();
        segments.push({ node, report: i });
      }
      const device = this.#devices.get(i);
      if (device) {
        flush();
        const view = (at: Address, floats: number) => memory.view('float32', resolve(at), floats) as Float32Array;
        segments.push({ run: () => device(view), report: i });
      }
      for (; at < this.#steps.length && this.#steps[at].report === i; at++) {
        const { kernel, args } = this.#steps[at].step;
        calls.push({ kernel, args: args.map(resolve) });
        owners.push(i);
      }
    });
    flush();

    const values = new Map<string, Located>();
    for (const [name, place] of this.#places) {
      const { type, dims } = this.#infos.get(name)!;
      values.set(name, { type: type as 'float32', dims, address: resolve(place), length: sizeOf(dims) });
    }
    const constants = new Map<string, Value>();
    for (const [i, node] of nodes.entries()) {
      if (!plain.has(i)) continue;
      for (const name of reads(node)) {
        const value = this.#infos.get(name)?.value;
        if (value) constants.set(name, value);
      }
    }
    for (const name of [...results, ...this.#local]) {
      const value = this.#infos.get(name)!.value;
      if (value) constants.set(name, value);
    }
    return {
      segments,
      values,
      constants,
      feeds: [...feeds, ...this.#local],
      results,
      reports,
      arenaBytes: align(arenaBytes),
    };
  }
}

/** The plan of a graph for given inputs. `feeds` with a `value` are treated as constants. */
export function plan(machine: Machine, source: Source, feeds: ReadonlyMap<string, Info>): Plan {
  const { infos, known, deferred, wanted } = infer(source.nodes, source.constants, feeds, machine.operators);
  const needed = new Set<string>(deferred.flatMap(reads));
  const results = [...new Set([...source.outputs, ...needed])].filter(name => infos.has(name));
  if (!deferred.length) {
    const missing = source.outputs.find(name => !infos.has(name));
    if (missing !== undefined) throw new FormatError(`output '${missing}' is made by no node`);
  }
  // Backwards: what neither a result nor a later node needs is not computed.
  const live = new Set(results);
  const nodes: Node[] = [];
  for (const node of known.toReversed()) {
    if (!node.outputs.some(name => live.has(name))) continue;
    nodes.push(node);
    for (const name of reads(node)) live.add(name);
  }
  const used = [...feeds.keys()].filter(name => live.has(name));
  const builder = new Builder(machine, source, infos);
  const built = builder.build(nodes.reverse(), used, results);
  return deferred.length ? { ...built, rest: { nodes: deferred, wanted } } : built;
}
