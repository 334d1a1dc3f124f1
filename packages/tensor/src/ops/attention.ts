import { check } from '../errors.ts';
import { broadcastShapes, formatShape, operator } from '../operator.ts';
import { type Tensor, tensor } from '../tensor.ts';
import { unbroadcast, where } from './elementwise.ts';

/** Stands for −∞ in attention scores: e to its power is 0, and differences of it are not NaN. */
const NEVER = -1e30;

const causalMaskOp = operator<{ queries: number; keys: number; offset: number }>({
  name: 'causalMask',
  infer: (_, { queries, keys }) => ({ shape: [queries, keys], dtype: 'bool' }),
  gradient: () => [],
  emit: (b, _, { attributes: { queries, keys, offset } }) =>
    b.node('Trilu', [b.node('Expand', [b.scalar(1, 'bool'), b.dims([queries, keys])]), b.scalar(offset, 'int64')], {
      upper: 0,
    }),
});

/**
 * Bool [queries, keys], true where query i may look at key j: j ≤ i + offset. The default offset aligns the last query
 * with the last key, as decoding with a cache of earlier keys needs it.
 */
export const causalMask = (queries: number, keys = queries, offset = keys - queries): Tensor =>
  causalMaskOp([], { queries, keys, offset });

export interface AttentionOptions {
  /** Query i sees the keys up to its own position, counted from the end: j ≤ i + keys − queries. Default false. */
  causal?: boolean;
  /** Broadcasts to [..., heads, queries, keys]. Bool: true where a key is seen. Float: added to the scores. */
  mask?: Tensor | undefined;
  /** Factor of the scores. Default 1/√width. */
  scale?: number;
  /** Changes the attention weights before they meet the values: dropout, a gate for each head, a look at them. */
  weights?: (p: Tensor) => Tensor;
}

/**
 * softmax(q·kᵀ·scale + mask)·v (Vaswani et al. 2017). A query that sees no key gives 0.
 *
 * @param q [..., heads, queries, width]
 * @param k [..., heads, keys, width]; fewer heads that divide those of q are shared by groups of query heads
 * (grouped-query attention, Ainslie et al. 2023)
 * @param v [..., heads, keys, width of the result], heads as in k
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { causal = false, mask, scale = 1 / Math.sqrt(q.shape.at(-1)!), weights }: AttentionOptions = {},
): Tensor {
  const describe = () => `attention: q ${formatShape(q.shape)}, k ${formatShape(k.shape)}, v ${formatShape(v.shape)}`;
  check(q.rank >= 2 && k.rank === q.rank && v.rank === q.rank, () => `${describe()}: ranks differ or are below 2`);
  check(q.shape.at(-1) === k.shape.at(-1), () => `${describe()}: the widths of q and k differ`);
  check(k.shape.at(-2) === v.shape.at(-2), () => `${describe()}: k and v differ in the number of keys`);
  const [queries, keys] = [q.shape.at(-2)!, k.shape.at(-2)!];
  const heads = q.shape.at(-3) ?? 1;
  const shared = k.shape.at(-3) ?? 1;
  check(
    heads % shared === 0 && (v.shape.at(-3) ?? 1) === shared,
    () => `${describe()}: ${heads} query heads cannot share ${shared} key heads`,
  );
  const full = [...q.shape.slice(0, -1), keys];
  const grouped = heads !== shared;
  // Query heads that share a key head are further rows of one matrix product.
  const fold = (t: Tensor) =>
    grouped ? t.reshape([...t.shape.slice(0, -3), shared, (heads / shared) * queries, t.shape.at(-1)!]) : t;
  const unfold = (t: Tensor) => (grouped ? t.reshape([...q.shape.slice(0, -1), t.shape.at(-1)!]) : t);

  let scores = unfold(fold(q.mul(scale)).matmul(k.transpose()));
  let seen = causal ? causalMask(queries, keys) : undefined;
  const additive = mask !== undefined && mask.dtype !== 'bool';
  if (mask && !additive) seen = seen ? seen.and(mask) : mask;
  // −∞ in a mask would make NaN of a query that sees nothing.
  if (additive) scores = scores.add(mask.clamp(NEVER));
  // Adding costs one pass, and none in the gradient.
  if (seen) scores = scores.add(where(seen, 0, NEVER));
  check(
    formatShape(scores.shape) === formatShape(full),
    () => `${describe()}: the mask ${formatShape(mask!.shape)} does not broadcast to ${formatShape(full)}`,
  );
  let p = scores.softmax();
  // A causal mask alone leaves every query a key, unless there are more queries than keys.
  if (mask || (causal && queries > keys)) {
    const sees = additive
      ? scores
          .detach()
          .max([-1], true)
          .gt(NEVER / 2)
      : seen!.any([-1], true);
    p = p.mul(sees.cast(p.dtype));
  }
  if (weights) p = weights(p);
  return unfold(fold(p).matmul(v));
}

export interface RotaryOptions {
  /** Positions of the first row. Default 0. */
  start?: number;
  /** Largest wavelength over 2π. Default 10000. */
  base?: number;
}

