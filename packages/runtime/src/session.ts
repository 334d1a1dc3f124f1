/** The public session: reads a model, plans it for the shapes that come, runs it. */
import { check, RuntimeError } from './errors.ts';
import { type Build, compile, instantiate, revectorize, supports } from './kernels/module.ts';
import type { Graph, ValueInfo } from './load/graph.ts';
import { type ExternalFiles, readModel } from './load/read.ts';
import { Memory } from './memory.ts';
import { loadOperators, operatorsOf } from './ops/index.ts';
import { checkOperators, interpret } from './ops/interpret.ts';
import type { Operators } from './ops/operator.ts';
import { hasSparseWeights } from './plan/choose.ts';
import { loadExtensions } from './plan/extensions.ts';
import { fuse } from './plan/fuse.ts';
import { fusedOperators } from './plan/fused.ts';
import { createLowerings, type KernelChoice } from './plan/lowerings.ts';
import type { NodeReport } from './plan/plan.ts';
import { Runner } from './plan/runner.ts';
import { Tensor, type TensorLike, toValue } from './tensor.ts';
import { canShare, Threads } from './threads.ts';
import type { Info, Value } from './values.ts';

/** Options of onnxruntime's sessions that mean nothing here; taken so that code written for it need not change. */
type Ignored =
  | 'executionProviders'
  | 'interOpNumThreads'
  | 'graphOptimizationLevel'
  | 'enableCpuMemArena'
  | 'enableMemPattern'
  | 'executionMode'
  | 'enableGraphCapture'
  | 'logId'
  | 'logSeverityLevel'
  | 'logVerbosityLevel'
  | 'extra';

export interface SessionOptions extends Readonly<Partial<Record<Ignored, unknown>>> {
  /**
   * Threads, this one included. Default: the machine's processors, at most 4, where memory can be shared (Node, and pages
   * that are cross-origin isolated), except for models so small that one is faster; else 1. `intraOpNumThreads` means the same.
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
  /** Measure every node: `report()` has milliseconds. Costs a little time. Default false. `enableProfiling` means the same. */
  readonly profile?: boolean;
  readonly enableProfiling?: boolean;
  /**
   * Node only: asks V8 to join vector operations to 256 bits. An experiment of V8, switched on for the whole process; its
   * kernels are used where they prove faster with the same results. Default false.
   */
  readonly revectorize?: boolean;
  /** `webgpu` runs matrix products and 1×1 convolutions on the GPU. Default `wasm`. */
  readonly backend?: 'wasm' | 'webgpu';
  /** Sizes of symbolic dimensions by name. A model all of whose dimensions are known is planned at load. */
  readonly freeDimensionOverrides?: Readonly<Record<string, number>>;
  /** Bytes of external data files by the location that the model names, where they cannot be read beside the model. */
  readonly externalData?: ExternalFiles | readonly { readonly path: string; readonly data: Uint8Array | ArrayBuffer }[];
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

export type Feeds = Readonly<Record<string, TensorLike>>;
/** Names of outputs to hand out; or an object with them as keys, whose values are tensors to write to, or null for new ones. */
export type Fetches = readonly string[] | Readonly<Record<string, TensorLike | null>>;

const processors = (): number => Math.min(4, globalThis.navigator?.hardwareConcurrency ?? 1);

const metadata = ({ name, type, dims }: ValueInfo): ValueMetadata => ({
  name,
  isTensor: true,
  type: type!,
  shape: dims ?? [],
});

const isFixed = (input: ValueInfo): input is ValueInfo & Info =>
  input.dims?.every(dim => typeof dim === 'number') ?? false;

function checked({ threads, intraOpNumThreads, kernels = 'auto', build }: SessionOptions) {
  const count = threads ?? intraOpNumThreads ?? (canShare() ? processors() : 1);
  check(Number.isInteger(count) && count >= 1 && count <= 64, `threads: ${count}, expected 1 to 64`);
  check(
    ['auto', 'dense', 'csr', 'block', 'plain'].includes(kernels),
    `kernels: '${kernels}', expected auto, dense, csr, block or plain`,
  );
  check(
    build === undefined || ((build === 'simd' || build === 'relaxed') && supports(build)),
    `build: '${build}' is not simd or relaxed, or this engine does not have its instructions`,
  );
  check(
    count === 1 || canShare(),
    `threads: ${count}, but this page is not cross-origin isolated; use 1, or serve it with COOP and COEP headers`,
  );
  const best = build ?? (supports('relaxed') ? 'relaxed' : supports('simd') ? 'simd' : 'plain');
  return {
    threads: count,
    adaptive: (threads ?? intraOpNumThreads) === undefined,
    kernels,
    build: kernels === 'plain' ? kernels : best,
  } as const;
}

/** Kernels, threads and fused graph of a session. What has been started is stopped if anything fails. */
async function createRunner(
  graph: Graph,
  operators: Operators,
  build: Build,
  threads: number,
  {
    kernels,
    backend,
    wide,
    adaptive,
  }: { kernels: KernelChoice; backend: 'wasm' | 'webgpu'; wide: boolean; adaptive: boolean },
): Promise<Runner> {
  const joined = wide && (await revectorize());
  const memory = new Memory(threads > 1);
  const pool = await Threads.create(
    await instantiate(build, memory.wasm),
    await compile(build, threads > 1),
    memory,
    threads,
  );
  let runner: Runner | undefined;
  try {
    const extensions = await loadExtensions(operatorsOf(graph));
    const all = Object.assign({}, operators, fusedOperators(operators), ...extensions.map(e => e.operators));
    const fused = fuse(
      graph,
      all,
      extensions.flatMap(e => e.rules ?? []),
    );
    const sparse = (kernels === 'auto' || joined) && hasSparseWeights(fused.constants.values());
    const tuning = sparse ? await (await import('./plan/tuning.ts')).tune(build, joined) : undefined;
    const { lowerings, release } = await createLowerings({ kernels, build, backend, tuning, extensions });
    const machine = { memory, threads: pool, adaptive, operators: all, lowerings, constants: new Map(), release };
    const { inputs, outputs } = graph;
    const fixed = inputs.every(isFixed);
    runner = new Runner(machine, { ...fused, outputs: outputs.map(o => o.name), fixed });
    if (fixed) runner.prepare(new Map(inputs.map(({ name, type, dims }) => [name, { type, dims } as Info])));
    return runner;
  } catch (error) {
    if (runner) runner.release();
    else pool.release();
    throw error;
  }
}

export class InferenceSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly ValueMetadata[];
  readonly outputMetadata: readonly ValueMetadata[];
  readonly #inputs: readonly ValueInfo[];
  readonly #build: Build | 'plain';
  /** What computes: kernels, or the graph itself by its plain operators. */
  readonly #runner: Runner | undefined;
  readonly #plain: { readonly graph: Graph; readonly operators: Operators } | undefined;
  #profile: boolean;
  #running: Promise<unknown> = Promise.resolve();
  #released = false;

