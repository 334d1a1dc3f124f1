import { describe, expect, it } from 'vitest';
import { InferenceSession, type SessionOptions } from './session.ts';
import { Tensor } from './tensor.ts';
import { RandomModel, random } from './testing.ts';

/** The largest difference relative to the largest value. */
function distance(a: Tensor, b: Tensor): number {
  expect(a.dims).toEqual(b.dims);
  const [x, y] = [a.data as Float32Array, b.data as Float32Array];
  let [largest, difference] = [1e-3, 0];
  for (let i = 0; i < x.length; i++) {
    largest = Math.max(largest, Math.abs(y[i]));
    const d = Math.abs(x[i] - y[i]);
    difference = Number.isNaN(d) ? Number.POSITIVE_INFINITY : Math.max(difference, d);
  }
  return difference / largest;
}

async function compare(seed: number, options: SessionOptions): Promise<void> {
  const model = new RandomModel(seed);
  const bytes = model.bytes();
  const reference = await InferenceSession.create(bytes, { kernels: 'plain' });
  const session = await InferenceSession.create(bytes, options);
  try {
    const batches = model.batch === undefined ? [1, 3, 2, 1] : [model.batch, model.batch];
    for (const batch of batches) {
      const { dims, data } = model.feed(batch);
      const x = new Tensor('float32', data, dims);
      const before = data.slice();
      const [given, wanted] = [await session.run({ x }), await reference.run({ x })];
      expect(data).toEqual(before);
      for (const name of session.outputNames) {
        const off = distance(given[name], wanted[name]);
        if (!(off < 1e-4))
          throw new Error(
            `seed ${seed}, ${JSON.stringify(options)}, batch ${batch}: ${name} differs by ${off}\n${model.nodes
              .map(n => `${n.outputs} = ${n.opType}(${n.inputs})`)
              .join('\n')}`,
          );
      }
    }
  } finally {
    await session.release();
  }
}

describe('random graphs give the plain operators’ results', () => {
  const kernels = ['auto', 'dense', 'csr', 'block'] as const;
  const builds = ['relaxed', 'simd'] as const;
  // For longer searches.
  const FIRST = Number(process.env.FUZZ_SEED ?? 0);
  const COUNT = Number(process.env.FUZZ_COUNT ?? 200);

  it('on one thread', async () => {
    for (let seed = FIRST; seed < FIRST + COUNT; seed++) {
      const next = random(seed ^ 0x5eed);
      const pick = <T>(items: readonly T[]) => items[Math.floor(next() * items.length)];
      await compare(seed, { threads: 1, kernels: pick(kernels), build: pick(builds) });
    }
  }, 120_000);

  it('on several', async () => {
    for (let seed = FIRST; seed < FIRST + COUNT / 10; seed++)
      await compare(seed, { threads: 2 + (seed % 2), kernels: kernels[seed % 4], build: builds[seed % 2] });
  }, 120_000);
});
