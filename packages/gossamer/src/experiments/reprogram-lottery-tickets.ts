import { type AdaptOptions, performanceGap, type TicketSource } from '../methods/vision/reprogram-lottery-tickets.ts';
import { lineChart } from '../plot.ts';
import { statistics } from '../statistics.ts';
import {
  type Check,
  type Condition,
  type Context,
  type Experiment,
  type Figure,
  type Findings,
  format,
  type Job,
  type Measures,
  type Outcome,
  summarize,
  type Table,
  tableOf,
} from './experiment.ts';
import { Audit, type Scale } from './transfer-bench.ts';

export const experiment: Experiment = {
  slug: 'reprogram-lottery-tickets',
  title: 'Reprogramming lottery tickets',
  claim:
    'Lottery tickets that are as good as the dense network where they were found transfer worse than it when they stay frozen, by visual prompts more than by linear probes, and are less calibrated.',
  version: 1,
  seeds: 3,
  run,
};

const scales: Record<'smoke' | 'standard' | 'full', Scale> = {
  smoke: {
    ...{ train: 200, test: 100, targetTrain: 60, targetTest: 100, side: 14, inner: 8, widths: [4, 8], epochs: 1 },
    ...{ rounds: [0, 2], shots: [1, 0], mappingShots: [0], promptEpochs: [2, 2] },
  },
  standard: {
    ...{ train: 5000, test: 2000, targetTrain: 500, targetTest: 1000, side: 16, inner: 9, widths: [12, 24, 48] },
    ...{ epochs: 5, rounds: [0, 3, 6, 9], shots: [1, 16, 0], mappingShots: [16, 0], promptEpochs: [40, 100] },
  },
  full: {
    ...{ train: 20_000, test: 10_000, targetTrain: 5000, targetTest: 4000, side: 28, inner: 16, widths: [16, 32, 64] },
    ...{ epochs: 8, rounds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], shots: [1, 4, 16, 64, 0], mappingShots: [1, 4, 16, 64, 0] },
    promptEpochs: [200, 200],
  },
};

const PROBE = 'linear probe';
const PROMPT = 'visual prompt, ILM';
const regimes = [PROBE, PROMPT];
const RANDOM = 'random mask';

/** Percent, to one digit. */
const sparsityOf = (round: number): number => +(100 * (1 - 0.8 ** round)).toFixed(1);

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const scale = scales[smoke ? 'smoke' : full ? 'full' : 'standard'];
  const { rounds, shots, mappingShots } = scale;
  const bench = await Audit.open(smoke, scale);
  const jobs: Job[] = [];
  for (const seed of seeds) {
    const job = (arm: string, condition: Condition, run: () => Promise<Measures>) =>
      jobs.push({ arm, condition: { ...condition, seed }, run });
    const last = rounds.at(-1)!;
    for (const round of rounds) {
      job('upstream', { sparsity: sparsityOf(round) }, () => bench.upstream(seed, 'imp-rewind', round));
    }
    job(`${RANDOM}, upstream`, { sparsity: sparsityOf(last) }, () => bench.upstream(seed, 'random-mask', last));
    for (const target of bench.targets) {
      for (const count of shots) {
        const where = { target: target.name, shots: count };
        const on = (ticket: TicketSource, round: number, options: Omit<AdaptOptions, 'seed' | 'shots'>) => () =>
          bench.adapt(seed, ticket, round, target, count, options);
        for (const round of rounds) {
          const at = { ...where, sparsity: sparsityOf(round) };
          job(PROBE, at, on('imp-rewind', round, { regime: 'linear-probe' }));
          job(PROMPT, at, on('imp-rewind', round, bench.prompt('ilm', count)));
        }
        if (mappingShots.includes(count)) {
          job('visual prompt, FLM', { ...where, sparsity: 0 }, on('imp-rewind', 0, bench.prompt('flm', count)));
          job('visual prompt, RLM', { ...where, sparsity: 0 }, on('imp-rewind', 0, bench.prompt('rlm', count)));
        }
        job('raw pixels', { ...where, sparsity: 0 }, on('imp-rewind', 0, { regime: 'raw-pixels' }));
        if (count !== 0) continue;
        job('fine-tuning', { ...where, sparsity: 0 }, on('imp-rewind', 0, { regime: 'fine-tune' }));
        const at = { ...where, sparsity: sparsityOf(last) };
        job(`${RANDOM}, ${PROBE}`, at, on('random-mask', last, { regime: 'linear-probe' }));
        job(`${RANDOM}, ${PROMPT}`, at, on('random-mask', last, bench.prompt('ilm', count)));
      }
    }
  }
  const outcomes = await execute(jobs);
  const view = new View(
    outcomes,
    bench.targets.map(t => t.name),
    scale,
  );
  return {
    tables: view.tables(),
    checks: view.checks(),
    figures: [view.figure()],
    notes: [
      `Source: a convolutional network with batch norm (${scale.widths.join('-')} filters) on ${scale.train} images of Fashion-MNIST at ${scale.side}×${scale.side} pixels, ${scale.epochs} epochs a round; tickets by global IMP that rewinds to the end of the first epoch. Targets: at most ${scale.targetTrain} training and ${scale.targetTest} test images, ten classes each; for prompts scaled to ${scale.inner}×${scale.inner}. KMNIST and USPS were not at hand: the ten first objects of COIL-20 stand in.`,
      'Full fine-tuning has 20 epochs like the rest, 140 steps with all images: too few to be an upper bound. No rule uses it. Prompts differ by up to 12 points between seeds, so that their gaps are within noise.',
      `Prompts are trained for ${scale.promptEpochs[0]} epochs with all images and ${scale.promptEpochs[1]} with few, in batches of 32, by ILM unless said otherwise. A draw of images is the same for all networks. ECE has 15 bins of equal width on one test set for all arms; no temperature is fitted. FLM and RLM are compared on the dense network at ${mappingShots.map(shotsOf).join(' and ')} images a class.`,
    ],
  };
}

