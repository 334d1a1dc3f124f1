import type { DType, NDArray, TypedArray } from './dtype.ts';
import { check } from './errors.ts';
import { leafNode, type Node } from './graph.ts';
import { formatShape } from './operator.ts';
import { recorder } from './record.ts';
import { Tensor } from './tensor.ts';

/**
 * A named tensor that can be assigned: a weight, a running statistic, a piece of optimiser state. Operators use its
 * value of the moment; assigning does not change graphs that were built before.
 */
export class Parameter extends Tensor {
  /** Path in the model's `stateDict`, e.g. `layer1.0.conv1.weight`; set when the model is first asked for its names. */
  name = '';
  /** False for running statistics and other state that no optimiser touches. */
  trainable: boolean;

  constructor(value: NDArray | Tensor, { name = '', trainable = true }: { name?: string; trainable?: boolean } = {}) {
    super(value instanceof Tensor ? value.use() : leafNode(value, value.data));
    check(
      value instanceof Tensor || value.data.length === this.size,
      () => `Parameter ${name}: ${(value as NDArray).data.length} elements do not fill ${formatShape(value.shape)}`,
    );
    this.node.pinned = true;
    this.name = name;
    this.trainable = trainable;
  }

  override use(): Node {
    const r = recorder();
    if (!r) this.node.pinned = true;
    else if (!substituted.has(this)) r.use(this);
    return this.node;
  }

  /** The value of this moment as a tensor that later assignments do not change. */
  current(): Tensor {
    return new Tensor(this.use());
  }

  /** Makes `value` the parameter's value from here on. Shape and dtype must match. */
  assign(value: Tensor): this {
    this.#checkSpec(value.shape, value.dtype);
    const node = value.use();
    const r = recorder();
    r?.assign(this, substituted.get(this) ?? this.node);
    this.node = node;
    // The data may be seen through `value`: a compiled function must not write over it.
    if (!r) node.pinned = true;
    return this;
  }

  /** Replaces the value by data at once; the array belongs to the parameter from then on. */
  set(data: TypedArray): this {
    this.#checkSpec(this.shape, this.dtype, data);
    check(!recorder(), `Parameter ${this.name}: set() inside a compiled function would run only once; use assign()`);
    this.node = leafNode(this, data);
    return this;
  }

  #checkSpec(shape: readonly number[], dtype: DType, data?: TypedArray): void {
    const same = formatShape(shape) === formatShape(this.shape) && dtype === this.dtype;
    check(
      same && (!data || (data.length === this.size && data.constructor === (this.node.data ?? data).constructor)),
      () =>
        `Parameter ${this.name}: cannot assign ${data ? `${data.constructor.name} of ${data.length}` : `${dtype}${formatShape(shape)}`} to ${this.dtype}${formatShape(this.shape)}`,
    );
  }

  override toString(): string {
    return `Parameter ${this.name} ${this.dtype}${formatShape(this.shape)}`;
  }
}

/** Parameters that stand for another tensor at the moment, and their own values. */
const substituted = new Map<Parameter, Node>();

/**
 * Runs `fn` with parameters standing for other tensors: `substitute(new Map([[w, w.mul(mask)]]), () => loss())`.
 * Masks, fake quantisation and every other reparametrisation enter a model this way, and `gradients` with respect to
 * the substituted tensor is the gradient of the effective weight, at masked positions too.
 */
export function substitute<T>(values: ReadonlyMap<Parameter, Tensor>, fn: () => T): T {
  const before = [...values].map(([p, value]) => {
    check(
      formatShape(value.shape) === formatShape(p.shape) && value.dtype === p.dtype,
      () => `substitute: ${value} does not fit ${p}`,
    );
    return [p, p.node, value.use()] as const;
  });
  const outermost = before.filter(([p]) => !substituted.has(p));
  for (const [p, original] of outermost) substituted.set(p, original);
  for (const [p, , node] of before) p.node = node;
  try {
    return fn();
  } finally {
    for (const [p] of outermost) substituted.delete(p);
    // A value assigned meanwhile (a running statistic, say) stays.
    for (const [p, original, node] of before) if (p.node === node) p.node = original;
  }
}
