import { availableParallelism } from 'node:os';
import {
  type NodeReport,
  InferenceSession as OwnSession,
  Tensor as OwnTensor,
  version as ownVersion,
} from '@gossamer/runtime';
import {
  arrayType,
  type DType,
  GossamerError,
  type NDArray,
  type Random,
  sizeOf,
  type TypedArray,
} from '@gossamer/tensor';
import type { InferenceSession, Tensor } from 'onnxruntime-common';

/** The part of the ONNX Runtime packages that timing needs; both have it. */
interface Runtime {
  readonly Tensor: typeof Tensor;
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<InferenceSession> };
  readonly env: { versions: Readonly<Record<string, string | undefined>>; wasm: { numThreads?: number } };
}

type External = 'onnxruntime-node' | 'onnxruntime-web';

/** A way to run a model, with the runtime's own default optimisations. */
export interface Engine {
  /** `gossamer, dense` is this project's runtime with its sparse kernels switched off. */
  readonly runtime: 'gossamer' | 'gossamer, dense' | 'onnxruntime-node' | 'onnxruntime-web';
  readonly version: string;
  readonly threads: number;
  load(model: Uint8Array, feeds: Readonly<Record<string, NDArray>>): Promise<Loaded>;
}

export interface Loaded {
  /** Runs the model once on the feeds; outputs by name. */
  run(): Promise<Readonly<Record<string, Pick<NDArray, 'shape' | 'data'>>>>;
  release(): Promise<void>;
}

/**
 * The engines on this machine: this project's runtime (sparse, and dense on one number of threads) and onnxruntime-node for
 * each number of threads, and onnxruntime-web (WebAssembly, as in a browser) with the smallest of them, since its number
 * is fixed for the process.
 */
export async function engines(threads: readonly number[] = threadCounts()): Promise<Engine[]> {
  const node = await load('onnxruntime-node');
  const web = await load('onnxruntime-web').catch(() => undefined);
  const least = Math.min(...threads);
  if (web) web.env.wasm.numThreads = least;
  return [
    ...threads.map(n => own(n, 'auto')),
    own(least, 'dense'),
    ...threads.map(n => engine('onnxruntime-node', node, n)),
    ...(web ? [engine('onnxruntime-web', web, least)] : []),
  ];
}

/** This project's runtime. */
export const own = (threads: number, kernels: 'auto' | 'dense'): Engine => ({
  runtime: kernels === 'auto' ? 'gossamer' : 'gossamer, dense',
  version: ownVersion,
  threads,
  async load(model, feeds) {
    const session = await OwnSession.create(model, { threads, kernels });
    const inputs = ownFeeds(feeds);
    return {
      async run() {
        const outputs = await session.run(inputs);
        return Object.fromEntries(
          Object.entries(outputs).map(([name, t]) => [name, { shape: t.dims, data: t.data as TypedArray }]),
        );
      },
      release: () => session.release(),
    };
  },
});

const ownFeeds = (feeds: Readonly<Record<string, NDArray>>): Record<string, OwnTensor> =>
  Object.fromEntries(
    Object.entries(feeds).map(([name, { dtype, data, shape }]) => [name, new OwnTensor(dtype, data, shape)]),
  );

/** How this project's runtime runs each node, with the median milliseconds of `runs` runs after as many to warm up. */
export async function profileNodes(
  model: Uint8Array,
  feeds: Readonly<Record<string, NDArray>>,
  threads: number,
  runs: number,
): Promise<NodeReport[]> {
  const session = await OwnSession.create(model, { threads, profile: true });
  try {
    const inputs = ownFeeds(feeds);
    const reports: NodeReport[][] = [];
    for (let run = -runs; run < runs; run++) {
      await session.run(inputs);
      if (run >= 0) reports.push([...session.report().nodes]);
    }
    return reports[0].map((node, i) => {
      const times = reports.map(r => r[i].ms ?? 0).sort((a, b) => a - b);
      return { ...node, ms: times[times.length >> 1] };
    });
  } finally {
    await session.release();
  }
}

/** One, and all cores. */
export const threadCounts = (): number[] => [...new Set([1, availableParallelism()])];

async function load(name: External): Promise<Runtime> {
  const module = (await import(name)) as Runtime & { default?: Runtime };
  return module.InferenceSession ? module : module.default!;
}

const engine = (runtime: External, ort: Runtime, threads: number): Engine => ({
  runtime,
  version: ort.env.versions[runtime === 'onnxruntime-web' ? 'web' : 'node'] ?? 'unknown',
  threads,
  async load(model, feeds) {
    const provider = runtime === 'onnxruntime-web' ? 'wasm' : 'cpu';
    const session = await ort.InferenceSession.create(model, {
      executionProviders: [provider],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 3,
      // Idle threads that spin would take the cores from the engine whose turn it is.
      ...(threads > 1 && { extra: { session: { intra_op: { allow_spinning: '0' } } } }),
    }).catch((cause: Error) => {
      throw new GossamerError(`${runtime} refuses the model: ${cause.message}`, { cause });
    });
    const inputs = Object.fromEntries(
      Object.entries(feeds).map(([name, { dtype, data, shape }]) => [
        name,
        new ort.Tensor(dtype as 'float32', forRuntime(dtype, data) as Float32Array, shape),
      ]),
    );
    return {
      async run() {
        const outputs = await session.run(inputs);
        return Object.fromEntries(
          Object.entries(outputs).map(([name, t]) => [name, { shape: t.dims, data: t.data as TypedArray }]),
        );
      },
      release: () => session.release(),
    };
  },
});

/** float16 is raw bits here, and a Float16Array there. */
const forRuntime = (dtype: DType, data: TypedArray): unknown => {
  const { Float16Array } = globalThis as unknown as { Float16Array: new (buffer: ArrayBufferLike) => unknown };
  return dtype === 'float16' ? new Float16Array(data.slice().buffer) : data;
};

/** Inputs to run a model on where none are given: normal numbers, and zeros where integers are wanted. */
export function randomFeeds(
  inputs: readonly Pick<NDArray & { name: string }, 'name' | 'dtype' | 'shape'>[],
  random: Random,
): Record<string, NDArray> {
  return Object.fromEntries(
    inputs.map(({ name, dtype, shape }) => {
      const size = sizeOf(shape);
      const data = dtype === 'float32' ? random.fork(name).normal(size) : new (arrayType(dtype))(size);
      return [name, { dtype, shape, data }];
    }),
  );
}
