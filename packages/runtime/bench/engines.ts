// The contenders: this runtime and ONNX Runtime, each as something that loads a file and runs it.
import { availableParallelism } from 'node:os';
import { InferenceSession, type SessionOptions, type SessionReport, Tensor } from '@gossamer/runtime';
import { type NDArray, sizeOf, type TypedArray } from '@gossamer/tensor';
import type { InferenceSession as External } from 'onnxruntime-common';
import * as node from 'onnxruntime-node';

export type Feeds = Readonly<Record<string, NDArray>>;

export interface Loaded {
  run(): Promise<Outputs>;
  /** Of this runtime only. */
  report?(): SessionReport;
  release(): Promise<void>;
}

export type Outputs = Readonly<Record<string, { readonly dims: readonly number[]; readonly data: ArrayLike<unknown> }>>;

export type Engine = (model: Uint8Array, feeds: Feeds) => Promise<Loaded>;

export const cores = availableParallelism();

/** This runtime. */
export const own =
  (options: SessionOptions): Engine =>
  async (model, feeds) => {
    const session = await InferenceSession.create(model, options);
    const inputs = Object.fromEntries(
      Object.entries(feeds).map(([name, { dtype, data, shape }]) => [name, new Tensor(dtype, data, shape)]),
    );
    return {
      run: () => session.run(inputs) as Promise<Outputs>,
      report: () => session.report(),
      release: () => session.release(),
    };
  };

type Runtime = Pick<typeof node, 'Tensor' | 'InferenceSession'>;

const external =
  (runtime: Runtime, options: External.SessionOptions): Engine =>
  async (model, feeds) => {
    const session = await runtime.InferenceSession.create(model, { logSeverityLevel: 3, ...options });
    const inputs = Object.fromEntries(
      Object.entries(feeds).map(([name, { dtype, data, shape }]) => [
        name,
        new runtime.Tensor(dtype as 'float32', data as Float32Array, shape),
      ]),
    );
    return { run: () => session.run(inputs) as Promise<Outputs>, release: () => session.release() };
  };

/**
 * onnxruntime-node. With several threads they do not spin when idle: they would take the cores from the contenders whose
 * turn it is.
 */
export const onnxNode = (threads: number): Engine =>
  external(node, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    ...(threads > 1 && { extra: { session: { intra_op: { allow_spinning: '0' } } } }),
  });

/** onnxruntime-web as in a browser's tab that is not cross-origin isolated: one thread. */
export async function onnxWeb(): Promise<Engine> {
  const web = await import('onnxruntime-web');
  web.env.wasm.numThreads = 1;
  return external(web as unknown as Runtime, { executionProviders: ['wasm'] });
}

/** Inputs for a model: normal numbers, and zeros where integers are wanted. */
export function feedsOf(
  inputs: readonly { readonly name: string; readonly dtype: string | null; readonly shape: unknown }[],
  normal: (size: number) => Float32Array<ArrayBuffer>,
): Feeds {
  return Object.fromEntries(
    inputs.map(({ name, dtype, shape }) => {
      const dims = shape as readonly number[];
      const size = sizeOf(dims);
      const data: TypedArray = dtype === 'float32' ? normal(size) : new Int32Array(size);
      return [name, { dtype, shape: dims, data } as NDArray];
    }),
  );
}

/** The largest difference of two runs' outputs, relative to the largest magnitude of each output. */
export function difference(a: Outputs, b: Outputs): number {
  let worst = 0;
  for (const [name, { data: wanted }] of Object.entries(b)) {
    const found = a[name].data;
    let [largest, most] = [0, 0];
    for (let i = 0; i < wanted.length; i++) {
      largest = Math.max(largest, Math.abs(Number(wanted[i])));
      most = Math.max(most, Math.abs(Number(found[i]) - Number(wanted[i])));
    }
    worst = Math.max(worst, most / (largest || 1));
  }
  return worst;
}
