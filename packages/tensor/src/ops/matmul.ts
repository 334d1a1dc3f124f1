import { check } from '../errors.ts';
import { broadcastShapes, formatShape, operator, sameDtype } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { unbroadcast } from './elementwise.ts';

const op = operator<object>({
  name: 'matmul',
  infer: ([a, b]) => {
    const dtype = sameDtype('matmul', [a, b]);
    const [m, k] = a.shape.slice(-2);
    const [k2, n] = b.shape.slice(-2);
    check(
      k === k2,
      () =>
        `matmul: ${formatShape(a.shape)} × ${formatShape(b.shape)}: inner dimensions ${k} and ${k2} differ`,
    );
    return { shape: [...broadcastShapes('matmul', a.shape.slice(0, -2), b.shape.slice(0, -2)), m, n], dtype };
  },
  gradient: ({ inputs: [a, b], grads: [g], needs }) => [
    needs(0) ? unbroadcast(matmul(g, b.transpose()), a.shape) : undefined,
    needs(1) ? gradientOfRight(a, b, g) : undefined,
  ],
  emit: (b, inputs) => b.node('MatMul', inputs),
});

/** A right operand shared by the whole batch gets one large product instead of a batch of small ones and a sum. */
function gradientOfRight(a: Tensor, b: Tensor, g: Tensor): Tensor {
  if (b.rank === 2 && a.rank > 2) {
    const rows = a.reshape([-1, a.shape.at(-1)!]);
    return matmul(rows.transpose(), g.reshape([-1, g.shape.at(-1)!]));
  }
  return unbroadcast(matmul(a.transpose(), g), b.shape);
}

/** Matrix product over the last two axes; leading axes broadcast, and vectors count as one row or column (numpy). */
export function matmul(a: Tensor, b: Tensor): Tensor {
  check(a.rank > 0 && b.rank > 0, 'matmul: a scalar has no rows; use mul');
  if (a.rank === 1) return matmul(a.unsqueeze(0), b).squeeze(b.rank === 1 ? 0 : -2);
  if (b.rank === 1) return matmul(a, b.unsqueeze(1)).squeeze(-1);
  return op([a, b], {});
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