/** cos and sin [positions, width/2] of the angles position · base^(−2i/width) (Su et al. 2021). */
export function rotaryTables(
  positions: number,
  width: number,
  { start = 0, base = 10000 }: RotaryOptions = {},
): [cos: Tensor, sin: Tensor] {
  check(width % 2 === 0, () => `rotaryTables: width ${width} is odd`);
  const half = width / 2;
  const table = (f: (angle: number) => number) =>
    tensor(
      Float32Array.from({ length: positions * half }, (_, e) =>
        f((start + Math.floor(e / half)) * base ** ((-2 * (e % half)) / width)),
      ),
      [positions, half],
    );
  return [table(Math.cos), table(Math.sin)];
}

const rotaryOp = operator<{ interleaved: boolean }>({
  name: 'rotary',
  infer: ([x]) => x,
  gradient: ({ inputs: [x, cos, sin], grads: [g], attributes: { interleaved }, needs }) => {
    const [x1, x2] = halves(x, interleaved);
    const [g1, g2] = halves(g, interleaved);
    return [
      needs(0) ? rotaryEmbedding(g, cos, sin.neg(), { interleaved }) : undefined,
      needs(1) ? unbroadcast(g1.mul(x1).add(g2.mul(x2)), cos.shape) : undefined,
      needs(2) ? unbroadcast(g2.mul(x1).sub(g1.mul(x2)), sin.shape) : undefined,
    ];
  },
  emit: (b, [x, cos, sin], { attributes: { interleaved }, inputs: [{ shape }] }) => {
    const half = shape.at(-1)! / 2;
    const pairs = interleaved ? b.reshape(x, [...shape.slice(0, -1), half, 2]) : x;
    const column = (t: string) => (interleaved ? b.node('Unsqueeze', [t, b.dims([-1])]) : t);
    const [c, s] = [column(cos), column(sin)];
    const [x1, x2] = b.multi('Split', [pairs], { axis: -1, num_outputs: 2 }, 2);
    const y1 = b.node('Sub', [b.node('Mul', [x1, c]), b.node('Mul', [x2, s])]);
    const y2 = b.node('Add', [b.node('Mul', [x2, c]), b.node('Mul', [x1, s])]);
    const y = b.node('Concat', [y1, y2], { axis: -1 });
    return interleaved ? b.reshape(y, shape) : y;
  },
});

function halves(x: Tensor, interleaved: boolean): Tensor[] {
  const half = x.shape.at(-1)! / 2;
  if (!interleaved) return x.split(2, -1);
  return x
    .reshape([...x.shape.slice(0, -1), half, 2])
    .split(2, -1)
    .map(t => t.squeeze(-1));
}

/**
 * Rotates pairs of features by position-dependent angles: (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin).
 *
 * @param x [..., positions, width]
 * @param cos [..., positions, width/2], broadcast to x; from {@link rotaryTables}
 * @param interleaved pairs are neighbours (2i, 2i+1), as in the original LLaMA code and llama2.c; default false: pairs
 * are (i, i + width/2), as in Hugging Face models
 */
export function rotaryEmbedding(x: Tensor, cos: Tensor, sin: Tensor, { interleaved = false } = {}): Tensor {
  const expected = [...x.shape.slice(0, -1), x.shape.at(-1)! / 2];
  check(
    formatShape(cos.shape) === formatShape(sin.shape) &&
      formatShape(broadcastShapes('rotaryEmbedding', expected, cos.shape)) === formatShape(expected),
    () =>
      `rotaryEmbedding: cos ${formatShape(cos.shape)} and sin ${formatShape(sin.shape)} do not fit x ${formatShape(x.shape)}`,
  );
  return rotaryOp([x, cos, sin], { interleaved });
}
