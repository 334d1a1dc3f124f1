import { check, Random } from '@gossamer/tensor';
import type { Layer } from './layer.ts';
import * as formulas from './score.ts';
import { hessianGradients, inputNorms, sampleOf, squaredGradients, type WeightData } from './score-data.ts';
import type { Training, TrainingCalibration } from './sparsifier.ts';
import { synapticFlow } from './synaptic-flow.ts';

/** Importance of every element of a layer, higher stays; looked up once per mask update. */
export type Scorer = (training: Training) => Promise<(layer: Layer) => Float32Array> | ((layer: Layer) => Float32Array);

/** A score by weight and one array looked up from the network as it computes now. */
const gathered =
  (
    gather: (training: Training) => Promise<ReadonlyMap<string, Float32Array>>,
    score: (layer: Layer, data: Float32Array) => Float32Array,
  ): Scorer =>
  async training => {
    const found = await gather(training);
    return layer => {
      const data = found.get(layer.name);
      check(data, `layer ${layer.name}: this score is not defined for it; leave it out (exclude: ['${layer.name}'])`);
      return score(layer, data);
    };
  };

const calibrated =
  (look: (calibration: TrainingCalibration) => Promise<WeightData>) =>
  ({ calibrate }: Training): Promise<WeightData> =>
    calibrate(look);

/** Scores that a training can offer, by name: what `gossamer train --score` knows. All but the first two look at a mini-batch. */
export const scorers = {
  /** |w| */
  magnitude: () => layer => formulas.magnitude(layer.values),
  /** Drawn once per layer, so that a growing sparsity removes nested sets. */
  random: ({ random }) => {
    const { key } = random;
    return layer => formulas.randomScore(layer.values.length, new Random({ key, counter: 0 }).fork(layer.name));
  },
  /** |w·g|; SNIP's connection sensitivity without its normalisation, which ranks the same. */
  gradient: gathered(
    t => t.denseGradients(),
    (l, g) => formulas.gradientWeight(l.values, g),
  ),
  /** (w·g)² (Molchanov et al. 2019). */
  taylor: gathered(
    t => t.denseGradients(),
    (l, g) => formulas.taylor(l.values, g),
  ),
  /** ½·E[g²]·w², over the samples of the batch (Theis et al. 2018). */
  fisher: gathered(calibrated(squaredGradients), (l, f) => formulas.fisher(l.values, f)),
  /** −w·Hg turned so that what matters to the gradient flow stays (Wang et al. 2020, GraSP). */
  grasp: gathered(calibrated(hessianGradients), (l, hg) => formulas.grasp(l.values, hg)),
  /** |w|·‖x‖₂ (Sun et al. 2024, Wanda). */
  wanda: gathered(calibrated(inputNorms), (l, norms) => formulas.activationNorm(l, norms)),
  /** |w| over the norm of what is larger in its layer (Lee et al. 2021, LAMP); for global ranking. */
  lamp: () => layer => formulas.lamp(layer.values),
  /** w·∂R/∂w of the synaptic flow R (Tanaka et al. 2020, SynFlow); needs no labels. For many rounds, not for one. */
  synflow: gathered(
    t =>
      t.calibrate(async c => {
        const shares = await (await synapticFlow(c.model, [sampleOf(c.batches[0])], c.layers))();
        check(shares, 'score synflow: no path from input to output is left');
        return new Map(shares);
      }),
    (_, flow) => flow,
  ),
} satisfies Record<string, Scorer>;
