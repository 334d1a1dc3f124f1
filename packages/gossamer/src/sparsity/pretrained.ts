import { check, type NDArray } from '@gossamer/tensor';
import { type Batch, mapFields } from '../data/dataset.ts';
import { Lambda, Module } from '../nn/module.ts';
import { evaluator } from '../train/evaluate.ts';
import type { Calibration } from './score-data.ts';
import type { Training } from './sparsifier.ts';

/** Fewer samples say nothing about a network. */
const FEWEST = 8;
/** A trained network's loss is at most this share of what it has with the targets of other samples. */
const TRAINED = 0.9;

export interface Knowledge {
  /** The loss as it is. */
  readonly loss: number;
  /** The loss with each sample's targets exchanged for those of another one. */
  readonly exchanged: number;
}

/**
 * What a network knows about its task: one that was never trained predicts the targets of other samples as well as
 * those of its own. Inputs are the first field of a batch, targets are the others.
 */
export async function knowledge({ model, task, batches }: Calibration): Promise<Knowledge> {
  const module = model instanceof Module ? model : new Lambda(model as never);
  const given: Batch[] = [];
  for await (const batch of batches) given.push(batch);
  const judge = evaluator(module, task);
  const loss = async (list: readonly Batch[]) => (await judge.run(stream(list))).loss;
  try {
    return { loss: await loss(given), exchanged: await loss(given.map(exchangeTargets)) };
  } finally {
    await judge.dispose();
  }
}

/**
 * Refuses a network that shows no sign of training on the coming mini-batch. Batches of fewer than 8 samples are let
 * through.
 */
export async function checkPretrained(name: string, { calibrate }: Training): Promise<void> {
  // Looked at outside, where the parameters hold their own values: under a mask, a trained network looks worse.
  const calibration = await calibrate(async c => c);
  const [{ shape }] = Object.values(calibration.batches[0]);
  if (shape[0] < FEWEST) return;
  const { loss, exchanged } = await knowledge(calibration);
  check(
    loss < TRAINED * exchanged,
    () =>
      `${name}: the network looks untrained (loss ${loss.toPrecision(3)} on a mini-batch, ${exchanged.toPrecision(3)} with the targets of other samples): load pretrained weights, or set untrained: true`,
  );
}

async function* stream(batches: readonly Batch[]): AsyncGenerator<Batch> {
  yield* batches;
}

/** Gives each sample the targets of the one half a batch away. */
function exchangeTargets(batch: Batch): Batch {
  const [inputs] = Object.values(batch);
  return mapFields(batch, array => (array === inputs ? array : rotated(array)));
}

function rotated(array: NDArray): NDArray {
  const [rows] = array.shape;
  const at = Math.floor(rows / 2) * (array.data.length / rows);
  const data = array.data.slice();
  data.set(array.data.subarray(at) as never);
  data.set(array.data.subarray(0, at) as never, array.data.length - at);
  return { ...array, data };
}
