import { check, type Random } from '@gossamer/tensor';
import type { Allocation } from '../sparsity/allocation.ts';
import type { Layer } from '../sparsity/layer.ts';
import {
  activationNorm,
  fisher,
  gradientWeight,
  grasp,
  lamp,
  magnitude,
  randomScore,
  snip,
  taylor,
} from '../sparsity/score.ts';
import {
  type Calibration,
  hessianGradients,
  inputNorms,
  lossGradients,
  squaredGradients,
  type WeightData,
} from '../sparsity/score-data.ts';

export type Scorer = (layer: Layer) => Float32Array;

/** A way to say what a weight is worth, on the command line. */
export interface ScoreMethod {
  readonly summary: string;
  /** How the sparsity is divided among layers unless the user says otherwise. */
  readonly allocation: Allocation;
  /** Whether it looks at data. */
  readonly data: boolean;
  score(layers: readonly Layer[], random: Random, calibration?: Calibration): Promise<Scorer> | Scorer;
}

/** A score by weight and one array gathered from data. */
const gathered = (
  summary: string,
  gather: (calibration: Calibration) => Promise<WeightData>,
  score: (layer: Layer, data: Float32Array) => Float32Array,
  allocation: Allocation = 'global',
): ScoreMethod => ({
  summary,
  allocation,
  data: true,
  async score(_layers, _random, calibration) {
    const found = await gather(calibration!);
    return layer => {
      const data = found.get(layer.name);
      check(data, `layer ${layer.name}: this score is not defined for it; leave it out with --exclude ${layer.name}`);
      return score(layer, data);
    };
  },
});

const wanda = gathered(
  '|w| times the norm of the input it multiplies (Sun et al. 2024)',
  inputNorms,
  activationNorm,
  'uniform',
);

export const scoreMethods: Readonly<Record<string, ScoreMethod>> = {
  magnitude: {
    summary: '|w|',
    allocation: 'uniform',
    data: false,
    score: () => layer => magnitude(layer.values),
  },
  random: {
    summary: 'random numbers: the control',
    allocation: 'uniform',
    data: false,
    score: (_, random) => layer => randomScore(layer.values.length, random.fork(layer.name)),
  },
  lamp: {
    summary: 'magnitude scaled by layer, ranked globally (Lee et al. 2021)',
    allocation: 'global',
    data: false,
    score: () => layer => lamp(layer.values),
  },
  wanda,
  'activation-norm': { ...wanda, summary: 'the same as wanda' },
  'gradient-weight': gathered('|gradient × weight|', lossGradients, (l, g) => gradientWeight(l.values, g)),
  snip: {
    summary: '|gradient × weight|, normalised (Lee et al. 2019)',
    allocation: 'global',
    data: true,
    async score(layers, _random, calibration) {
      const g = await lossGradients(calibration!);
      const scores = snip(layers.map(l => ({ w: l.values, g: g.get(l.name)! })));
      const byName = new Map(layers.map((l, i) => [l.name, scores[i]]));
      return layer => byName.get(layer.name)!;
    },
  },
  grasp: gathered('weight × Hessian × gradient (Wang et al. 2020)', hessianGradients, (l, hg) => grasp(l.values, hg)),
  taylor: gathered('(gradient × weight)² (Molchanov et al. 2019)', lossGradients, (l, g) => taylor(l.values, g)),
  fisher: gathered('½ · squared gradient · w² (Theis et al. 2018)', squaredGradients, (l, f) => fisher(l.values, f)),
};

/** The methods with a line each, for the help text. */
export const listScores = (): string =>
  Object.entries(scoreMethods)
    .map(([name, { summary, data }]) => `  ${name.padEnd(16)} ${summary}${data ? '; needs --data' : ''}`)
    .join('\n');
