/** The public session: reads a model, plans it for the shapes that come, runs it. */
import { check, RuntimeError } from './errors.ts';
import { type Build, compile, instantiate, supports } from './kernels/module.ts';
import type { Model, Node, ValueInfo } from './load/graph.ts';
import { type ExternalFiles, readModel } from './load/read.ts';
import { Memory } from './memory.ts';
import { operators } from './ops/index.ts';
import { interpret } from './ops/interpret.ts';
import { type Operators, operatorKey } from './ops/operator.ts';
import { type Machine, type NodeReport, type Plan, plan, type Source } from './plan/builder.ts';
import { execute } from './plan/execute.ts';
import { fuse } from './plan/fuse.ts';
import { fusedOperators } from './plan/fused.ts';
import { reads } from './plan/infer.ts';
import { createLowerings, type KernelChoice } from './plan/lowerings.ts';
import { checkOperators } from './plan/support.ts';
import { Tensor } from './tensor.ts';
import { canShare, Threads } from './threads.ts';
import { type Info, sizeOf, type Value } from './values.ts';

export interface SessionOptions {
  /**
   * Threads, this one included. Default: the machine's processors, at most 4, where memory can be shared (Node, and pages
   * that are cross-origin isolated); else 1. `intraOpNumThreads` means the same.
   */
  readonly threads?: number;
  readonly intraOpNumThreads?: number;
  /**
   * Kernels for products with constant weights. `auto`: the fastest by a cost model measured on this machine; `dense`: never
   * sparse ones; `csr`, `block`: sparse ones wherever a weight has zeros; `plain`: no kernels and no fusion, every operator
   * by its reference implementation. Default `auto`.
   */
  readonly kernels?: KernelChoice;
  /** Instructions to use. Default: relaxed SIMD where the engine has it, else SIMD, else `kernels: 'plain'`. */
  readonly build?: Build;
  /** Measure every node: `report()` has milliseconds. Costs a little time. Default false. */
  readonly profile?: boolean;
  /** `webgpu` runs matrix products and 1×1 convolutions on the GPU. Default `wasm`. */
  readonly backend?: 'wasm' | 'webgpu';
  /** Bytes of external data files by the location that the model names, where they cannot be read beside the model. */
  readonly externalData?: ExternalFiles;
}

/** What an input or output is declared as; a dimension is a number or a symbol. */
export interface ValueMetadata {
  readonly name: string;
  readonly isTensor: true;
  readonly type: Value['type'];
  readonly shape: readonly (number | string)[];
}

export interface SessionReport {
  readonly threads: number;
  /** `relaxed`, `simd` or `plain`. */
  readonly build: Build | 'plain';
  readonly nodes: readonly NodeReport[];
  /** Floating-point operations of one run, and those saved by zeros. */
  readonly flops: number;
  readonly skipped: number;
  /** Bytes of weights in the kernels' layouts. */
  readonly weightBytes: number;
  /** Bytes of the planned activations. */
  readonly activationBytes: number;
  /** Bytes of the whole WebAssembly memory. */
  readonly memoryBytes: number;
}

export type Feeds = Readonly<Record<string, Value>>;
/** Names of outputs to compute, or an object whose keys are such names. */
export type Fetches = readonly string[] | Readonly<Record<string, unknown>>;

const processors = (): number => Math.min(4, globalThis.navigator?.hardwareConcurrency ?? 1);

const metadata = ({ name, type, dims }: ValueInfo): ValueMetadata => ({
  name,
  isTensor: true,
  type: type!,
  shape: dims ?? [],
});

const EMPTY = { nodes: [], constants: new Map(), quantized: new Map(), fixed: false };

/** Plans kept for different input shapes. */
const PLANS = 64;

