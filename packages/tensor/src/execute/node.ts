import { availableParallelism } from 'node:os';
import * as ort from 'onnxruntime-node';
import type { ExecuteOptions, Executor } from './executor.ts';
import { loadSession } from './session.ts';

/** onnxruntime-node: the fast CPU kernels, or another provider of that package. */
export function createExecutor(options: ExecuteOptions = {}): Executor {
  const provider = options.provider ?? process.env.GOSSAMER_PROVIDER ?? 'cpu';
  const threads = options.threads ?? (Number(process.env.GOSSAMER_THREADS) || availableParallelism());
  return {
    name: `onnxruntime-node ${provider}, ${threads} threads`,
    load: model =>
      loadSession(
        ort as never,
        model,
        {
          executionProviders: [provider],
          intraOpNumThreads: threads,
          interOpNumThreads: 1,
          // Faster than 'all' on training graphs (whose layout rewrites cost more than they give), and quicker to load.
          graphOptimizationLevel: 'basic',
          logSeverityLevel: 3,
          extra: {
            session: {
              // Momentum and vanishing gradients decay into denormals, on which kernels are many times slower.
              set_denormal_as_zero: '1',
              // The threads of an idle session would spin on, and take the cores from the session that works: training
              // with evaluation in between took up to twice as long. Alone, a session loses a few per cent.
              intra_op: { allow_spinning: '0' },
            },
          },
        },
        { writesInto: true },
      ),
  };
}
