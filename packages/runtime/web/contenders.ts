/** Who races in the page: this project's runtime, and onnxruntime-web where the server has it. */
import { type Feeds, InferenceSession, type NodeReport, type SessionReport, Tensor, version } from '../src/index.ts';

export interface Entrant {
  readonly name: string;
  readonly kind: 'own' | 'own-dense' | 'other';
  readonly threads: number;
  load(model: Uint8Array<ArrayBuffer>, feeds: Feeds): Promise<Loaded>;
}

export interface Loaded {
  run(): Promise<Readonly<Record<string, { readonly data: ArrayLike<unknown> }>>>;
  report?(): SessionReport;
  release(): Promise<void>;
}

/** The part of onnxruntime-web that is used; its script is loaded when the page runs, not bundled. */
interface OnnxRuntime {
  readonly env: {
    readonly versions: { readonly web?: string };
    readonly wasm: { numThreads?: number; wasmPaths?: string };
  };
  readonly Tensor: new (type: string, data: unknown, dims: readonly number[]) => unknown;
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{
      run(feeds: object): Promise<Readonly<Record<string, { readonly data: ArrayLike<unknown> }>>>;
      release(): Promise<void>;
    }>;
  };
}

/** Threads that a page can have: one unless it is cross-origin isolated. */
export const threadsHere = (): number =>
  globalThis.crossOriginIsolated ? Math.min(4, Math.max(1, navigator.hardwareConcurrency)) : 1;

const own = (name: string, threads: number, kernels: 'auto' | 'dense'): Entrant => ({
  name,
  kind: kernels === 'dense' ? 'own-dense' : 'own',
  threads,
  async load(model, feeds) {
    const session = await InferenceSession.create(model, { threads, kernels });
    return { run: () => session.run(feeds), report: () => session.report(), release: () => session.release() };
  },
});

/** @param folder where onnxruntime-web's files are served; undefined where they are not */
export async function entrants(folder: string): Promise<{ entrants: Entrant[]; versions: Record<string, string> }> {
  const threads = threadsHere();
  const ours = [
    own('Gossamer', 1, 'auto'),
    ...(threads > 1 ? [own('Gossamer', threads, 'auto')] : []),
    own('Gossamer, dense kernels', 1, 'dense'),
  ];
  const ort = await import(`${folder}ort.wasm.min.mjs`).then(
    module => module as OnnxRuntime,
    () => undefined,
  );
  if (!ort) return { entrants: ours, versions: { gossamer: version } };
  // One number for the whole page.
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = folder;
  const other: Entrant = {
    name: 'onnxruntime-web',
    kind: 'other',
    threads,
    async load(model, feeds) {
      const session = await ort.InferenceSession.create(model, { executionProviders: ['wasm'], logSeverityLevel: 3 });
      const inputs = Object.fromEntries(
        Object.entries(feeds).map(([name, { type, data, dims }]) => [name, new ort.Tensor(type, data, dims)]),
      );
      return { run: () => session.run(inputs), release: () => session.release() };
    },
  };
  return {
    entrants: [...ours, other],
    versions: { gossamer: version, 'onnxruntime-web': ort.env.versions.web ?? 'unknown' },
  };
}

/** Free dimensions of a model's inputs, by name. */
export const freeDimensions = (session: InferenceSession): string[] => [
  ...new Set(session.inputMetadata.flatMap(({ shape }) => shape.filter(d => typeof d === 'string'))),
];

/** Random numbers for floats, zeros for everything else. */
export function feedsFor(session: InferenceSession, sizes: ReadonlyMap<string, number>): Feeds {
  let state = 1;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  return Object.fromEntries(
    session.inputMetadata.map(({ name, type, shape }) => {
      const dims = shape.map(d => (typeof d === 'number' ? d : (sizes.get(d) ?? 1)));
      const numbers = Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () =>
        type === 'float32' ? random() : 0,
      );
      return [name, new Tensor(type, numbers, dims)];
    }),
  );
}

/** How each node runs, with the median milliseconds of a few runs. */
export async function profile(model: Uint8Array<ArrayBuffer>, feeds: Feeds): Promise<NodeReport[]> {
  const session = await InferenceSession.create(model, { threads: 1, profile: true });
  const runs: NodeReport[][] = [];
  for (let run = 0; run < 12; run++) {
    await session.run(feeds);
    if (run > 4) runs.push([...session.report().nodes]);
  }
  await session.release();
  const middle = runs.length >> 1;
  return runs[0].map((node, i) => ({ ...node, ms: runs.map(r => r[i].ms ?? 0).sort((a, b) => a - b)[middle] }));
}
