import { check } from '../errors.ts';
import type { Spec } from '../graph.ts';
import { broadcastShapes, formatShape, operator, sameDtype } from '../operator.ts';
import { Tensor } from '../tensor.ts';
import { unbroadcast } from './elementwise.ts';

/** Which operands enter with their last two axes swapped. */
interface Swapped {
  a: boolean;
  b: boolean;
}

const op = operator<Swapped>({
  name: 'matmul',
  infer: ([a, b], swapped) => {
    const dtype = sameDtype('matmul', [a, b]);
    const [m, k] = effective(a, swapped.a);
    const [k2, n] = effective(b, swapped.b);
    check(
      k === k2,
      () =>
        `matmul: ${formatShape([...a.shape.slice(0, -2), m, k])} × ${formatShape([...b.shape.slice(0, -2), k2, n])}: inner dimensions ${k} and ${k2} differ`,
    );
    return { shape: [...broadcastShapes('matmul', a.shape.slice(0, -2), b.shape.slice(0, -2)), m, n], dtype };
  },
  gradient: ({ inputs: [a, b], grads: [g], attributes: swapped, needs }) => [
    needs(0) ? unbroadcast(gradientOfLeft(a, b, g, swapped), a.shape) : undefined,
    needs(1) ? gradientOfRight(a, b, g, swapped) : undefined,
  ],
  emit: (builder, [a, b], { attributes: swapped, inputs }) => {
    if (!swapped.a && !swapped.b) return builder.node('MatMul', [a, b]);
    if (inputs.every(x => x.shape.length === 2)) {
      return builder.node('Gemm', [a, b], { transA: Number(swapped.a), transB: Number(swapped.b) });
    }
    if (!builder.standard && inputs[0].dtype === 'float32') {
      const attributes = { transA: Number(swapped.a), transB: Number(swapped.b) };
      return builder.multi('FusedMatMul', [a, b], attributes, 1, 'com.microsoft')[0];
    }
    const swap = (x: string, rank: number) => {
      const perm = Array.from({ length: rank }, (_, i) => i);
      perm.push(...perm.splice(-2).reverse());
      return builder.node('Transpose', [x], { perm });
    };
    return builder.node('MatMul', [
      swapped.a ? swap(a, inputs[0].shape.length) : a,
      swapped.b ? swap(b, inputs[1].shape.length) : b,
    ]);
  },
});

function effective(x: Spec, swapped: boolean): [number, number] {
  const [r, c] = x.shape.slice(-2);
  return swapped ? [c, r] : [r, c];
}

const gradientOfLeft = (_a: Tensor, b: Tensor, g: Tensor, swapped: Swapped): Tensor =>
  swapped.a ? product(b, g, swapped.b, true) : product(g, b, false, !swapped.b);

/** A right operand shared by the whole batch gets one large product instead of a batch of small ones and a sum. */
function gradientOfRight(a: Tensor, b: Tensor, g: Tensor, swapped: Swapped): Tensor {
  if (b.rank === 2 && a.rank > 2 && !swapped.a) {
    const rows = a.reshape([-1, a.shape.at(-1)!]);
    const grads = g.reshape([-1, g.shape.at(-1)!]);
    return swapped.b ? product(grads, rows, true, false) : product(rows, grads, true, false);
  }
  return unbroadcast(swapped.b ? product(g, a, true, swapped.a) : product(a, g, !swapped.a, false), b.shape);
}

/** The tensor behind a swap of the last two axes, if `x` is one: the product kernels read either order. */
function beforeSwap(x: Tensor): Tensor | undefined {
  if (x.node.op.name !== 'transpose') return undefined;
  const { perm } = x.node.attributes as { perm: readonly number[] };
  const n = perm.length;
  const swapsLastTwo = perm.every((p, i) => p === (i === n - 1 ? n - 2 : i === n - 2 ? n - 1 : i));
  return swapsLastTwo ? new Tensor(x.node.inputs[0]) : undefined;
}

function product(a: Tensor, b: Tensor, swapA: boolean, swapB: boolean): Tensor {
  const [rawA, rawB] = [beforeSwap(a), beforeSwap(b)];
  return op([rawA ?? a, rawB ?? b], { a: swapA !== Boolean(rawA), b: swapB !== Boolean(rawB) });
}

/** Matrix product over the last two axes; leading axes broadcast, and vectors count as one row or column (numpy). */
export function matmul(a: Tensor, b: Tensor): Tensor {
  check(a.rank > 0 && b.rank > 0, 'matmul: a scalar has no rows; use mul');
  if (a.rank === 1) return matmul(a.unsqueeze(0), b).squeeze(b.rank === 1 ? 0 : -2);
  if (b.rank === 1) return matmul(a, b.unsqueeze(1)).squeeze(-1);
  // One large product with the shared right operand instead of a batch of small ones.
  if (a.rank > 2 && b.rank === 2) {
    return product(a.reshape([-1, a.shape.at(-1)!]), b, false, false).reshape([...a.shape.slice(0, -1), b.shape[1]]);
  }
  return product(a, b, false, false);
}

