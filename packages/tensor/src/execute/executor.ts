import type { NDArray, TypedArray } from '../dtype.ts';

/** How and where graphs run. */
export interface ExecuteOptions {
  /**
   * Execution provider of ONNX Runtime: `cpu` (Node), `wasm` (browser), `webgpu`, `cuda`, … Default: the environment
   * variable `GOSSAMER_PROVIDER`, else `cpu` or `wasm`.
   */
  provider?: string;
  /** Threads of the runtime. Default: `GOSSAMER_THREADS`, else one a core. */
  threads?: number;
  /** Folder or URL prefix of onnxruntime-web's `.wasm` files (browser only). */
  wasmPaths?: string;
}

/** One loaded ONNX model. Inputs and outputs go by position. */
export interface Executable {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /** `into[i]`, if given, is memory that may be used for output i. The arrays returned hold the outputs in any case. */
  run(feeds: readonly NDArray[], into?: readonly (TypedArray | undefined)[]): Promise<TypedArray[]>;
  release(): Promise<void>;
}

/** The only view the rest of the package has of ONNX Runtime. */
export interface Executor {
  readonly name: string;
  load(model: Uint8Array): Promise<Executable>;
}
