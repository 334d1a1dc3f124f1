import { Random, type Spec } from '@gossamer/tensor';
import type { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { load } from '../data/registry.ts';
import { type ImpPhase, imp } from '../methods/pruning/imp.ts';
import type { Mapping } from '../methods/vision/label-mapping.ts';
import {
  type AdaptOptions,
  adapt,
  type Source,
  type Target,
  type TicketSource,
  ticketOptions,
} from '../methods/vision/reprogram-lottery-tickets.ts';
import { cosineSchedule } from '../optim/index.ts';
import { accuracy, expectedCalibrationError, negativeLogLikelihood, softmaxRows } from '../train/calibration.ts';
import { predict } from '../train/predict.ts';
import { restore, type Snapshot } from '../train/snapshot.ts';
import type { Measures } from './experiment.ts';
import { fit } from './fit.ts';
import { images } from './images.ts';
import { ConvNet } from './small-models.ts';
import { transferTargets } from './transfer-targets.ts';

// Lottery tickets of a small network of clothes, and their adaptation to other data.

export interface Scale {
  readonly train: number;
  readonly test: number;
  readonly targetTrain: number;
  readonly targetTest: number;
  readonly side: number;
  readonly inner: number;
  readonly widths: readonly number[];
  /** Of the dense training and of each round. */
  readonly epochs: number;
  /** IMP rounds whose tickets are looked at; 0 is the dense network. */
  readonly rounds: readonly number[];
  /** Labelled images of each target class; 0 stands for all. */
  readonly shots: readonly number[];
  /** Where FLM and RLM are compared with ILM. */
  readonly mappingShots: readonly number[];
  /** Of a visual prompt with all images, and with few, whose epochs are short. */
  readonly promptEpochs: readonly [all: number, few: number];
}

interface Ticket {
  readonly weights: Snapshot;
  readonly sparsity: number;
}

/** Finds tickets, once for each seed, and adapts them. */
export class Audit {
  readonly targets: readonly Target[];
  readonly #scale: Scale;
  readonly #train: ArrayDataset;
  readonly #test: ArrayDataset;
  readonly #statistics: { readonly mean: readonly number[]; readonly std: readonly number[] };
  readonly #tickets = new Map<string, Promise<ReadonlyMap<number, Ticket>>>();

  static async open(smoke: boolean, scale: Scale): Promise<Audit> {
    const name = smoke ? 'digits' : 'fashion-mnist';
    const { train, test } = await images(name, scale.train, scale.test, scale.side);
    const { mean, std } = await load(name);
    return new Audit(
      scale,
      train,
      test,
      { mean, std },
      await transferTargets(smoke, scale.targetTrain, scale.targetTest),
    );
  }

  private constructor(
    scale: Scale,
    train: ArrayDataset,
    test: ArrayDataset,
    statistics: { mean: readonly number[]; std: readonly number[] },
    targets: readonly Target[],
  ) {
    this.#scale = scale;
    this.#train = train;
    this.#test = test;
    this.#statistics = statistics;
    this.targets = targets;
  }

  prompt(mapping: Mapping, shots: number): Omit<AdaptOptions, 'seed' | 'shots'> {
    const { inner, promptEpochs } = this.#scale;
    return { regime: 'visual-prompt', mapping, inner, epochs: promptEpochs[shots === 0 ? 0 : 1], batchSize: 32 };
  }

  async upstream(seed: number, kind: TicketSource, round: number): Promise<Measures> {
    const model = await this.#model(seed, kind, round);
    const { logits, labels } = await predict(model, new DataLoader(this.#test, { batchSize: 500 }));
    const probabilities = softmaxRows(logits);
    return {
      accuracy: 100 * accuracy(logits, labels),
      ece: 100 * expectedCalibrationError(probabilities, labels),
      nll: negativeLogLikelihood(probabilities, labels),
    };
  }

  async adapt(
    seed: number,
    kind: TicketSource,
    round: number,
    target: Target,
    shots: number,
    options: Omit<AdaptOptions, 'seed' | 'shots'>,
  ): Promise<Measures> {
    const { side } = this.#scale;
    const model = await this.#model(seed, kind, round);
    const source: Source = { model, input: [1, side, side], ...this.#statistics, classes: 10 };
    const found = await adapt(source, target, { ...options, seed, ...(shots > 0 && { shots }) });
    return { accuracy: 100 * found.accuracy, ece: 100 * found.ece, nll: found.nll };
  }

  #fresh(seed: number): ConvNet {
    return new ConvNet(1, this.#scale.widths, new Random(seed).fork('model'));
  }

  async #model(seed: number, kind: TicketSource, round: number): Promise<ConvNet> {
    const model = this.#fresh(seed);
    restore(model, (await this.#ticketsOf(seed, kind)).get(round)!.weights);
    model.eval();
    return model;
  }

  /** Tickets by round; round 0 is the dense network. */
  #ticketsOf(seed: number, kind: TicketSource): Promise<ReadonlyMap<number, Ticket>> {
    const name = `${kind} ${seed}`;
    const found = this.#tickets.get(name) ?? this.#find(seed, kind);
    this.#tickets.set(name, found);
    return found;
  }

  async #find(seed: number, kind: TicketSource): Promise<ReadonlyMap<number, Ticket>> {
    const { side, epochs, rounds } = this.#scale;
    const model = this.#fresh(seed);
    const input: Spec = { dtype: 'float32', shape: [1, 1, side, side] };
    const epochSteps = Math.floor(this.#train.length / 100);
    const total = epochs * epochSteps;
    const train = ({ round, sparsifiers, start = 0 }: ImpPhase) => {
      const cosine = cosineSchedule({ steps: total });
      return fit(model, {
        train: this.#train,
        steps: total - start,
        seed: 100 * seed + round,
        schedule: () => step => cosine(step + start),
        sparsifiers,
      });
    };
    const last = rounds.at(-1)!;
    const options = ticketOptions(kind, last, seed);
    const tickets = new Map<number, Ticket>();
    const rewindTo = Math.min(epochSteps, total - 1);
    for await (const { round, sparsity, state } of imp({ ...options, model, inputs: [input], train, rewindTo })) {
      tickets.set(kind === 'imp-rewind' || round === 0 ? round : last, { weights: state.weights, sparsity });
    }
    return tickets;
  }
}
