/** Candidates of `fuse-attention.ts` when shapes are known: one operator that reads by strides, or the nodes as they were. */
import type { Node } from '../load/graph.ts';
import { broadcastShapes } from '../ops/broadcast.ts';
import { number, numbers } from '../ops/operator.ts';
import { type Info, sizeOf } from '../values.ts';
import type { Candidate, Link, Operand } from './fuse-attention.ts';

type Infos = ReadonlyMap<string, Info>;

/** Domain of operators whose operands are described by strides: `attention.ts`. */
export const STRIDED = 'strided';

/** Element i of an axis lies at ⌊i / repeat⌋ · stride. */
interface Axis {
  readonly dim: number;
  readonly stride: number;
  readonly repeat: number;
}

interface View {
  readonly axes: readonly Axis[];
  readonly offset: number;
  readonly scale: number;
}

const ONE: Axis = { dim: 1, stride: 0, repeat: 1 };

const denseAxes = (dims: readonly number[]): Axis[] =>
  dims.map((dim, i) => ({ dim, stride: sizeOf(dims.slice(i + 1)), repeat: 1 }));

/** Two neighbouring axes as one, where that has a stride or repeats. */
function merge(a: Axis, b: Axis): Axis | undefined {
  if (a.repeat !== 1 || b.repeat !== 1) return undefined;
  if (b.stride === 0 && a.stride !== 0) return { dim: a.dim * b.dim, stride: a.stride, repeat: b.dim };
  return a.stride === b.dim * b.stride ? { dim: a.dim * b.dim, stride: b.stride, repeat: 1 } : undefined;
}

/** The axes after a reshape to `dims`. */
function regroup(axes: readonly Axis[], dims: readonly number[]): Axis[] | undefined {
  const from = axes.filter(({ dim }) => dim !== 1);
  const to: Axis[] = [];
  let rest: Axis | undefined;
  for (const dim of dims) {
    if (dim === 1) {
      to.push(ONE);
      continue;
    }
    rest ??= from.shift();
    while (rest && rest.dim < dim && from.length) rest = merge(rest, from.shift()!);
    if (!rest || rest.dim % dim !== 0) return undefined;
    const inner = rest.dim / dim;
    if (inner > 1 && rest.repeat !== 1) return undefined;
    to.push(inner > 1 ? { ...rest, dim, stride: rest.stride * inner } : rest);
    rest = inner > 1 ? { ...rest, dim: inner } : undefined;
  }
  return to;
}

const known = (infos: Infos, name: string): readonly number[] | undefined => {
  const data = infos.get(name)?.value?.data;
  return data && Array.from(data, Number);
};

/** A scalar that is the same on every run. */
function factor({ node, factor }: Link, infos: Infos): number | undefined {
  const info = infos.get(factor!);
  if (!info?.value || info.dims.length > 1 || info.value.data.length !== 1) return undefined;
  const value = Number(info.value.data[0]);
  return node.op === 'Mul' ? value : 1 / value;
}

/** What a link makes of a view; undefined when that is no view. */
function follow(link: Link, view: View, infos: Infos): View | undefined {
  const { node, y } = link;
  const { axes, offset } = view;
  const dims = infos.get(y)?.dims;
  if (!dims) return undefined;
  const at = (i: number) => (i < 0 ? i + axes.length : i);
  switch (node.op) {
    case 'Identity':
      return view;
    case 'Mul':
    case 'Div': {
      const by = factor(link, infos);
      return by === undefined ? undefined : { ...view, scale: view.scale * by };
    }
    case 'Transpose':
      return { ...view, axes: (numbers(node, 'perm') ?? axes.map((_, i) => axes.length - 1 - i)).map(i => axes[i]) };
    case 'Expand': {
      const before = dims.length - axes.length;
      return {
        ...view,
        axes: dims.map((dim, i) => (i >= before && axes[i - before].dim === dim ? axes[i - before] : { ...ONE, dim })),
      };
    }
    case 'Split': {
      const axis = at(number(node, 'axis', 0));
      const before = node.outputs
        .slice(0, node.outputs.indexOf(y))
        .map(name => infos.get(name)?.dims[axis] ?? Number.NaN);
      const start = before.reduce((sum, dim) => sum + dim, 0);
      const { repeat, stride } = axes[axis];
      if (repeat !== 1 || Number.isNaN(start)) return undefined;
      return {
        ...view,
        axes: axes.map((a, i) => (i === axis ? { ...a, dim: dims[i] } : a)),
        offset: offset + start * stride,
      };
    }
    case 'Gather': {
      const index = infos.get(node.inputs[1])?.dims.length === 0 ? known(infos, node.inputs[1])?.[0] : undefined;
      const axis = at(number(node, 'axis', 0));
      const { dim, stride, repeat } = axes[axis];
      if (index === undefined || repeat !== 1) return undefined;
      const start = offset + (index < 0 ? index + dim : index) * stride;
      return { ...view, axes: axes.filter((_, i) => i !== axis), offset: start };
    }
    default: {
      const made = regroup(axes, dims);
      return made && { ...view, axes: made };
    }
  }
}

