import { type Axes, arange, type Operand, type Parameter, sort, Tensor } from '@gossamer/tensor';

/**
 * Acts on a parameter after the optimiser's step: w ← P(w). A proximal method scales its threshold by the learning rate:
 *
 * ```ts
 * new SGD(weights, { projection: (w, { rate }) => softThreshold(w, rate.mul(1e-4)) });
 * ```
 */
export type Projection = (value: Tensor, step: { readonly parameter: Parameter; readonly rate: Tensor }) => Tensor;

/** Proximal step of t·‖w‖₁: sign(w)·max(|w| − t, 0). Exact zeros where |w| ≤ t. */
export const softThreshold = (w: Tensor, t: Operand): Tensor =>
  w.sub(t instanceof Tensor ? w.minimum(t).maximum(t.neg()) : w.clamp(-t, t));

/**
 * Proximal step of t·Σ‖w_g‖₂ (group lasso, Yuan & Lin 2006), a group being the elements along `axes`: each group
 * shrinks by t towards zero. For whole output channels of [out, in, h, w]: axes [1, 2, 3].
 */
export function groupSoftThreshold(w: Tensor, t: Operand, axes: Axes): Tensor {
  const norm = w.norm(2, axes, true);
  // A zero group stays zero; the norm 1 only keeps it from dividing by zero.
  const left = norm.sub(t).relu().div(norm.eq(0).where(1, norm));
  return w.mul(left);
}

/** Hard thresholding with a mask (0/1, any shape that broadcasts) of the elements to keep. */
export const keepMasked = (w: Tensor, mask: Tensor): Tensor => w.mul(mask);

/** Zero where |w| ≤ t: the proximal step of λ‖w‖₀ for t = √(2λ). */
export const hardThreshold = (w: Tensor, t: Operand): Tensor => w.abs().gt(t).where(w, 0);

/** The nearest point with low ≤ w ≤ high; `box(w, 0)` is the non-negative orthant. */
export const box = (w: Tensor, low = -Infinity, high = Infinity): Tensor => w.clamp(low, high);

/** The nearest point of the sphere ‖w_g‖₂ = 1 of each group; a zero group stays zero. */
export function unitNorm(w: Tensor, axes?: Axes): Tensor {
  const norm = w.norm(2, axes, true);
  return w.div(norm.eq(0).where(1, norm));
}

/** The nearest point of the ball ‖w_g‖₂ ≤ radius of each group. */
export const ball = (w: Tensor, radius: number, axes?: Axes): Tensor =>
  w.div(w.norm(2, axes, true).div(radius).maximum(1));

/**
 * The nearest point of the simplex {w ≥ 0, Σw = total} of each row along the last axis: max(w − θ, 0), where θ is the
 * largest (Σ of the k largest − total) / k over all k (Duchi et al. 2008).
 */
export function simplex(w: Tensor, total = 1): Tensor {
  const [sorted] = sort(w, -1, true);
  const theta = sorted
    .cumsum()
    .sub(total)
    .div(arange(w.shape.at(-1)!).add(1).cast('float32'))
    .max(-1, true);
  return w.sub(theta).relu();
}
