/** Sums of products in Einstein's notation. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { sizeOf } from '../values.ts';
import { forEachRow } from './broadcast.ts';
import { type Floats, floats, need, pack, product, stridesOf } from './numeric.ts';
import { fail, type Operators, text } from './operator.ts';

/** A value with one label for each axis; a label may repeat (a diagonal). */
interface Labelled {
  readonly labels: readonly string[];
  readonly dims: readonly number[];
  readonly data: Floats;
}

/** Rearranges to `labels`: repeated labels become diagonals, labels that are not asked for are summed. */
function arrange(
  { labels, dims, data }: Labelled,
  wanted: readonly string[],
  sizes: ReadonlyMap<string, number>,
): Labelled {
  if (String(labels) === String(wanted) && dims.every((size, d) => size === sizes.get(labels[d])))
    return { labels, dims, data };
  const all = [...wanted, ...new Set(labels.filter(label => !wanted.includes(label)))];
  const own = stridesOf(dims);
  const to = wanted.map(label => sizes.get(label)!);
  const y = data instanceof Float32Array ? new Float32Array(sizeOf(to)) : new Float64Array(sizeOf(to));
  // An axis of size 1 that broadcasts is walked without moving; one that is summed away is walked once.
  const present = (label: string) => Math.max(...labels.map((each, d) => (each === label ? dims[d] : 1)));
  const walk = all.map(label => (wanted.includes(label) ? sizes.get(label)! : present(label)));
  const from = all.map(label =>
    labels.reduce((sum, each, d) => (each === label && dims[d] !== 1 ? sum + own[d] : sum), 0),
  );
  const target = [...stridesOf(to), ...new Array<number>(all.length - to.length).fill(0)];
  forEachRow(walk, [from, target], ([i, j], [p, q], length) => {
    for (let r = 0; r < length; r++, i += p, j += q) y[j] += data[i];
  });
  return { labels: wanted, dims: to, data: y };
}

/** The product of two labelled values, with all labels summed that are not in `keep`. */
function contract(a: Labelled, b: Labelled, keep: ReadonlySet<string>, sizes: ReadonlyMap<string, number>): Labelled {
  const [left, right] = [new Set(a.labels), new Set(b.labels)];
  const shared = [...left].filter(label => right.has(label));
  const batch = shared.filter(label => keep.has(label));
  const inner = shared.filter(label => !keep.has(label));
  const rows = [...left].filter(label => keep.has(label) && !right.has(label));
  const columns = [...right].filter(label => keep.has(label) && !left.has(label));
  const size = (labels: readonly string[]) => labels.reduce((total, label) => total * sizes.get(label)!, 1);
  const [m, n, k] = [size(rows), size(columns), size(inner)];
  const x = arrange(a, [...batch, ...rows, ...inner], sizes).data;
  const w = arrange(b, [...batch, ...inner, ...columns], sizes).data;
  const labels = [...batch, ...rows, ...columns];
  const count = size(batch);
  const data = x instanceof Float32Array ? new Float32Array(count * m * n) : new Float64Array(count * m * n);
  for (let g = 0; g < count; g++) product(m, n, k, x, g * m * k, w, g * k * n, data, g * m * n);
  return { labels, dims: labels.map(label => sizes.get(label)!), data };
}

/** Labels of all operands and of the result of an equation. An ellipsis becomes labels `.0`, `.1` … counted from its end. */
export function parseEinsum(node: Node, shapes: readonly (readonly number[])[]) {
  const equation = text(node, 'equation', '').replaceAll(' ', '');
  const [left, right] = equation.split('->');
  const terms = left.split(',');
  if (terms.length !== shapes.length)
    fail(node, `equation '${equation}' has ${terms.length} operands for ${shapes.length} inputs`);
  const dots = (count: number) => Array.from({ length: count }, (_, i) => `.${count - 1 - i}`);
  const sizes = new Map<string, number>();
  let widest = 0;
  const operands = terms.map((term, t) => {
    const [before, after] = term.split('...');
    const hidden = after === undefined ? 0 : shapes[t].length - before.length - after.length;
    const labels = after === undefined ? [...term] : [...before, ...dots(Math.max(0, hidden)), ...after];
    if (hidden < 0 || labels.length !== shapes[t].length)
      fail(node, `equation '${equation}': operand '${term}' for a value [${shapes[t]}]`);
    widest = Math.max(widest, hidden);
    labels.forEach((label, d) => {
      const known = sizes.get(label) ?? 1;
      const size = shapes[t][d];
      if (known !== size && known !== 1 && size !== 1)
        fail(node, `equation '${equation}': '${label}' is both ${known} and ${size}`);
      sizes.set(label, known === 1 ? size : known);
    });
    return labels;
  });
  // Without an arrow: the ellipsis, then the labels that occur once, in alphabetical order.
  const once = [...sizes.keys()].filter(
    label => label[0] !== '.' && operands.flat().filter(each => each === label).length === 1,
  );
  const term = right ?? `...${once.sort().join('')}`;
  const [before, after] = term.split('...');
  const output = after === undefined ? [...term] : [...before, ...dots(widest), ...after];
  const unknown = output.find(label => !sizes.has(label));
  if (unknown !== undefined) fail(node, `equation '${equation}': '${unknown}' is in no operand`);
  return { operands, output, sizes, dims: output.map(label => sizes.get(label)!) };
}

export const operators: Operators = {
  Einsum: {
    attributes: ['equation'],
    infer: (node, inputs) => [
      {
        type: need(node, inputs, 0).type,
        dims: parseEinsum(
          node,
          inputs.map((_, i) => need(node, inputs, i).dims),
        ).dims,
      },
    ],
    run(node, inputs) {
      const values = inputs.map((_, i) => need(node, inputs, i));
      const { operands, output, sizes, dims } = parseEinsum(
        node,
        values.map(value => value.dims),
      );
      const terms = values.map(
        (value, i): Labelled => ({ labels: operands[i], dims: value.dims, data: floats(value) }),
      );
      let result = terms[0];
      for (let i = 1; i < terms.length; i++)
        result = contract(result, terms[i], new Set([...output, ...operands.slice(i + 1).flat()]), sizes);
      return [pack(values[0].type, dims, arrange(result, output, sizes).data)];
    },
  },
};
