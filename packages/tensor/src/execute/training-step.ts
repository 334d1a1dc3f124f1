import { bernoulli, compile, gradients, linear, Parameter, Random, tensor } from '../index.ts';

/** Results of {@link trainingSteps}, as plain JSON. */
export interface StepResults {
  readonly losses: readonly number[];
  readonly weight: readonly number[];
  readonly random: readonly number[];
}

/**
 * Five training steps of a small network with dropout and momentum, everything seeded: what Node and browsers must
 * agree on. Random numbers agree to the bit, results to rounding.
 */
export async function trainingSteps(): Promise<StepResults> {
  const random = new Random(7);
  const parameter = (name: string, shape: number[], scale: number) =>
    new Parameter({ dtype: 'float32', shape, data: random.fork(name).normal(shape[0] * (shape[1] ?? 1), 0, scale) });
  const [w1, b1, w2] = [parameter('w1', [16, 8], 0.3), parameter('b1', [16], 0), parameter('w2', [4, 16], 0.3)];
  const parameters = [w1, b1, w2];
  const momenta = parameters.map(
    p => new Parameter({ dtype: 'float32', shape: p.shape, data: new Float32Array(p.size) }),
  );
  const dropout = random.fork('dropout');
  const step = compile(x => {
    const hidden = linear(x, w1, b1)
      .gelu()
      .mul(bernoulli(dropout, [32, 16], 0.8));
    const loss = linear(hidden, w2).logSoftmax().slice(1, 0, 1).mean().neg();
    gradients(loss, parameters).forEach((g, i) => {
      momenta[i].assign(momenta[i].mul(0.9).add(g));
      parameters[i].assign(parameters[i].sub(momenta[i].mul(0.5)));
    });
    return loss;
  });
  const losses: number[] = [];
  for (let i = 0; i < 5; i++) {
    const x = tensor(random.fork(`batch ${i}`).normal(32 * 8), [32, 8]);
    losses.push(await (await step(x)).item());
  }
  return { losses, weight: [...(await w1.data())], random: [...random.fork('check').normal(1000)] };
}
