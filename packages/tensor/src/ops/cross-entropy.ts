import { check } from '../errors.ts';
import { formatShape, multiOperator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { constant } from './constant.ts';
import { where } from './elementwise.ts';
import { gather, gatherElements, scatterElements } from './gather.ts';
import { logSoftmax } from './reduce.ts';

/** Logits [..., classes] and ids [...]: −log softmax at the ids, and the whole log softmax. */
const selectedOp = multiOperator<object>({
  name: 'crossEntropy',
  infer: ([logits, ids]) => [{ shape: ids.shape, dtype: logits.dtype }, logits],
  gradient: ({ inputs: [, ids], outputs: [, logp], grads: [g, all], reaches }) => {
    const parts: Tensor[] = [];
    // (softmax − one-hot)·g, the one-hot part written into the product: no pass over all classes for it.
    if (reaches(0)) {
      const column = g.unsqueeze(-1);
      parts.push(scatterElements(logp.exp().mul(column), ids.unsqueeze(-1), column.neg(), -1, 'add'));
    }
    if (reaches(1)) parts.push(all.sub(logp.exp().mul(all.sum([-1], true))));
    return [parts.reduce((a, b) => a.add(b))];
  },
  emit: (b, [logits, ids], { inputs: [{ dtype }] }) => {
    const logp = b.node('LogSoftmax', [logits], { axis: -1 });
    const last = b.dims([-1]);
    const picked = b.node('GatherElements', [logp, b.node('Unsqueeze', [ids, last])], { axis: -1 });
    // 0 − x rather than −x, which would show a loss of −0.
    return [b.node('Sub', [b.scalar(0, dtype), b.node('Squeeze', [picked, last])]), logp];
  },
});

export interface NllOptions {
  /** Weight of each class [classes]. */
  weight?: Tensor | undefined;
  /** Targets with this id count for nothing. */
  ignoreIndex?: number | undefined;
  /** `mean` (default) divides by the sum of the targets' weights, the number of targets without weights. */
  reduction?: 'mean' | 'sum' | 'none';
}

export interface CrossEntropyOptions extends NllOptions {
  /** ε: the target distribution is mixed with ε of the uniform one (Szegedy et al. 2016). Default 0. */
  labelSmoothing?: number;
}

function checkTargets(name: string, logits: Tensor, ids: Tensor, { weight, ignoreIndex }: NllOptions): void {
  const classes = logits.shape.at(-1);
  check(
    formatShape(ids.shape) === formatShape(logits.shape.slice(0, -1)) &&
      (ids.dtype === 'int32' || ids.dtype === 'int64'),
    () =>
      `${name}: targets ${ids.dtype}${formatShape(ids.shape)} do not fit ${formatShape(logits.shape)}; expected int32${formatShape(logits.shape.slice(0, -1))} class ids or probabilities shaped like the logits`,
  );
  check(
    weight === undefined || formatShape(weight.shape) === formatShape([classes!]),
    () => `${name}: the weight is ${formatShape(weight!.shape)}, expected one number for each of ${classes} classes`,
  );
  check(
    ignoreIndex === undefined || Number.isInteger(ignoreIndex),
    () => `${name}: ignoreIndex ${ignoreIndex} is no id`,
  );
}

/** Calls `loss` with ids that are all valid, weighs and reduces what it returns. */
function reduceTargets(
  ids: Tensor,
  options: NllOptions,
  loss: (ids: Tensor) => { weighted: Tensor; uniform?: Tensor },
) {
  const { weight, ignoreIndex, reduction = 'mean' } = options;
  const valid = ignoreIndex === undefined ? undefined : ids.ne(ignoreIndex);
  const safe = valid ? where(valid, ids, 0) : ids;
  const { weighted, uniform } = loss(safe);
  const share = weight && gather(weight, safe);
  let losses = share ? weighted.mul(share) : weighted;
  if (uniform) losses = losses.add(uniform);
  if (valid) losses = where(valid, losses, 0);
  if (reduction === 'none') return losses;
  if (reduction === 'sum') return losses.sum();
  if (!share && !valid) return losses.mean();
  const counted = share ? (valid ? where(valid, share, 0) : share) : valid!.cast(losses.dtype);
  // Where nothing counts the loss is 0.
  return losses.sum().div(counted.sum().maximum(1e-12));
}

/**
 * Cross entropy of softmax(logits), in a stable fused form.
 *
 * @param logits [..., classes]
 * @param targets int32 class ids [...], or probabilities shaped like the logits (`mean` then divides by the rows)
 */
export function crossEntropy(logits: Tensor, targets: Tensor, options: CrossEntropyOptions = {}): Tensor {
  const { labelSmoothing = 0, weight, reduction = 'mean', ignoreIndex } = options;
  check(logits.rank >= 1, 'crossEntropy: the logits are a scalar, expected [..., classes]');
  check(
    labelSmoothing >= 0 && labelSmoothing <= 1,
    () => `crossEntropy: labelSmoothing ${labelSmoothing} is outside [0, 1]`,
  );
  const classes = logits.shape.at(-1)!;
  if (targets.dtype === logits.dtype && formatShape(targets.shape) === formatShape(logits.shape)) {
    check(ignoreIndex === undefined, 'crossEntropy: ignoreIndex needs class ids, the targets are probabilities');
    const smooth = labelSmoothing > 0 ? targets.mul(1 - labelSmoothing).add(labelSmoothing / classes) : targets;
    const losses = logSoftmax(logits)
      .mul(weight ? smooth.mul(weight) : smooth)
      .sum([-1])
      .neg();
    return reduction === 'none' ? losses : reduction === 'sum' ? losses.sum() : losses.mean();
  }
  checkTargets('crossEntropy', logits, targets, options);
  return reduceTargets(targets, options, ids => {
    const [nll, logp] = selectedOp([logits, ids], {});
    if (labelSmoothing === 0) return { weighted: nll };
    const uniform = (weight ? logp.mul(weight) : logp).sum([-1]).mul(-labelSmoothing / classes);
    return { weighted: nll.mul(constant(1 - labelSmoothing, nll.dtype)), uniform };
  });
}

/** Negative log likelihood: −logp at the target ids, for log probabilities [..., classes] and int32 ids [...]. */
export function nllLoss(logp: Tensor, ids: Tensor, options: NllOptions = {}): Tensor {
  checkTargets('nllLoss', logp, ids, options);
  return reduceTargets(ids, options, safe => ({
    weighted: gatherElements(logp, safe.unsqueeze(-1)).squeeze(-1).neg(),
  }));
}