const shotsOf = (count: string | number): string => (Number(count) === 0 ? 'all' : String(count));

// ---- tables, figure and rules

const signed = (x: number): string => `${x >= 0 ? '+' : ''}${x.toFixed(2)}`;

class View {
  readonly #outcomes: readonly Outcome[];
  readonly #targets: readonly string[];
  readonly #scale: Scale;

  constructor(outcomes: readonly Outcome[], targets: readonly string[], scale: Scale) {
    this.#outcomes = outcomes;
    this.#targets = targets;
    this.#scale = scale;
  }

  get #sparsities(): number[] {
    return this.#scale.rounds.map(sparsityOf);
  }

  get #tickets(): number[] {
    return this.#sparsities.filter(s => s > 0);
  }

  #values(arm: string, condition: Condition, measure = 'accuracy'): number[] {
    return this.#outcomes
      .filter(o => o.arm === arm && Object.entries(condition).every(([k, v]) => o.condition[k] === v))
      .sort((a, b) => Number(a.condition.seed) - Number(b.condition.seed))
      .map(o => o.measures[measure]);
  }

  /** Dense minus ticket, in points. */
  #gap(arm: string, condition: Condition, sparsity: number) {
    return performanceGap(
      this.#values(arm, { ...condition, sparsity: 0 }),
      this.#values(arm, { ...condition, sparsity }),
    );
  }

  #cells(): { arm: string; target: string; shots: number; sparsity: number }[] {
    return regimes.flatMap(arm =>
      this.#targets.flatMap(target =>
        this.#scale.shots.flatMap(shots => this.#tickets.map(sparsity => ({ arm, target, shots, sparsity }))),
      ),
    );
  }

  tables(): Table[] {
    const label = (s: string | number) => `${s} %`;
    const upstream = ['accuracy', 'ece'].map(measure => ({
      ...tableOf('', this.#outcomes, {
        arms: ['upstream', `${RANDOM}, upstream`],
        vary: 'sparsity',
        values: this.#sparsities,
        measure,
        label,
      }),
      title: measure === 'ece' ? 'upstream ECE, %, by sparsity' : 'upstream test accuracy, %, by sparsity',
    }));
    const regimeRows = (measure: string, title: string): Table => ({
      title,
      columns: this.#sparsities.map(label),
      rows: regimes.flatMap(arm =>
        this.#targets.flatMap(target =>
          this.#scale.shots.map(shots => ({
            name: `${arm}, ${target}, ${shotsOf(shots)} a class`,
            cells: this.#sparsities.map(sparsity =>
              format(summarize(this.#outcomes, arm, { target, shots, sparsity }, measure)),
            ),
          })),
        ),
      ),
    });
    const others = ['raw pixels', PROBE, PROMPT, 'visual prompt, FLM', 'visual prompt, RLM', 'fine-tuning'];
    const references = this.#targets.map(target => ({
      ...tableOf(`dense network on ${target}: test accuracy, %, by images a class`, this.#outcomes, {
        arms: others,
        vary: 'shots',
        values: this.#scale.shots,
        where: { target, sparsity: 0 },
        measure: 'accuracy',
        label: shotsOf,
      }),
    }));
    const last = this.#sparsities.at(-1)!;
    const random: Table = {
      title: `ticket and ${RANDOM} at ${last} %: test accuracy, %, with all images`,
      columns: [...this.#targets],
      rows: regimes.flatMap(arm =>
        [arm, `${RANDOM}, ${arm}`].map(name => ({
          name,
          cells: this.#targets.map(target =>
            format(summarize(this.#outcomes, name, { target, shots: 0, sparsity: last }, 'accuracy')),
          ),
        })),
      ),
    };
    return [
      ...upstream,
      regimeRows('accuracy', 'test accuracy on the targets, %, by sparsity'),
      regimeRows('ece', 'ECE on the targets, %, by sparsity'),
      ...references,
      random,
    ];
  }

  figure(): Figure {
    const series = [
      { name: 'upstream', arm: 'upstream', where: {} },
      ...regimes.flatMap(arm =>
        this.#targets.map(target => ({
          name: `${arm === PROBE ? 'probe' : 'prompt'}, ${target}`,
          arm,
          where: { target, shots: 0 },
        })),
      ),
    ].map(({ name, arm, where }) => ({
      name,
      points: this.#scale.rounds.map(round => ({
        x: 100 * 0.8 ** round,
        ...summarize(this.#outcomes, arm, { ...where, sparsity: sparsityOf(round) }, 'accuracy'),
      })),
    }));
    const svg = lineChart({
      title: 'Frozen lottery tickets on other data',
      subtitle: 'Test accuracy with all target images, mean ± standard deviation over seeds',
      x: {
        label: 'weights left',
        scale: 'log',
        reverse: true,
        ticks: this.#scale.rounds.map(r => 100 * 0.8 ** r),
        format: v => `${+v.toFixed(1)} %`,
      },
      y: { label: 'test accuracy, %' },
      series,
    });
    return { name: 'transfer', svg };
  }

  checks(): Check[] {
    return [this.#notUniversal(), this.#promptGap(), this.#calibration(), this.#mappings(), this.#probeAhead()];
  }

  #notUniversal(): Check {
    const found = this.#tickets.map(sparsity => {
      const upstream = this.#gap('upstream', {}, sparsity).mean;
      const gaps = this.#targets.map(target => ({ target, ...this.#gap(PROMPT, { target, shots: 0 }, sparsity) }));
      const wide = gaps.filter(g => g.mean >= 3 && g.isSignificant);
      const text = gaps.map(g => `${g.target} ${signed(g.mean)} ± ${g.std.toFixed(2)}`).join(', ');
      return {
        holds: Math.abs(upstream) <= 0.5 && wide.length > 0,
        text: `${sparsity} %: upstream ${signed(upstream)}, ${text}`,
      };
    });
    return {
      rule: 'at some sparsity the upstream gap is at most 0.5 points and at least one target has a prompt gap of 3 points or more with all images (mean − 1 std > 0)',
      holds: found.some(f => f.holds),
      found: found.map(f => f.text).join('; '),
    };
  }

  #promptGap(): Check {
    const mean = (arm: string) =>
      statistics(
        this.#cells()
          .filter(c => c.arm === arm)
          .map(({ sparsity, ...where }) => this.#gap(arm, { target: where.target, shots: where.shots }, sparsity).mean),
      ).mean;
    const [probe, prompt] = [mean(PROBE), mean(PROMPT)];
    return {
      rule: 'averaged over targets, sparsities and numbers of images, the gap of visual prompts is larger than that of linear probes',
      holds: prompt > probe,
      found: `prompts ${signed(prompt)}, probes ${signed(probe)}`,
    };
  }

  #calibration(): Check {
    const cells = this.#cells().map(({ arm, sparsity, target, shots }) => {
      const ece = (s: number) => statistics(this.#values(arm, { target, shots, sparsity: s }, 'ece')).mean;
      return { name: `${arm}, ${target}, ${shotsOf(shots)}, ${sparsity} %`, holds: ece(0) <= ece(sparsity) };
    });
    const share = cells.filter(c => c.holds).length / cells.length;
    const exceptions = cells.filter(c => !c.holds).map(c => c.name);
    return {
      rule: 'the dense network has no higher ECE than the ticket in at least 80 % of the cells (target, sparsity, regime, images)',
      holds: share >= 0.8,
      found: `${(100 * share).toFixed(0)} % of ${cells.length}; exceptions: ${exceptions.join('; ') || 'none'}`,
    };
  }

  #mappings(): Check {
    const mean = (name: string) => {
      const cells = this.#targets.flatMap(target =>
        this.#scale.mappingShots.map(
          shots => summarize(this.#outcomes, `visual prompt, ${name}`, { target, shots, sparsity: 0 }, 'accuracy').mean,
        ),
      );
      return statistics(cells).mean;
    };
    const [ilm, flm, rlm] = ['ILM', 'FLM', 'RLM'].map(mean);
    return {
      rule: 'in mean accuracy of the dense network, ILM ≥ FLM ≥ RLM',
      holds: ilm >= flm && flm >= rlm,
      found: `${ilm.toFixed(2)}, ${flm.toFixed(2)}, ${rlm.toFixed(2)} %`,
    };
  }

  #probeAhead(): Check {
    const leads = this.#targets.flatMap(target =>
      this.#sparsities.map(sparsity => {
        const at = (arm: string) => summarize(this.#outcomes, arm, { target, shots: 0, sparsity }, 'accuracy').mean;
        return at(PROBE) - at(PROMPT);
      }),
    );
    const ahead = leads.filter(l => l > 0).length / leads.length;
    const { mean } = statistics(leads);
    return {
      rule: 'with all images, linear probes are ahead of visual prompts on average and in most cells (target, sparsity)',
      holds: mean > 0 && ahead > 0.5,
      found: `${signed(mean)} points on average, ahead in ${(100 * ahead).toFixed(0)} % of ${leads.length} cells`,
    };
  }
}
