import { lineChart } from '../plot.ts';
import { statistics } from '../statistics.ts';
import {
  type Check,
  type Context,
  type Experiment,
  type Figure,
  type Findings,
  type Job,
  type Outcome,
  percent,
  summarize,
  tableOf,
} from './experiment.ts';
import { type Arm, bicubic, photographs, type SuperResolutionBench, trainOne } from './super-resolution-bench.ts';

export const experiment: Experiment = {
  slug: 'iss-p',
  title: 'Iterative soft shrinkage (ISS-P)',
  claim:
    'Shrinking the smallest weights a little at every step of a training from scratch finds better sparse super-resolution networks than one-shot pruning of a trained network, hard thresholding, and growing penalties.',
  version: 1,
  seeds: 2,
  run,
};

/** Which arms run at which sparsities. */
interface Plan {
  readonly sparsities: readonly number[];
  readonly arms: Readonly<Partial<Record<Arm, readonly number[]>>>;
  readonly small: readonly number[];
  /** Of the second network. */
  readonly windows: { readonly sparsity: number; readonly arms: readonly Arm[] };
}

const compared: readonly Arm[] = ['ISS-P', 'IHT', 'L1-norm, one-shot', 'random mask'];
const penalties: readonly Arm[] = ['ISS-R', 'GReg'];
const dense = 'dense';
const small = 'small dense, equal non-zeros';

function planOf(smoke: boolean, full: boolean): Plan {
  const sparsities = smoke ? [0.9] : [0.9, 0.95, 0.99];
  const some = full || smoke ? sparsities : [0.95];
  return {
    sparsities,
    arms: {
      ...Object.fromEntries(compared.map(arm => [arm, sparsities])),
      ...Object.fromEntries(penalties.map(arm => [arm, some])),
    },
    small: sparsities,
    windows: { sparsity: 0.9, arms: smoke ? ['ISS-P'] : ['ISS-P', 'L1-norm, one-shot'] },
  };
}

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const bench = await photographs(smoke ? 'smoke' : full ? 'full' : 'standard');
  const plan = planOf(smoke, full);
  const outcomes = await execute(jobsOf(bench, plan, seeds));
  const { sparsities, arms, windows } = plan;
  const names = Object.keys(arms) as Arm[];
  const common = { vary: 'sparsity', values: sparsities, where: { network: 'edsr' }, label: percent };
  const at = (arm: string, network: string) => mean(outcomes, arm, { network });
  const title = `bicubic ${mean(outcomes, 'bicubic', {}).toFixed(2)} dB, dense ${at(dense, 'edsr').toFixed(2)} dB`;
  const rows = [...names, small];
  return {
    tables: [
      tableOf(`EDSR: PSNR on Set5, dB (${title}), by sparsity`, outcomes, { ...common, arms: rows, measure: 'psnr' }),
      tableOf('EDSR: SSIM on Set5, by sparsity', outcomes, { ...common, arms: rows, measure: 'ssim', digits: 4 }),
      tableOf('EDSR: standard deviation over layers of log₁₀‖∂L/∂W‖ while the structure is found', outcomes, {
        ...common,
        arms: names.filter(a => a !== 'random mask'),
        measure: 'logGradientSpread',
        digits: 3,
      }),
      tableOf('EDSR: overlap of the unimportant weights from look to look', outcomes, {
        ...common,
        arms: names.filter(a => a !== 'random mask'),
        measure: 'overlap',
        digits: 3,
      }),
      tableOf(`window transformer: PSNR on Set5, dB (dense ${at(dense, 'windows').toFixed(2)} dB)`, outcomes, {
        vary: 'sparsity',
        values: [windows.sparsity],
        where: { network: 'windows' },
        label: percent,
        arms: windows.arms,
        measure: 'psnr',
      }),
    ],
    checks: [
      beatsHard(outcomes, sparsities),
      beatsRandom(outcomes, sparsities),
      nearDense(outcomes, sparsities[0]),
      beatsBicubic(outcomes, plan),
      evenGradients(outcomes, sparsities),
    ],
    figures: [figure(outcomes, plan)],
    notes: [
      `EDSR with 4 blocks of ${bench.width} features and a window transformer of 2 blocks, ×2, ${bench.steps} steps of ${bench.batchSize} patches of ${bench.patch} × ${bench.patch} low-resolution pixels from Set14 and 20 images of BSD100; the paper trains some hundred times longer on DF2K. Both networks add to the bicubic enlargement, so that a short training is enough to be above it.`,
      `Adam at ${bench.learningRate} (2e-4 in the paper, whose trainings are longer), constant for ${percent(bench.until)} of the steps, then halved twice; the masks of all arms stand for the last ${percent(1 - bench.until)}. All arms have the same steps, batches and rates, and remove ⌊p·n⌋ weights of each layer, but leave a layer at least one weight for each output channel.`,
      '`L1-norm, one-shot` is the dense training of the first part, pruned once by magnitude; IHT is α = 0; ISS-R raises a penalty on what is unimportant, GReg on what was unimportant first. In so few steps a penalty factor reaches 0.012 of its limit of 1, so that ISS-R and GReg here are little more than one-shot pruning. At 99 %, and nearly so at 95 %, layers of this width keep a weight or two for each feature and learn next to nothing in the steps left, whatever the method; small dense networks, which do, are the better choice at this scale. PSNR and SSIM are those of the luma, 2 pixels of border cut; low-resolution images are made by bicubic interpolation with antialiasing and 256 levels.',
    ],
  };
}