/** [item, head, row, column] of an operand with as many axes or fewer. */
const four = <T>(axes: readonly T[], one: T): T[] => {
  const lead = axes.slice(0, -2);
  return [lead[0] ?? one, lead[1] ?? one, ...axes.slice(-2)];
};

interface Found extends View {
  readonly source: string;
  readonly rank: number;
}

/** The earliest value that an operand is a view of whose rows are contiguous. */
function find({ name, links }: Operand, infos: Infos, { swap = false, scales = true }): Found | undefined {
  for (let from = 0; from <= links.length; from++) {
    const source = links[from]?.x ?? name;
    const info = infos.get(source);
    if (info?.type !== 'float32') continue;
    let view: View | undefined = { axes: denseAxes(info.dims), offset: 0, scale: 1 };
    for (const link of links.slice(from)) view &&= follow(link, view, infos);
    const rank = view?.axes.length ?? 0;
    if (!view || rank < 2 || rank > 4 || (!scales && view.scale !== 1)) continue;
    const axes = four(view.axes, ONE);
    if (swap) axes.push(axes.splice(2, 1)[0]);
    const [item, , row, column] = axes;
    if ([item, row, column].every(a => a.repeat === 1) && (column.stride === 1 || column.dim === 1))
      return { ...view, axes, source, rank };
  }
  return undefined;
}

const same = (a: readonly number[] | undefined, b: readonly number[]): boolean =>
  a?.length === b.length && a.every((d, i) => d === b[i]);

const fits = (dims: readonly number[], to: readonly number[]): boolean =>
  dims.length <= to.length && dims.every((d, i) => d === 1 || d === to[i + to.length - dims.length]);

/** Strides of values that broadcast: 0 where there is one item only. */
const broadcastStrides = (dims: readonly number[]): number[] => denseAxes(dims).map(a => (a.dim === 1 ? 0 : a.stride));

/** A standard node in its place. */
const bare = ({ name, outputs }: Node): Node => ({
  ...{ name, outputs, op: '', domain: '', version: 14 },
  inputs: [],
  attributes: {},
});

