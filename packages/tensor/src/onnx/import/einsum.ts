import { check } from '../../errors.ts';
import { formatShape } from '../../operator.ts';
import * as ops from '../../ops/matmul.ts';
import type { Tensor } from '../../tensor.ts';
import { tensor } from '../../tensor.ts';

const letters = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'];

/**
 * Einsum with everything ONNX allows: `...` for leading axes that broadcast, a letter twice in one operand for its
 * diagonal, no `->` for the output of all letters that occur once, in alphabetical order.
 */
export function einsum(equation: string, operands: readonly Tensor[]): Tensor {
  const [left, right] = equation.replaceAll(' ', '').split('->');
  const terms = left.split(',');
  check(
    terms.length === operands.length && terms.every(t => /^[a-zA-Z]*(\.\.\.)?[a-zA-Z]*$/.test(t)),
    () => `equation '${equation}' is not valid for ${operands.length} operands`,
  );
  const free = letters.filter(c => !equation.includes(c));
  const hidden = terms.map((t, i) => (t.includes('...') ? operands[i].rank - (t.length - 3) : 0));
  check(
    hidden.every(n => n >= 0 && n <= free.length),
    () => `equation '${equation}' names more axes than ${operands.map(x => formatShape(x.shape)).join(', ')}`,
  );
  const most = Math.max(0, ...hidden);
  // The axes behind an ellipsis line up from the last one.
  const dots = (n: number) => free.slice(most - n, most).join('');
  const named = terms.map((t, i) => t.replace('...', dots(hidden[i])));
  const output = right === undefined ? dots(most) + once(terms) : right.replace('...', dots(most));
  named.forEach((t, i) => {
    check(
      t.length === operands[i].rank,
      () => `equation '${equation}' does not fit operand ${i}, ${formatShape(operands[i].shape)}`,
    );
  });
  const sizes = new Map<string, number>();
  named.forEach((t, i) => {
    [...t].forEach((c, axis) => {
      if ((sizes.get(c) ?? 1) === 1) sizes.set(c, operands[i].shape[axis]);
    });
  });
  const prepared = operands.map((x, i) => diagonal(named[i], broadcast(named[i], x, sizes)));
  return ops.einsum(`${prepared.map(([t]) => t)}->${output}`, ...prepared.map(([, x]) => x));
}

const once = (terms: readonly string[]): string => {
  const all = [...terms.join('').replaceAll('.', '')];
  return [...new Set(all)]
    .filter(c => all.indexOf(c) === all.lastIndexOf(c))
    .sort()
    .join('');
};

const broadcast = (term: string, x: Tensor, sizes: ReadonlyMap<string, number>): Tensor =>
  x.expand([...term].map((c, i) => (x.shape[i] === 1 ? sizes.get(c)! : x.shape[i])));

/** Keeps the diagonal of letters that repeat: all but the first are summed away behind a mask. */
function diagonal(term: string, x: Tensor): [string, Tensor] {
  const axis = [...term].findIndex((c, i) => term.indexOf(c) !== i);
  if (axis < 0) return [term, x];
  const first = term.indexOf(term[axis]);
  const n = x.shape[axis];
  const eye = Float32Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0));
  const shape = x.shape.map((_, i) => (i === first || i === axis ? n : 1));
  const y = x.mul(tensor(eye, shape)).sum([axis]);
  return diagonal(term.slice(0, axis) + term.slice(axis + 1), y);
}
