import {
  type CrossEntropyOptions,
  check,
  constant,
  crossEntropy as crossEntropyOfRows,
  formatShape,
  type NllOptions,
  nllLoss,
  type Tensor,
} from '@gossamer/tensor';

/** `mean` (default) or `sum` over all losses, or `none`: one loss for each. */
export type Reduction = 'mean' | 'sum' | 'none';

export interface LossOptions {
  readonly reduction?: Reduction;
}

const reduced = (losses: Tensor, reduction: Reduction = 'mean'): Tensor =>
  reduction === 'mean' ? losses.mean() : reduction === 'sum' ? losses.sum() : losses;

/** Where the classes are. */
interface ClassAxis {
  /** Axis of the classes; default the last (PyTorch: 1, which for [batch, classes] is the same). */
  readonly axis?: number;
}

const classesLast = (x: Tensor, axis: number): Tensor => {
  const order = x.shape.map((_, i) => i);
  order.push(...order.splice(axis < 0 ? axis + x.rank : axis, 1));
  return x.transpose(order);
};

/**
 * Cross entropy of softmax(logits).
 *
 * @param targets int32 class ids, shaped like the logits without the class axis; or probabilities, shaped like the logits
 * @param options `labelSmoothing`, `weight` of each class, `ignoreIndex` (default none), `reduction`, `axis`
 */
export const crossEntropy = (
  logits: Tensor,
  targets: Tensor,
  { axis = -1, ...options }: CrossEntropyOptions & ClassAxis = {},
): Tensor =>
  crossEntropyOfRows(
    classesLast(logits, axis),
    targets.rank === logits.rank ? classesLast(targets, axis) : targets,
    options,
  );

/** −log p of the target class, for log probabilities; targets and options as in {@link crossEntropy}. */
export const nll = (
  logProbabilities: Tensor,
  targets: Tensor,
  { axis = -1, ...options }: NllOptions & ClassAxis = {},
): Tensor => nllLoss(classesLast(logProbabilities, axis), targets, options);

/** (x − y)², by element. */
export function mse(x: Tensor, y: Tensor, { reduction }: LossOptions = {}): Tensor {
  sameShapes('mse', x, y);
  return reduced(x.sub(y).square(), reduction);
}

/** |x − y|, by element. */
export function l1(x: Tensor, y: Tensor, { reduction }: LossOptions = {}): Tensor {
  sameShapes('l1', x, y);
  return reduced(x.sub(y).abs(), reduction);
}

/** d² / 2 for |d| ≤ delta, delta·(|d| − delta / 2) beyond; d = x − y, by element. Huber 1964. */
export function huber(x: Tensor, y: Tensor, { delta = 1, reduction }: LossOptions & { delta?: number } = {}): Tensor {
  sameShapes('huber', x, y);
  check(delta > 0, () => `huber: delta ${delta}: expected a positive number`);
  const d = x.sub(y);
  // With c = clamp(d): c·(d − c / 2) is both branches.
  const c = d.clamp(-delta, delta);
  return reduced(c.mul(d.sub(c.mul(0.5))), reduction);
}

/** Huber's loss over beta: slope 1 in the tails, as in Fast R-CNN. */
export const smoothL1 = (x: Tensor, y: Tensor, { beta = 1, reduction }: LossOptions & { beta?: number } = {}): Tensor =>
  huber(x, y, { delta: beta, reduction }).mul(1 / beta);

/** −y·log p − (1 − y)·log(1 − p), by element. Both logarithms end at −85, so that p = 0 and 1 give a finite loss. */
export function bce(p: Tensor, y: Tensor, { reduction }: LossOptions = {}): Tensor {
  sameShapes('bce', p, y);
  const floor = 1e-37;
  const one = constant(1);
  const yes = y.mul(p.clamp(floor).log());
  const no = one.sub(y).mul(one.sub(p).clamp(floor).log());
  return reduced(yes.add(no).neg(), reduction);
}

export interface BinaryOptions extends LossOptions {
  /** Weight of each loss; broadcasts. */
  readonly weight?: Tensor;
  /** Weight of the positive answers, > 1 for rare ones; broadcasts. */
  readonly positiveWeight?: Tensor;
}

/** Binary cross entropy of σ(logits), by element, without overflow. */
export function bceWithLogits(
  logits: Tensor,
  y: Tensor,
  { weight, positiveWeight, reduction }: BinaryOptions = {},
): Tensor {
  sameShapes('bceWithLogits', logits, y);
  const losses = positiveWeight
    ? logits.sub(logits.mul(y)).add(logits.neg().softplus().mul(positiveWeight.sub(1).mul(y).add(1)))
    : logits.softplus().sub(logits.mul(y));
  return reduced(weight ? losses.mul(weight) : losses, reduction);
}

export interface KLOptions extends LossOptions {
  /** Softens both distributions; default 1. */
  readonly temperature?: number;
  /** Axis of the classes; default the last. */
  readonly axis?: number;
}

/**
 * T²·KL(softmax(target / T) ‖ softmax(logits / T)), one loss for each row. T² keeps the gradients' size when the
 * temperature changes (Hinton et al. 2015, section 2). Detach the target if it should not learn.
 */
export function klDivergence(
  logits: Tensor,
  target: Tensor,
  { temperature = 1, axis = -1, reduction }: KLOptions = {},
): Tensor {
  sameShapes('klDivergence', logits, target);
  check(temperature > 0, () => `klDivergence: temperature ${temperature}: expected a positive number`);
  const soften = (x: Tensor) => (temperature === 1 ? x : x.mul(1 / temperature)).logSoftmax(axis);
  const goal = soften(target);
  const losses = goal
    .exp()
    .mul(goal.sub(soften(logits)))
    .sum(axis);
  return reduced(temperature === 1 ? losses : losses.mul(temperature ** 2), reduction);
}

/** x·y / (‖x‖·‖y‖) along an axis (default the last); norms below `eps` count as `eps`. */
export function cosineSimilarity(x: Tensor, y: Tensor, axis = -1, eps = 1e-8): Tensor {
  sameShapes('cosineSimilarity', x, y);
  return x
    .mul(y)
    .sum(axis)
    .div(x.norm(2, axis).maximum(eps).mul(y.norm(2, axis).maximum(eps)));
}

/** 1 − cos(x, y) for pairs with label 1, max(0, cos(x, y) − margin) for pairs with label −1. */
export function cosineEmbedding(
  x: Tensor,
  y: Tensor,
  labels: Tensor,
  { margin = 0, reduction }: LossOptions & { margin?: number } = {},
): Tensor {
  const cos = cosineSimilarity(x, y);
  return reduced(labels.gt(0).where(constant(1).sub(cos), cos.sub(margin).relu()), reduction);
}

function sameShapes(name: string, x: Tensor, y: Tensor): void {
  check(
    formatShape(x.shape) === formatShape(y.shape),
    () => `${name}: prediction ${formatShape(x.shape)} and target ${formatShape(y.shape)} differ; reshape one`,
  );
}
