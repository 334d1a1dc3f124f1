import { check, type NDArray } from '@gossamer/tensor';

// How far a classifier's probabilities can be trusted. Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern
// Neural Networks". Probabilities and logits are [samples, classes], labels one class index a sample.

/** Samples whose confidence (their highest probability) lies in (low, high]; the first bin holds 0, too. */
export interface ReliabilityBin {
  readonly low: number;
  readonly high: number;
  readonly count: number;
  /** Share of right answers, 0…1; NaN in an empty bin. */
  readonly accuracy: number;
  /** Mean confidence, 0…1; NaN in an empty bin. */
  readonly confidence: number;
}

export interface BinOptions {
  /** Bins of equal width; default 15. */
  readonly bins?: number;
}

/** Share of samples whose highest score is at their label, 0…1; of probabilities or logits. */
export function accuracy(scores: NDArray, labels: ArrayLike<number>): number {
  let right = 0;
  eachRow('accuracy', scores, labels, (row, label) => {
    if (highest(row) === label) right++;
  });
  return right / labels.length;
}

/** The reliability diagram: accuracy against confidence in bins of equal width. */
export function reliability(
  probabilities: NDArray,
  labels: ArrayLike<number>,
  { bins = 15 }: BinOptions = {},
): ReliabilityBin[] {
  check(Number.isInteger(bins) && bins >= 1, () => `reliability: ${bins} bins; expected a whole number from 1`);
  const [count, right, confidence] = Array.from({ length: 3 }, () => new Float64Array(bins));
  eachRow('reliability', probabilities, labels, (row, label) => {
    const best = highest(row);
    // Rounding may put a softmax a little above 1.
    const bin = Math.min(bins - 1, Math.max(0, Math.ceil(row[best] * bins) - 1));
    count[bin]++;
    confidence[bin] += row[best];
    if (best === label) right[bin]++;
  });
  return Array.from(count, (n, b) => ({
    low: b / bins,
    high: (b + 1) / bins,
    count: n,
    accuracy: right[b] / n,
    confidence: confidence[b] / n,
  }));
}

/** ECE = Σ_b |B_b|/n·|acc(B_b) − conf(B_b)|, 0…1 (eq. 3). With few samples it is biased upwards: compare at equal n. */
export function expectedCalibrationError(
  probabilities: NDArray,
  labels: ArrayLike<number>,
  options: BinOptions = {},
): number {
  const filled = reliability(probabilities, labels, options).filter(b => b.count > 0);
  const total = filled.reduce((n, b) => n + b.count, 0);
  return filled.reduce((sum, b) => sum + (b.count / total) * Math.abs(b.accuracy - b.confidence), 0);
}

/** −Σ log p(label) / n, in nats; a probability of 0 counts as the smallest normal float32. */
export function negativeLogLikelihood(probabilities: NDArray, labels: ArrayLike<number>): number {
  let sum = 0;
  eachRow('negativeLogLikelihood', probabilities, labels, (row, label) => {
    sum -= Math.log(Math.max(row[label], 2 ** -126));
  });
  return sum / labels.length;
}

/** softmax(logits / temperature) of each row. */
export function softmaxRows(logits: NDArray, temperature = 1): NDArray<Float32Array> {
  const [, classes] = logits.shape;
  const data = Float32Array.from(logits.data as Float32Array, Number);
  for (let start = 0; start < data.length; start += classes) {
    const row = data.subarray(start, start + classes);
    const largest = row.reduce((a, b) => Math.max(a, b));
    let sum = 0;
    for (let k = 0; k < classes; k++) sum += row[k] = Math.exp((row[k] - largest) / temperature);
    for (let k = 0; k < classes; k++) row[k] /= sum;
  }
  return { dtype: 'float32', shape: logits.shape, data };
}

/**
 * The temperature, 0.05…20, that minimises the negative log-likelihood of softmax(logits / T) (§4.2), by golden-section
 * search on log T, in which the loss has one minimum. Give it validation data, never those it is then judged on.
 */
export function fitTemperature(logits: NDArray, labels: ArrayLike<number>): number {
  const loss = (logT: number) => negativeLogLikelihood(softmaxRows(logits, Math.exp(logT)), labels);
  const golden = (Math.sqrt(5) - 1) / 2;
  let [low, high] = [Math.log(0.05), Math.log(20)];
  let [a, b] = [high - golden * (high - low), low + golden * (high - low)];
  let [fa, fb] = [loss(a), loss(b)];
  while (high - low > 1e-3) {
    if (fa < fb) {
      [high, b, fb] = [b, a, fa];
      a = high - golden * (high - low);
      fa = loss(a);
    } else {
      [low, a, fa] = [a, b, fb];
      b = low + golden * (high - low);
      fb = loss(b);
    }
  }
  return Math.exp((low + high) / 2);
}

/**
 * Area under the receiver operating characteristic: the probability that a positive sample scores above a negative one;
 * ties count half. Of out-of-distribution detection, for instance, with confidences as scores.
 *
 * @param positive truthy for the samples that should score high
 */
export function auroc(scores: ArrayLike<number>, positive: ArrayLike<number | boolean>): number {
  const n = scores.length;
  check(n === positive.length, () => `auroc: ${n} scores for ${positive.length} samples`);
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => scores[a] - scores[b]);
  let [positives, rankSum] = [0, 0];
  for (let i = 0; i < n; ) {
    let end = i;
    while (end < n && scores[order[end]] === scores[order[i]]) end++;
    const rank = (i + end + 1) / 2; // Mean of the ranks i + 1 … end.
    for (; i < end; i++) {
      if (!positive[order[i]]) continue;
      positives++;
      rankSum += rank;
    }
  }
  const negatives = n - positives;
  check(positives > 0 && negatives > 0, () => `auroc: ${positives} positive and ${negatives} negative samples`);
  return (rankSum - (positives * (positives + 1)) / 2) / (positives * negatives);
}

function highest(row: Float32Array): number {
  let best = 0;
  for (let k = 1; k < row.length; k++) if (row[k] > row[best]) best = k;
  return best;
}

function eachRow(
  caller: string,
  { shape, data }: NDArray,
  labels: ArrayLike<number>,
  visit: (row: Float32Array, label: number) => void,
): void {
  const [samples, classes] = shape;
  check(
    shape.length === 2 && samples === labels.length && samples > 0,
    () =>
      `${caller}: [${shape.join(', ')}] and ${labels.length} labels; expected [samples, classes] and as many labels`,
  );
  for (let i = 0; i < samples; i++) {
    const label = labels[i];
    check(
      Number.isInteger(label) && label >= 0 && label < classes,
      () => `${caller}: label ${label} of sample ${i} is not one of ${classes} classes`,
    );
    visit((data as Float32Array).subarray(i * classes, (i + 1) * classes), label);
  }
}
