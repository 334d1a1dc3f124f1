// Time to load: creating a session and running it once, against onnxruntime-web, in fresh processes and in this one.
//   node bench/load.ts own|web model.onnx     prints the milliseconds of one process
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { InferenceSession, Tensor } from '@gossamer/runtime';
import type { LoadTimes } from './format.ts';
import { median } from './measure.ts';

const DIMS = [1, 3, 224, 224];
const IMAGE = new Float32Array(3 * 224 * 224).fill(0.5);

type Runtime = 'own' | 'web';

/** Milliseconds from a path to the first result, one thread, the runtime's script already loaded. */
async function once(runtime: Runtime, path: string): Promise<number> {
  if (runtime === 'own') {
    const begin = performance.now();
    const session = await InferenceSession.create(path, { threads: 1 });
    await session.run({ input: new Tensor('float32', IMAGE, DIMS) });
    const time = performance.now() - begin;
    await session.release();
    return time;
  }
  const web = await import('onnxruntime-web');
  web.env.wasm.numThreads = 1;
  const begin = performance.now();
  const session = await web.InferenceSession.create(path, { executionProviders: ['wasm'] });
  await session.run({ input: new web.Tensor('float32', IMAGE, DIMS) });
  const time = performance.now() - begin;
  await session.release();
  return time;
}

const fresh = async (runtime: Runtime, path: string): Promise<number> => {
  const { stdout } = await promisify(execFile)(process.execPath, [import.meta.filename, runtime, path]);
  return Number(stdout);
};

/** @param bytes a model with one input called `input`, float32 [1, 3, 224, 224] */
export async function loadTimes(bytes: Uint8Array, rounds: number): Promise<LoadTimes> {
  const folder = await mkdtemp(join(tmpdir(), 'gossamer-bench-'));
  const path = join(folder, 'model.onnx');
  try {
    await writeFile(path, bytes);
    const series = async (measure: typeof once): Promise<Record<Runtime, number>> => {
      const [own, web]: [number[], number[]] = [[], []];
      for (let round = 0; round < rounds; round++) {
        own.push(await measure('own', path));
        web.push(await measure('web', path));
      }
      return { own: median(own), web: median(web) };
    };
    return { fileBytes: bytes.length, fresh: await series(fresh), warm: await series(once) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const [runtime, path] = process.argv.slice(2);
  console.log(await once(runtime as Runtime, path));
}
