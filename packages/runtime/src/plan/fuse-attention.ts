/**
 * Scaled dot-product attention and rotary embeddings as exporters write them, found without shapes. What was found is a
 * candidate that keeps the nodes it stands for: `resolve-attention.ts` decides, when shapes are known, whether a kernel takes it.
 */
import type { Node } from '../load/graph.ts';
import { number, numbers } from '../ops/operator.ts';
import type { Info } from '../values.ts';
import type { Rewriting } from './program-graph.ts';
import { resolveAttention, resolveRotary } from './resolve-attention.ts';

/** One step from a value to a view of it: the same elements in another order, or times a scalar. */
export interface Link {
  readonly node: Node;
  readonly x: string;
  readonly y: string;
  /** The scalar that Mul or Div takes. */
  readonly factor?: string;
}

export interface Operand {
  readonly name: string;
  /** How the value came about, first step first. */
  readonly links: readonly Link[];
}

/** Added to the scores; with `where`, that node's −∞ takes the place of scores where its condition says so. */
export interface Mask {
  readonly name: string;
  readonly where?: Node;
}

/** A node that stands for `parts`, which compute the same from the same inputs. */
export interface Candidate extends Node {
  readonly parts: readonly Node[];
  readonly attention?: {
    readonly q: Operand;
    /** Transposed: [.., depth, keys]. */
    readonly k: Operand;
    readonly v: Operand;
    readonly scales: readonly Link[];
    readonly masks: readonly Mask[];
    /** A constant 0, where a mask has to be made. */
    readonly zero: string;
    /** Axis of the softmax, which must be the last. */
    readonly axis: number;
    /** Factor of the softmax's rows. */
    readonly gate?: string;
    /** Heads of queries are folded into rows of their key heads: Reshapes of q, of the scores and of the softmax. */
    readonly folds?: readonly [q: Node, scores: Node, softmax: Node];
    /** A Transpose of the result. */
    readonly perm?: readonly number[];
  };
  /** x, cosines and sines; attribute `rows` is the axis of x that the tables' rows go with. */
  readonly rotary?: readonly [x: string, cosines: string, sines: string];
  /** What computes it for these shapes. */
  resolve(infos: ReadonlyMap<string, Info>): readonly Node[];
}

const other = (node: Node, name: string): string => node.inputs[node.inputs[0] === name ? 1 : 0];

const COMPUTED = ['Sqrt', 'Div', 'Cast', 'Pow', 'Reciprocal', 'Mul'];

/** Mul or Div of a value and what may be a scalar: a constant, or computed from shapes. */
function scaling(g: Rewriting, node: Node): Link | undefined {
  const [a, b] = node.inputs;
  const y = node.outputs[0];
  if (g.scalar(b) !== undefined) return { node, x: a, y, factor: b };
  if (node.op === 'Mul' && g.scalar(a) !== undefined) return { node, x: b, y, factor: a };
  return g.producer(b, ...COMPUTED) ? { node, x: a, y, factor: b } : undefined;
}

const VIEWS = ['Transpose', 'Reshape', 'Split', 'Squeeze', 'Unsqueeze', 'Expand', 'Gather', 'Identity', 'Mul', 'Div'];

function operand(g: Rewriting, name: string): Operand {
  const links: Link[] = [];
  for (let y = name; ; ) {
    const node = g.producer(y, ...VIEWS);
    if (node?.domain !== '') return { name, links };
    const link = node.op === 'Mul' || node.op === 'Div' ? scaling(g, node) : { node, x: node.inputs[0], y };
    if (!link) return { name, links };
    links.unshift(link);
    y = link.x;
  }
}

interface Scores {
  readonly product: Node;
  readonly nodes: readonly Node[];
  readonly scales: readonly Link[];
  readonly masks: readonly Mask[];
  readonly fold?: Node;
}

/** Constants that leave nothing of a score. */
const NEVER = -1e9;