export class InferenceSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly ValueMetadata[];
  readonly outputMetadata: readonly ValueMetadata[];
  readonly #model: Pick<Model, 'graph'>;
  readonly #options: SessionOptions;
  readonly #operators: Operators;
  readonly #machine: Machine | undefined;
  readonly #build: Build | 'plain';
  #source: Source;
  readonly #plans = new Map<string, Plan>();
  #last: Plan[] = [];
  #running: Promise<unknown> = Promise.resolve();
  #released = false;

  private constructor(
    model: Pick<Model, 'graph'>,
    options: SessionOptions,
    build: Build | 'plain',
    machine: Machine | undefined,
    source: Source,
    all: Operators,
  ) {
    const { inputs, outputs } = model.graph;
    this.inputMetadata = inputs.map(metadata);
    this.outputMetadata = outputs.map(metadata);
    this.inputNames = inputs.map(i => i.name);
    this.outputNames = outputs.map(o => o.name);
    this.#model = model;
    this.#options = options;
    this.#operators = all;
    this.#machine = machine;
    this.#build = build;
    this.#source = source;
  }

  /**
   * Loads a model from a path (Node), a URL or bytes.
   *
   * @throws FormatError for a malformed file, UnsupportedError naming an operator or attribute that is not supported
   */
  static async create(
    source: string | URL | Uint8Array | ArrayBufferLike,
    options: SessionOptions = {},
  ): Promise<InferenceSession> {
    const threads = options.threads ?? options.intraOpNumThreads ?? (canShare() ? processors() : 1);
    check(Number.isInteger(threads) && threads >= 1 && threads <= 64, `threads: ${threads}, expected 1 to 64`);
    const { kernels = 'auto' } = options;
    check(
      ['auto', 'dense', 'csr', 'block', 'plain'].includes(kernels),
      `kernels: '${kernels}', expected auto, dense, csr, block or plain`,
    );
    const model = await readModel(source as Uint8Array, { external: options.externalData });
    checkOperators(model.graph, operators);
    const build =
      kernels === 'plain'
        ? 'plain'
        : (options.build ?? (supports('relaxed') ? 'relaxed' : supports('simd') ? 'simd' : 'plain'));
    if (build === 'plain') {
      const { graph } = model;
      return new InferenceSession(
        model,
        options,
        build,
        undefined,
        { ...EMPTY, outputs: graph.outputs.map(o => o.name) },
        operators,
      );
    }
    const all = { ...operators, ...fusedOperators(operators) };
    const { nodes, constants, quantized } = fuse(model.graph, all);
    const shared = threads > 1;
    check(
      !shared || canShare(),
      `threads: ${threads}, but this page is not cross-origin isolated; use 1, or serve it with COOP and COEP headers`,
    );
    const memory = new Memory(shared);
    const instance = await instantiate(build, memory.wasm);
    const pool = await Threads.create(instance, await compile(build, shared), memory, threads);
    const made = await createLowerings({ kernels, build, backend: options.backend ?? 'wasm' });
    const machine: Machine = {
      memory,
      threads: pool,
      operators: all,
      lowerings: made.lowerings,
      release: made.release,
      constants: new Map(),
      weightBytes: new Map(),
    };
    const { inputs, outputs } = model.graph;
    const graph = { ...model.graph, nodes: [], initializers: new Map() };
    const fixed = inputs.every(input => input.dims?.every(dim => typeof dim === 'number'));
    const original = { nodes, constants, quantized, outputs: outputs.map(o => o.name), fixed };
    const session = new InferenceSession({ graph }, options, build, machine, original, all);
    // Where shapes are fixed the plan is made now, and the weights as read are no longer needed after it.
    if (fixed) {
      const infos = new Map(
        inputs.map(({ name, type, dims }): [string, Info] => [name, { type: type!, dims: dims as number[] }]),
      );
      const built = session.#plan(session.#source, infos, '');
      if (!built.rest) session.#source = { ...original, ...EMPTY };
      session.#last = [built];
    }
    return session;
  }

  /**
   * Computes outputs. Without `fetches` all of them. Calls on one session run one after another.
   *
   * @throws when a feed is missing, unknown, or of another type or shape than the model declares
   */
  async run(feeds: Feeds, fetches?: Fetches): Promise<Record<string, Tensor>> {
    const wanted =
      fetches === undefined ? this.outputNames : Array.isArray(fetches) ? (fetches as string[]) : Object.keys(fetches);
    for (const name of wanted)
      check(
        this.outputNames.includes(name),
        () => `run: there is no output '${name}'; outputs are ${this.outputNames.join(', ')}`,
      );
    this.#checkFeeds(feeds);
    const turn = this.#running.then(() => {
      check(!this.#released, 'run: the session has been released');
      return this.#compute(new Map(this.inputNames.map(name => [name, feeds[name]])));
    });
    this.#running = turn.catch(() => undefined);
    const values = await turn;
    return Object.fromEntries(
      wanted.map(name => {
        const value = values.get(name);
        if (!value) throw new RuntimeError(`run: output '${name}' was not computed`);
        return [name, new Tensor(value.type, value.data as Float32Array, value.dims)];
      }),
    );
  }

  #checkFeeds(feeds: Feeds): void {
    for (const name of Object.keys(feeds))
      check(
        this.inputNames.includes(name),
        () => `run: there is no input '${name}'; inputs are ${this.inputNames.join(', ') || 'none'}`,
      );
    for (const { name, type, shape } of this.inputMetadata) {
      const value = feeds[name];
      check(value, () => `run: input '${name}' (${type} [${shape.join(', ')}]) is missing`);
      check(value.type === type, () => `run: input '${name}' is ${value.type}, expected ${type}`);
      check(
        sizeOf(value.dims) === value.data.length,
        () => `run: input '${name}': dims [${value.dims}] do not hold ${value.data.length} elements`,
      );
      const declared = this.#model.graph.inputs.find(input => input.name === name)!.dims;
      const fits =
        !declared ||
        (declared.length === value.dims.length &&
          declared.every((dim, i) => typeof dim === 'string' || dim === value.dims[i]));
      check(fits, () => `run: input '${name}' has dims [${value.dims}], expected [${shape.join(', ')}]`);
    }
    const symbols = new Map<string, number>();
    for (const { name, shape } of this.inputMetadata)
      shape.forEach((dim, i) => {
        if (typeof dim !== 'string' || dim === '') return;
        const given = feeds[name].dims[i];
        const known = symbols.get(dim);
        check(
          known === undefined || known === given,
          () => `run: dimension ${dim} is ${known} and ${given} (input '${name}')`,
        );
        symbols.set(dim, given);
      });
  }

  #plan(source: Source, infos: ReadonlyMap<string, Info>, stage: string): Plan {
    const key =
      stage +
      JSON.stringify(
        [...infos].map(([name, { type, dims, value }]) => [name, type, dims, value && [...value.data].map(String)]),
      );
    let made = this.#plans.get(key);
    if (made) {
      this.#plans.delete(key);
    } else {
      made = plan(this.#machine!, source, infos);
      if (this.#plans.size >= PLANS) this.#drop(this.#plans.keys().next().value!);
    }
    // In order of use: the first is the one to drop.
    this.#plans.set(key, made);
    return made;
  }

  #drop(key: string): void {
    for (const segment of this.#plans.get(key)!.segments)
      if ('program' in segment) this.#machine!.threads.forget(segment.program);
    this.#plans.delete(key);
  }

  async #compute(feeds: Map<string, Value>): Promise<Map<string, Value>> {
    const machine = this.#machine;
    if (!machine) return interpret(this.#model.graph, feeds, this.#operators);
    const values = new Map(feeds);
    let source = this.#source;
    let wanted: ReadonlySet<string> = new Set();
    this.#last = [];
    for (let stage = 0; ; stage++) {
      const needed = stage === 0 ? feeds.keys() : new Set([...source.nodes.flatMap(reads), ...source.outputs]);
      const infos = new Map<string, Info>();
      for (const name of needed) {
        const value = values.get(name);
        if (value) infos.set(name, { type: value.type, dims: value.dims, value: wanted.has(name) ? value : undefined });
      }
      const built = this.#plan(source, infos, String(stage || ''));
      for (const [name, value] of await execute(machine, built, values, this.#options.profile ?? false))
        values.set(name, value);
      this.#last.push(built);
      if (!built.rest) return values;
      source = { ...source, nodes: this.#unblock(built.rest.nodes, values) };
      wanted = built.rest.wanted;
    }
  }

  /** Runs the nodes that can only be run with data, as far as their inputs are there; returns the others. */
  #unblock(nodes: readonly Node[], values: Map<string, Value>): Node[] {
    const { constants } = this.#source;
    const ready = (name: string) => values.has(name) || constants.has(name);
    return nodes.filter(node => {
      const operator = this.#operators[operatorKey(node)];
      const control = Object.values(node.attributes).some(a => typeof a === 'object' && 'nodes' in a);
      if (!(operator.dynamic || control) || !reads(node).every(ready)) return true;
      const initializers = new Map([...constants].filter(([name]) => reads(node).includes(name)));
      const known = new Map([...values].filter(([name]) => reads(node).includes(name)));
      const outputs = node.outputs.filter(name => name !== '').map(name => ({ name, type: 'float32' as const }));
      const results = interpret({ name: '', nodes: [node], inputs: [], outputs, initializers }, known, this.#operators);
      for (const [name, value] of results) values.set(name, value);
      return false;
    });
  }

  /** Which kernel runs each node, what zeros save, and what it keeps in memory: of the last run's shapes. */
  report(): SessionReport {
    const nodes = this.#last.flatMap(p => p.reports);
    const sum = (key: 'flops' | 'skipped') => nodes.reduce((total, node) => total + node[key], 0);
    return {
      threads: this.#machine?.threads.count ?? 1,
      build: this.#build,
      nodes: nodes.map(node => ({ ...node })),
      flops: sum('flops'),
      skipped: sum('skipped'),
      weightBytes: [...(this.#machine?.weightBytes.values() ?? [])].reduce((a, b) => a + b, 0),
      activationBytes: Math.max(0, ...this.#last.map(p => p.arenaBytes)),
      memoryBytes: this.#machine?.memory.bytes ?? 0,
    };
  }

  /** Stops the threads; the session cannot be used afterwards. Waits for the run in progress. */
  async release(): Promise<void> {
    await this.#running;
    if (this.#released) return;
    this.#released = true;
    this.#machine?.threads.release();
    this.#machine?.release();
    this.#plans.clear();
    this.#last = [];
  }
}