function jobsOf(bench: SuperResolutionBench, { arms, small: smallAt, windows }: Plan, seeds: readonly number[]): Job[] {
  const jobs: Job[] = [{ arm: 'bicubic', condition: { seed: 0 }, run: () => bicubic(bench) }];
  for (const seed of seeds) {
    const add = (arm: string, network: string, sparsity: number, more: { arm?: Arm; equal?: boolean }) =>
      jobs.push({
        arm,
        condition: { network, ...(sparsity > 0 && { sparsity }), seed },
        run: () => trainOne(bench, { network, sparsity, seed, ...more }),
      });
    add(dense, 'edsr', 0, {});
    for (const sparsity of smallAt) add(small, 'edsr', sparsity, { equal: true });
    for (const [arm, sparsities] of Object.entries(arms) as [Arm, readonly number[]][]) {
      for (const sparsity of sparsities) add(arm, 'edsr', sparsity, { arm });
    }
    add(dense, 'windows', 0, {});
    for (const arm of windows.arms) add(arm, 'windows', windows.sparsity, { arm });
  }
  return jobs;
}

// ---- tables, figure, rules

const mean = (outcomes: readonly Outcome[], arm: string, where: Record<string, string | number>, measure = 'psnr') =>
  summarize(outcomes, arm, where, measure).mean;
const edsr = (outcomes: readonly Outcome[], arm: string, sparsity: number, measure = 'psnr') =>
  mean(outcomes, arm, { network: 'edsr', sparsity }, measure);

function figure(outcomes: readonly Outcome[], { arms, sparsities }: Plan): Figure {
  const series = [...Object.keys(arms), small].map(name => ({
    name,
    points: sparsities.flatMap(sparsity => {
      const { mean, std, n } = summarize(outcomes, name, { network: 'edsr', sparsity }, 'psnr');
      return n > 0 ? [{ x: 100 * (1 - sparsity), mean, std }] : [];
    }),
  }));
  const svg = lineChart({
    title: 'EDSR, ×2, Set5',
    subtitle: `PSNR after equal steps, mean ± standard deviation over seeds; dense ${mean(outcomes, dense, { network: 'edsr' }).toFixed(2)} dB, bicubic ${mean(outcomes, 'bicubic', {}).toFixed(2)} dB`,
    x: {
      label: 'weights left',
      scale: 'log',
      reverse: true,
      ticks: sparsities.map(s => 100 * (1 - s)),
      format: v => `${+v.toFixed(1)} %`,
    },
    y: { label: 'PSNR, dB' },
    series,
  });
  return { name: 'psnr', svg };
}

function beatsHard(outcomes: readonly Outcome[], sparsities: readonly number[]): Check {
  const found = sparsities.map(s => {
    const ahead =
      edsr(outcomes, 'ISS-P', s) - Math.max(edsr(outcomes, 'L1-norm, one-shot', s), edsr(outcomes, 'IHT', s));
    return { holds: ahead >= (s >= 0.99 ? 0.1 : 0.05), text: `${percent(s)}: ${ahead.toFixed(3)} dB` };
  });
  return {
    rule: 'ISS-P is above L1-norm one-shot pruning and above IHT by at least 0.05 dB mean PSNR on Set5 at 90 and 95 %, and by 0.1 dB at 99 %',
    holds: found.every(f => f.holds),
    found: `above the better of the two by ${found.map(f => f.text).join(', ')}`,
  };
}

function beatsRandom(outcomes: readonly Outcome[], sparsities: readonly number[]): Check {
  const found = sparsities.map(s => edsr(outcomes, 'ISS-P', s) - edsr(outcomes, 'random mask', s));
  return {
    rule: 'ISS-P is at least 0.1 dB above the random mask at each sparsity',
    holds: found.every(d => d >= 0.1),
    found: found.map((d, i) => `${percent(sparsities[i])}: ${d.toFixed(3)} dB`).join(', '),
  };
}

function nearDense(outcomes: readonly Outcome[], sparsity: number): Check {
  const gap = mean(outcomes, dense, { network: 'edsr' }) - edsr(outcomes, 'ISS-P', sparsity);
  return {
    rule: 'at 90 % ISS-P is at most 0.3 dB below the dense network',
    holds: gap <= 0.3,
    found: `${gap.toFixed(3)} dB below`,
  };
}

function beatsBicubic(outcomes: readonly Outcome[], { arms, windows, sparsities }: Plan): Check {
  const base = mean(outcomes, 'bicubic', {});
  const all = [
    ...Object.entries(arms).flatMap(([arm, at]) =>
      at.map(s => [`${arm} at ${percent(s)}`, edsr(outcomes, arm, s)] as const),
    ),
    ...sparsities.map(s => [`${small} at ${percent(s)}`, edsr(outcomes, small, s)] as const),
    ...[dense, ...windows.arms].map(arm => [`${arm}, windows`, mean(outcomes, arm, { network: 'windows' })] as const),
    [dense, mean(outcomes, dense, { network: 'edsr' })] as const,
  ];
  const [name, least] = all.reduce((a, b) => (b[1] < a[1] ? b : a));
  return {
    rule: 'every network is at least 0.5 dB above bicubic interpolation',
    holds: least - base >= 0.5,
    found: `the least, ${name}: ${(least - base).toFixed(3)} dB above`,
  };
}

function evenGradients(outcomes: readonly Outcome[], sparsities: readonly number[]): Check {
  const spread = (arm: string) => statistics(sparsities.map(s => edsr(outcomes, arm, s, 'logGradientSpread')));
  const [soft, hard] = [spread('ISS-P').mean, spread('IHT').mean];
  return {
    rule: 'the standard deviation over layers of the log of the gradient norm, while the structure is found, is smaller for ISS-P than for IHT (mean over sparsities)',
    holds: soft < hard,
    found: `${soft.toFixed(3)} against ${hard.toFixed(3)}`,
  };
}