/** One that computes an attention candidate by strides, with what its mask and gate need; undefined: its parts must. */
export function resolveAttention(candidate: Candidate, infos: Infos): Node[] | undefined {
  const { q: queries, k: keysOf, v: values, scales, masks, zero, axis, gate, folds, perm } = candidate.attention!;
  const q = find(queries, infos, {});
  const k = find(keysOf, infos, { swap: true });
  const v = find(values, infos, { scales: false });
  if (!q || !k || !v || q.rank !== k.rank || k.rank !== v.rank) return undefined;
  const { rank } = q;
  if (axis !== -1 && axis !== rank - 1) return undefined;
  const [[, , rows, depth], [, , count, kDepth], [, , vCount, columns]] = [q.axes, k.axes, v.axes];
  const broadcast = (i: number, of: readonly Found[]) => {
    const dim = Math.max(...of.map(view => view.axes[i].dim));
    return of.every(view => view.axes[i].dim === 1 || view.axes[i].dim === dim) ? dim : 0;
  };
  const batch = broadcast(0, [q, k, v]);
  const heads = broadcast(1, folds ? [q] : [q, k, v]);
  const shared = broadcast(1, [k, v]);
  let repeat = Math.max(k.axes[1].repeat, v.axes[1].repeat);
  if (depth.dim !== kDepth.dim || count.dim !== vCount.dim || q.axes[1].repeat !== 1) return undefined;
  if (folds) {
    if (rank !== 4 || repeat !== 1 || perm || heads % shared !== 0) return undefined;
    repeat = heads / shared;
    const folded = [batch, shared, repeat * rows.dim];
    const target = (i: number, dims: readonly number[]) =>
      same(
        known(infos, folds[i].inputs[1])?.map((d, axis) => (d < 0 ? dims[axis] : d)),
        dims,
      );
    if (!same(infos.get(folds[0].outputs[0])?.dims, [...folded, depth.dim])) return undefined;
    if (!target(1, [batch, heads, rows.dim, count.dim]) || !target(2, [...folded, count.dim])) return undefined;
    if (k.axes[1].dim !== shared || v.axes[1].dim !== shared) return undefined;
  } else if ([k, v].some(view => view.axes[1].dim > 1 && view.axes[1].repeat !== repeat)) return undefined;
  if (!batch || !heads || !rows.dim || !count.dim || !depth.dim || !columns.dim) return undefined;
  let scale = q.scale * k.scale;
  for (const link of scales) scale *= factor(link, infos) ?? Number.NaN;
  if (!Number.isFinite(scale)) return undefined;

  const outDims = [batch, heads, rows.dim, columns.dim];
  const plain = folds
    ? [batch, shared, repeat * rows.dim, columns.dim]
    : [...outDims.slice(0, rank - 2), ...outDims.slice(2)];
  const dims = perm ? perm.map(i => plain[i]) : plain;
  if (perm && perm.length !== rank) return undefined;
  const written = denseAxes(dims).map(({ stride }) => stride);
  const y = four(perm ? plain.map((_, i) => written[perm.indexOf(i)]) : written, 0);
  if (folds) y.splice(0, 3, heads * rows.dim * columns.dim, rows.dim * columns.dim, columns.dim);

  const name = candidate.outputs[0];
  const make = (op: string, inputs: string[], output: string): Node => ({
    ...bare(candidate),
    op,
    inputs,
    outputs: [output],
  });
  const nodes: Node[] = [];
  let mask: { name: string; dims: readonly number[] } | undefined;
  for (const [i, { name: given, where }] of masks.entries()) {
    let next = given;
    if (where) {
      next = `${name} mask ${i}`;
      nodes.push(
        make(
          'Where',
          where.inputs.map((input, j) => (j === 0 || input === given ? input : zero)),
          next,
        ),
      );
    }
    const { type, dims } = infos.get(where?.inputs[0] ?? given)!;
    if (!where && type !== 'float32') return undefined;
    if (mask) {
      nodes.push(make('Add', [mask.name, next], (next = `${name} masks ${i}`)));
      mask = { name: next, dims: broadcastShapes(candidate, [mask.dims, dims]) };
    } else mask = { name: next, dims };
  }
  const scoreDims = [...outDims.slice(0, rank - 2), rows.dim, count.dim];
  if (mask && (!fits(mask.dims, scoreDims) || mask.dims.at(-1) !== count.dim)) return undefined;
  const gateDims = gate === undefined ? undefined : infos.get(gate)!.dims;
  if (gateDims && (perm || (folds ? sizeOf(gateDims) !== 1 : gateDims.at(-1) !== 1) || !fits(gateDims, dims)))
    return undefined;

  const place = ({ axes, offset }: Found) => [offset, ...axes.slice(0, 3).map(a => (a.dim === 1 ? 0 : a.stride))];
  const maskDims = mask && [...scoreDims.map(() => 1), ...mask.dims].slice(-rank);
  nodes.push({
    ...make(
      'Attention',
      [q.source, k.source, v.source, ...(mask ? [mask.name] : [])],
      gateDims ? `${name} whole` : name,
    ),
    domain: STRIDED,
    attributes: {
      sizes: [batch, heads, heads / repeat, rows.dim, count.dim, depth.dim, columns.dim],
      ...{ q: place(q), k: place(k), v: place(v), y: [0, ...y.slice(0, 3)], dims, scale },
      ...(maskDims && { mask: [0, ...four(broadcastStrides(maskDims), 0).slice(0, 3)] }),
    },
  });
  if (gateDims) nodes.push(make('Mul', [`${name} whole`, gate!], name));
  return nodes;
}

/** x [.., rows, depth], or [batch, rows, heads, depth] with `rows` 1, and tables [rows, depth / 2]. */
export function resolveRotary(candidate: Candidate, infos: Infos): Node[] | undefined {
  const [x, ...tables] = candidate.rotary!.map(name => infos.get(name)!);
  const { dims } = x;
  const rank = dims.length;
  const first = number(candidate, 'rows') === 1;
  const axis = number(candidate, 'axis', 0);
  const rows = dims[first ? 1 : rank - 2];
  const half = dims[rank - 1] / 2;
  if (rank < 2 || (first && rank !== 4) || (axis !== -1 && axis !== rank - 1)) return undefined;
  const fine = tables.every(info => sizeOf(info.dims) === rows * half && same(info.dims.slice(-2), [rows, half]));
  const sizes = candidate.inputs.find(name => !candidate.rotary!.includes(name));
  if (sizes !== undefined && !same(known(infos, sizes), [half, half])) return undefined;
  if (!fine || [x, ...tables].some(({ type }) => type !== 'float32') || sizeOf(dims) === 0) return undefined;
  if (tables.some(info => info.dims.length > rank)) return undefined;
  const heads = first ? dims[2] : 1;
  const batch = sizeOf(dims) / (heads * rows * 2 * half);
  const attributes = { sizes: [batch, heads, rows, 2 * half] };
  return [{ ...bare(candidate), op: 'Rotary', domain: STRIDED, inputs: candidate.rotary!, attributes }];
}