  private constructor(
    { inputs, outputs }: Graph,
    build: Build | 'plain',
    by: Runner | { readonly graph: Graph; readonly operators: Operators },
    profile: boolean,
  ) {
    this.inputMetadata = inputs.map(metadata);
    this.outputMetadata = outputs.map(metadata);
    this.inputNames = inputs.map(i => i.name);
    this.outputNames = outputs.map(o => o.name);
    this.#inputs = inputs;
    this.#build = build;
    if (by instanceof Runner) this.#runner = by;
    else this.#plain = by;
    this.#profile = profile;
  }

  /**
   * Loads a model from a path (Node), a URL or bytes.
   *
   * @throws FormatError for a malformed file, UnsupportedError naming an operator or attribute that is not supported
   */
  static async create(
    source: string | URL | Uint8Array | ArrayBufferLike,
    options?: SessionOptions,
  ): Promise<InferenceSession>;
  /** The same for a part of a buffer, from byte `offset` on. */
  static async create(
    source: ArrayBufferLike,
    offset: number,
    length?: number,
    options?: SessionOptions,
  ): Promise<InferenceSession>;
  static async create(
    source: string | URL | Uint8Array | ArrayBufferLike,
    first: SessionOptions | number = {},
    length?: number,
    last: SessionOptions = {},
  ): Promise<InferenceSession> {
    const part = typeof first === 'number';
    const options = part ? last : first;
    const { threads, adaptive, build, kernels } = checked(options);
    const external = options.externalData as ExternalFiles | undefined;
    const model = await readModel(
      (part ? new Uint8Array(source as ArrayBuffer, first, length) : source) as Uint8Array,
      {
        external: Array.isArray(external)
          ? Object.fromEntries(external.map(({ path, data }) => [path, data]))
          : external,
      },
    );
    const operators = await loadOperators(operatorsOf(model.graph));
    checkOperators(model.graph, operators);
    const sizes = options.freeDimensionOverrides ?? {};
    const inputs = model.graph.inputs.map(input => ({ ...input, dims: input.dims?.map(dim => sizes[dim] ?? dim) }));
    const graph = { ...model.graph, inputs };
    const profile = options.profile ?? options.enableProfiling ?? false;
    if (build === 'plain') return new InferenceSession(graph, build, { graph, operators }, profile);
    const runner = await createRunner(graph, operators, build, threads, {
      kernels,
      backend: options.backend ?? 'wasm',
      wide: options.revectorize ?? false,
      adaptive,
    });
    return new InferenceSession(graph, build, runner, profile);
  }

