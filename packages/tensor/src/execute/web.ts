import * as ort from 'onnxruntime-web';
import type { ExecuteOptions, Executor } from './executor.ts';
import { loadSession } from './session.ts';

/** onnxruntime-web: WebAssembly in any browser, WebGPU where asked for. */
export function createExecutor(options: ExecuteOptions = {}): Executor {
  const provider = options.provider ?? 'wasm';
  if (options.wasmPaths !== undefined) ort.env.wasm.wasmPaths = options.wasmPaths;
  if (options.threads !== undefined) ort.env.wasm.numThreads = options.threads;
  return {
    name: `onnxruntime-web ${provider}`,
    load: model =>
      loadSession(
        ort as never,
        model,
        { executionProviders: [provider], graphOptimizationLevel: 'basic', logSeverityLevel: 3 },
        // It copies pre-allocated outputs in, but never out.
        { writesInto: false },
      ),
  };
}
