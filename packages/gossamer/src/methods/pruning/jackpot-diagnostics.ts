import { type Compiled, compile, Random, type Tensor } from '@gossamer/tensor';
import type { Layer } from '../../sparsity/layer.ts';
import type { Mask } from '../../sparsity/mask.ts';
import { prune } from '../../sparsity/prune.ts';
import { gradientWeight, grasp, magnitude, randomScore } from '../../sparsity/score.ts';
import { hessianGradients, lossGradients } from '../../sparsity/score-data.ts';
import type { Training, TrainingCalibration } from '../../sparsity/sparsifier.ts';
import { toTensors } from '../../train/task.ts';

/** Criteria that a searched mask is compared with. */
export type Criterion = 'magnitude' | 'random' | 'SNIP' | 'GraSP' | 'Taylor';

/**
 * Share of a mask's weights that a criterion would keep, too, given the same number in each layer: |b ∩ b_c| / |b|
 * (§3.2). SNIP is |g·w| on the first mini-batch in training mode, Taylor |g·w| on all in evaluation mode, GraSP −w·Hg
 * turned so that the gradient flow stays.
 *
 * @param at the dense network that was searched, and data
 */
export async function criteriaOverlap(
  mask: Mask,
  at: TrainingCalibration,
  random = new Random(0),
): Promise<Record<Criterion, number>> {
  const layers = at.layers.layers.filter(l => mask.has(l.name));
  const sparsity = Object.fromEntries(layers.map(l => [l.name, mask.sparsity(l.name)]));
  const share = (score: (l: Layer) => Float32Array) =>
    prune(layers, score, { sparsity }).and(mask).kept() / mask.kept();
  const first = await lossGradients({ ...at, batches: at.batches.slice(0, 1), mode: 'train' });
  const all = await lossGradients({ ...at, mode: 'eval' });
  const flow = await hessianGradients({ ...at, mode: 'eval' });
  return {
    magnitude: share(l => magnitude(l.values)),
    random: share(l => randomScore(l.values.length, random.fork(l.name))),
    SNIP: share(l => gradientWeight(l.values, first.get(l.name)!)),
    GraSP: share(l => grasp(l.values, flow.get(l.name)!)),
    Taylor: share(l => gradientWeight(l.values, all.get(l.name)!)),
  };
}

/** How the loss of one mini-batch changed with the mask, and how gradients said it would. */
export interface SwapEffect {
  readonly step: number;
  /** Σ (b′ − b)·g·w over all positions. */
  readonly predicted: number;
  readonly actual: number;
}

/** Compares what a mask update does to the loss of the coming mini-batch with its first-order prediction. */
export class SwapProbe {
  #loss: Compiled<Tensor[], Tensor> | undefined;

  async measure(training: Training, mask: () => Mask, update: () => Promise<void>): Promise<SwapEffect> {
    const { step, layers } = training;
    const before = mask();
    const gradients = await training.denseGradients();
    const first = await this.#now(training);
    await update();
    const after = mask();
    let predicted = 0;
    for (const name of after.names) {
      const [b, next, g] = [before.get(name), after.get(name), gradients.get(name)!];
      const w = await layers.parameters.get(name)!.data();
      for (let i = 0; i < b.length; i++) predicted += (next[i] - b[i]) * g[i] * w[i];
    }
    return { step, predicted, actual: (await this.#now(training)) - first };
  }

  async dispose(): Promise<void> {
    await this.#loss?.dispose();
    this.#loss = undefined;
  }

  /** The loss in training mode; running statistics do not move. */
  #now({ calibrate, model }: Training): Promise<number> {
    return calibrate(async ({ task, batches: [batch] }) => {
      const fields = Object.keys(batch);
      this.#loss ??= compile((...values: Tensor[]) => {
        const before = [...model.namedParameters()].map(([, p]) => [p, p.current()] as const);
        const { loss } = task(model, Object.fromEntries(fields.map((name, i) => [name, values[i]])));
        for (const [p, value] of before) if (!p.trainable) p.assign(value);
        return loss;
      });
      const tensors = toTensors(batch);
      return (await this.#loss(...fields.map(f => tensors[f]))).item();
    });
  }
}