  /**
   * Computes outputs. Without `fetches` all of them. Calls on one session run one after another; feeds may change when the
   * result is there.
   *
   * @throws when a feed is missing, unknown, or of another type or shape than the model declares
   */
  async run(feeds: Feeds, fetches?: Fetches): Promise<Record<string, Tensor>> {
    check(!this.#released, 'run: the session has been released');
    const wanted = this.#wanted(fetches);
    const values = this.#values(feeds);
    const turn = this.#running.then(() =>
      this.#runner
        ? this.#runner.run(values, this.#profile)
        : interpret(this.#plain!.graph, values, this.#plain!.operators),
    );
    this.#running = turn.catch(() => undefined);
    const results = await turn;
    return Object.fromEntries(
      [...wanted].map(([name, target]) => {
        const value = results.get(name);
        if (!value) throw new RuntimeError(`run: output '${name}' was not computed`);
        return [name, target ? written(name, value, target) : Tensor.from(value)];
      }),
    );
  }

  #wanted(fetches: Fetches | undefined): Map<string, TensorLike | null> {
    const isList = Array.isArray(fetches);
    const names = (isList ? fetches : Object.keys(fetches ?? {})) as readonly string[];
    // Run options of onnxruntime in the place of fetches.
    const isOptions = !isList && names.every(name => RUN_OPTIONS.has(name) && !this.outputNames.includes(name));
    const asked = isOptions ? this.outputNames : names;
    for (const name of asked)
      check(
        this.outputNames.includes(name),
        () => `run: there is no output '${name}'; outputs are ${this.outputNames.join(', ')}`,
      );
    return new Map(
      asked.map(name => [name, isList || isOptions ? null : (fetches as Record<string, TensorLike | null>)[name]]),
    );
  }

  /** The feeds as values, in the order of the inputs. */
  #values(feeds: Feeds): Map<string, Value> {
    for (const name of Object.keys(feeds))
      check(
        this.inputNames.includes(name),
        () => `run: there is no input '${name}'; inputs are ${this.inputNames.join(', ') || 'none'}`,
      );
    const symbols = new Map<string, number>();
    const values = this.#inputs.map(({ name, type, dims }): [string, Value] => {
      const given = feeds[name];
      const shape = dims?.join(', ');
      check(given, () => `run: input '${name}' (${type}${dims ? ` [${shape}]` : ''}) is missing`);
      check(given.type === type, () => `run: input '${name}' is ${given.type}, expected ${type}`);
      const value = toValue(given, `run: input '${name}'`);
      const fits =
        !dims ||
        (dims.length === value.dims.length && dims.every((d, i) => typeof d === 'string' || d === value.dims[i]));
      check(fits, () => `run: input '${name}' has dims [${value.dims.join(', ')}], expected [${shape}]`);
      dims?.forEach((symbol, i) => {
        if (typeof symbol !== 'string' || symbol === '') return;
        const known = symbols.get(symbol) ?? value.dims[i];
        check(
          known === value.dims[i],
          () => `run: dimension ${symbol} is ${known} and ${value.dims[i]} (input '${name}')`,
        );
        symbols.set(symbol, known);
      });
      return [name, value];
    });
    return new Map(values);
  }

  /** Which kernel runs each node, what zeros save, and what it keeps in memory: of the last run's shapes. */
  report(): SessionReport {
    const { machine, last = [] } = this.#runner ?? {};
    const nodes = this.#plain
      ? this.#plain.graph.nodes.map(({ name, op }) => ({ name, op, ...UNKNOWN }))
      : last.flatMap(plan => plan.reports).map(node => ({ ...node }));
    const sum = (key: 'flops' | 'skipped') => nodes.reduce((total, node) => total + node[key], 0);
    return {
      threads: machine?.threads.count ?? 1,
      build: this.#build,
      nodes,
      flops: sum('flops'),
      skipped: sum('skipped'),
      weightBytes: [...(machine?.constants.values() ?? [])].reduce((total, { bytes }) => total + bytes, 0),
      activationBytes: Math.max(0, ...last.map(plan => plan.arenaBytes)),
      memoryBytes: machine?.memory.bytes ?? 0,
    };
  }

  /** From the next run on `report()` has milliseconds. */
  startProfiling(): void {
    this.#profile = true;
  }

  endProfiling(): void {
    this.#profile = false;
  }

  /** Stops the threads, after the runs that have been called. The session cannot be used any more. */
  async release(): Promise<void> {
    if (this.#released) return this.#running as Promise<void>;
    this.#released = true;
    this.#running = this.#running.then(() => this.#runner?.release());
    await this.#running;
  }
}

/** What is known of a node that no plan has been made for. */
const UNKNOWN = { kernel: 'plain', outputs: [], flops: 0, skipped: 0, weightBytes: 0 };

const RUN_OPTIONS = new Set(['logSeverityLevel', 'logVerbosityLevel', 'terminate', 'tag', 'extra']);

/** The tensor that the caller gave for an output, filled. */
function written(name: string, { type, dims, data }: Value, target: TensorLike): Tensor {
  const tensor = target instanceof Tensor ? target : new Tensor(type, target.data as Float32Array, target.dims);
  const fits = tensor.type === type && String(tensor.dims) === String(dims) && type !== 'string';
  check(
    fits,
    () => `run: output '${name}' is ${type} [${dims}], which cannot be written to ${target.type} [${target.dims}]`,
  );
  (toValue(tensor, name).data as Float32Array).set(data as Float32Array);
  return tensor;
}