function scores(g: Rewriting, name: string): Scores | undefined {
  const node = g.sole(name, 'MatMul', 'Add', 'Where', 'Mul', 'Div', 'Reshape', 'Identity');
  if (node?.domain !== '') return undefined;
  const extend = (inner: string, more: (found: Scores) => Partial<Scores> | undefined): Scores | undefined => {
    const found = scores(g, inner);
    const extra = found && more(found);
    return extra && { ...found, ...extra, nodes: [...found.nodes, node] };
  };
  const { inputs } = node;
  switch (node.op) {
    case 'MatMul':
      return g.constants.has(inputs[1]) ? undefined : { product: node, nodes: [node], scales: [], masks: [] };
    case 'Add':
      for (const [x, mask] of [inputs, [inputs[1], inputs[0]]]) {
        const found = extend(x, ({ masks }) => ({ masks: [...masks, { name: mask }] }));
        if (found) return found;
      }
      return undefined;
    case 'Where': {
      const fill = inputs.findIndex((input, i) => i > 0 && (g.scalar(input) ?? 0) <= NEVER);
      if (fill < 0) return undefined;
      return extend(inputs[3 - fill], ({ masks }) => ({ masks: [...masks, { name: inputs[fill], where: node }] }));
    }
    case 'Identity':
      return extend(inputs[0], () => ({}));
    case 'Reshape':
      return extend(inputs[0], ({ masks, fold }) => (masks.length || fold ? undefined : { fold: node }));
    default: {
      const link = scaling(g, node);
      return link && extend(link.x, ({ masks, scales }) => (masks.length ? undefined : { scales: [...scales, link] }));
    }
  }
}

/** What a candidate reads: what its parts do not make themselves. */
function candidate(node: Node, op: string, parts: readonly Node[], more: readonly string[] = []): Candidate {
  const made = new Set(parts.flatMap(part => part.outputs));
  const inputs = [...new Set([...parts.flatMap(part => part.inputs), ...more])].filter(n => n !== '' && !made.has(n));
  return {
    name: node.name,
    op,
    domain: 'candidate',
    version: node.version,
    inputs,
    outputs: node.outputs,
    attributes: {},
    parts,
    resolve(infos) {
      const found = this.rotary ? resolveRotary(this, infos) : resolveAttention(this, infos);
      return found ?? this.parts;
    },
  };
}

/** softmax(scale · q·kᵀ + mask)·v */
export function attentionRule(node: Node, g: Rewriting): boolean {
  if (node.domain !== '') return false;
  if (node.op === 'Transpose') return transposed(node, g);
  if (node.op !== 'MatMul' || g.constants.has(node.inputs[1])) return false;
  const after: Node[] = [];
  let gate: string | undefined;
  let refold: Node | undefined;
  let softmax: Node | undefined;
  for (let name = node.inputs[0]; !softmax; ) {
    const found = g.sole(name, 'Softmax', 'Identity', 'Dropout', 'Reshape', 'Mul');
    // A third input of Dropout can say that the model is being trained.
    if (found?.domain !== '' || (found.op === 'Dropout' && found.inputs[2])) return false;
    [name] = found.inputs;
    if (found.op === 'Softmax') softmax = found;
    else if (found.op === 'Mul') {
      if (gate !== undefined) return false;
      name = found.inputs.find(input => g.producer(input, 'Softmax')) ?? '';
      gate = other(found, name);
    } else if (found.op === 'Reshape') {
      if (refold || gate !== undefined) return false;
      refold = found;
    }
    after.unshift(found);
  }
  const found = scores(g, softmax.inputs[0]);
  if (!found || !found.fold !== !refold) return false;
  const [queries, keys] = found.product.inputs;
  const fold = found.fold && g.producer(queries, 'Reshape');
  if (found.fold && !fold) return false;
  const zero = found.masks.some(mask => mask.where)
    ? g.constant('zero', { type: 'float32', dims: [], data: new Float32Array(1) })
    : '';
  const parts = [...found.nodes, ...after, node];
  const made = candidate(node, 'Attention', parts, [zero, ...(fold?.inputs ?? [])]);
  const [q, k, v] = [fold ? fold.inputs[0] : queries, keys, node.inputs[1]].map(name => operand(g, name));
  const { scales, masks } = found;
  g.replace(parts, {
    ...made,
    attention: {
      ...{ q, k, v, scales, masks, zero, gate },
      axis: number(softmax, 'axis', softmax.version < 13 ? 1 : -1),
      folds: fold && [fold, found.fold!, refold!],
    },
  } as Candidate);
  return true;
}

