import { InferenceSession, Tensor as RuntimeTensor } from '@gossamer/runtime';
import { encodeOnnx, Random, type Spec, sizeOf } from '@gossamer/tensor';
import { exportModel } from '../nn/export.ts';
import type { Module } from '../nn/module.ts';

// Whole models on this project's runtime, side by side in one run.

const WARM_UP_MS = 200;

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];

/**
 * Median milliseconds of one run of each model on one thread, in turns, so that whatever else the machine does meets all of
 * them alike.
 *
 * @param input of all models; its first size is the batch
 */
export async function timeModels(models: readonly Module[], input: Spec, rounds: number): Promise<number[]> {
  const sessions = await Promise.all(
    models.map(async model => {
      const onnx = await exportModel(model, { x: input }, { batch: null });
      return InferenceSession.create(encodeOnnx(onnx), { threads: 1 });
    }),
  );
  const feeds = { x: new RuntimeTensor(new Random(1).normal(sizeOf(input.shape)), input.shape) };
  const times = sessions.map((): number[] => []);
  for (const session of sessions) {
    for (const end = performance.now() + WARM_UP_MS; performance.now() < end; ) await session.run(feeds);
  }
  for (let round = 0; round < rounds; round++) {
    for (const [i, session] of sessions.entries()) {
      const start = performance.now();
      await session.run(feeds);
      times[i].push(performance.now() - start);
    }
  }
  for (const session of sessions) await session.release();
  return times.map(median);
}