const linearOp = operator<object>({
  name: 'linear',
  infer: ([x, w, b]) => {
    const dtype = sameDtype('linear', b ? [x, w, b] : [x, w]);
    check(
      w.shape.length === 2 && x.shape.at(-1) === w.shape[1] && (!b || formatShape(b.shape) === `[${w.shape[0]}]`),
      () =>
        `linear: input ${formatShape(x.shape)}, weight ${formatShape(w.shape)}${b ? `, bias ${formatShape(b.shape)}` : ''}: expected [.., in], [out, in]${b ? ', [out]' : ''}`,
    );
    return { shape: [x.shape[0], w.shape[0]], dtype };
  },
  gradient: ({ inputs: [x, w], grads: [g], needs }) => [
    needs(0) ? product(g, w, false, false) : undefined,
    needs(1) ? product(g, x, true, false) : undefined,
    needs(2) ? g.sum([0]) : undefined,
  ],
  emit: (builder, inputs) => builder.node('Gemm', inputs, { transB: 1 }),
});

/** x·Wᵀ + b for x [.., in], W [out, in] (the layout of PyTorch and of files), b [out]: one Gemm over all rows. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const rows = x.rank === 2 ? x : x.reshape([-1, x.shape.at(-1) ?? 1]);
  const y = linearOp(bias ? [rows, weight, bias] : [rows, weight], {});
  return x.rank === 2 ? y : y.reshape([...x.shape.slice(0, -1), weight.shape[0]]);
}

/**
 * Einstein summation with explicit output: `einsum('bij,bjk->bik', a, b)`. One or more operands; every index is a
 * letter, repeated letters within one operand are not supported. Products are batched matrix products.
 */
export function einsum(equation: string, ...operands: Tensor[]): Tensor {
  const [left, right, ...rest] = equation.replaceAll(' ', '').split('->');
  const terms = (left ?? '').split(',');
  const valid =
    right !== undefined &&
    rest.length === 0 &&
    terms.length === operands.length &&
    [...terms, right].every(t => /^[a-zA-Z]*$/.test(t) && new Set(t).size === t.length) &&
    [...right].every(c => terms.some(t => t.includes(c)));
  check(valid, () => `einsum: '${equation}' is not a valid equation for ${operands.length} operands, e.g. 'ij,jk->ik'`);
  const sizes = new Map<string, number>();
  terms.forEach((t, i) => {
    check(
      t.length === operands[i].rank,
      () => `einsum: '${t}' names ${t.length} axes, operand ${i} is ${formatShape(operands[i].shape)}`,
    );
    [...t].forEach((c, axis) => {
      const d = operands[i].shape[axis];
      check((sizes.get(c) ?? d) === d, () => `einsum: index ${c} is ${sizes.get(c)} and ${d} in '${equation}'`);
      sizes.set(c, d);
    });
  });
  const reduce = (t: string, x: Tensor, keep: (c: string) => boolean): [string, Tensor] => {
    const drop = [...t].flatMap((c, i) => (keep(c) ? [] : [i]));
    return [[...t].filter(keep).join(''), drop.length > 0 ? x.sum(drop) : x];
  };
  const arrange = (t: string, x: Tensor, order: string): Tensor => x.transpose([...order].map(c => t.indexOf(c)));
  let [term, value] = [terms[0], operands[0]];
  for (let i = 1; i < operands.length; i++) {
    const later = new Set([...terms.slice(i + 1), right].join(''));
    const [ta, a] = reduce(term, value, c => terms[i].includes(c) || later.has(c));
    const [tb, b] = reduce(terms[i], operands[i], c => ta.includes(c) || later.has(c));
    const shared = [...ta].filter(c => tb.includes(c));
    const batch = shared.filter(c => later.has(c)).join('');
    const inner = shared.filter(c => !later.has(c)).join('');
    const rows = [...ta].filter(c => !tb.includes(c)).join('');
    const columns = [...tb].filter(c => !ta.includes(c)).join('');
    const dims = (s: string) => [...s].map(c => sizes.get(c)!);
    const count = (s: string) => dims(s).reduce((n, d) => n * d, 1);
    const product = matmul(
      arrange(ta, a, batch + rows + inner).reshape([...dims(batch), count(rows), count(inner)]),
      arrange(tb, b, batch + inner + columns).reshape([...dims(batch), count(inner), count(columns)]),
    );
    term = batch + rows + columns;
    value = product.reshape(dims(term));
  }
  const [t, x] = reduce(term, value, c => right.includes(c));
  return arrange(t, x, right);
}