/** A Transpose of attention's result: it is written that way. */
function transposed(node: Node, g: Rewriting): boolean {
  const perm = numbers(node, 'perm');
  const base = g.nodes[g.position(node.inputs[0])] as Candidate | undefined;
  const { attention, parts } = base ?? {};
  if (!attention || attention.perm || attention.folds || g.uses(node.inputs[0]) !== 1) return false;
  if (perm?.at(-1) !== (perm?.length ?? 0) - 1) return false;
  const made = { ...base, outputs: node.outputs, parts: [...parts!, node], attention: { ...attention, perm } };
  g.replace([base!, node], made as Candidate);
  return true;
}

/** Concat(a · c − b · s, b · c + a · s) of the halves a and b of x's rows. */
export function rotaryRule(node: Node, g: Rewriting): boolean {
  if (node.op !== 'Concat' || node.domain !== '' || node.inputs.length !== 2) return false;
  const sum = [g.sole(node.inputs[0], 'Sub'), g.sole(node.inputs[1], 'Add')];
  const products = sum.flatMap(part => part?.inputs.map(name => g.sole(name, 'Mul')) ?? []);
  const split = products[0]?.inputs.map(name => g.producer(name, 'Split')).find(Boolean);
  if (products.length !== 4 || products.some(p => !p) || split?.outputs.length !== 2) return false;
  const axis = number(node, 'axis', 0);
  const [a, b] = split.outputs;
  if (split.attributes.split || number(split, 'axis', 0) !== axis || g.uses(a) !== 2 || g.uses(b) !== 2) return false;
  const [ac, bs, ...rest] = products as Node[];
  const [c, s] = [other(ac, a), other(bs, b)];
  const is = (p: Node, x: string, y: string) => p.inputs.includes(x) && other(p, x) === y;
  const [bc, as] = is(rest[0], b, c) ? rest : [rest[1], rest[0]];
  if (!is(ac, a, c) || !is(bs, b, s) || !is(bc, b, c) || !is(as, a, s)) return false;
  const parts = [split, ac, bs, bc, as, ...(sum as Node[])];
  const swap = g.sole(split.inputs[0], 'Transpose');
  const [y] = node.outputs;
  const [inner, rotated] = [`${y} heads`, `${y} rows`];
  const back = swap && { ...swap, inputs: [inner], outputs: [rotated] };
  const early = back && candidate(back, 'Rotary', [swap, ...parts, { ...node, outputs: [inner] }, back]);
  if (
    String(swap && numbers(swap, 'perm')) !== '0,2,1,3' ||
    early!.inputs.some(name => g.position(name) > g.position(split.inputs[0]))
  ) {
    const made = candidate(node, 'Rotary', [...parts, node]);
    g.replace(made.parts, { ...made, rotary: [split.inputs[0], c, s], attributes: { axis, rows: -2 } } as Candidate);
    return true;
  }
  // Turned before the heads are brought to the front, so that attention can read what was turned by strides.
  g.replace([swap!], { ...early!, rotary: [swap!.inputs[0], c, s], attributes: { axis, rows: 1 } } as Candidate);
  g.replace([...parts, node], { ...swap!, inputs: [rotated], outputs: [y] });
  return true;
}
