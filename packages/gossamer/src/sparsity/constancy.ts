import { type Node, type Parameter, sizeOf, type Traced } from '@gossamer/tensor';
import { matchingRuns } from './channel-shapes.ts';

/** What is known of a part of a tensor whatever the network's input: nothing, that it is constant, that it is zero. */
export const Known = { varies: 0, constant: 1, zero: 2 } as const;

/** For each axis of a tensor, what is known of the slice at each position. */
export type Constancy = readonly Uint8Array[];

type Rule = (node: Node, inputs: readonly Constancy[]) => Constancy;

/**
 * Which slices of the tensors of a network cannot depend on its input: a filter without weights gives its bias
 * everywhere, a normalised channel without scale its shift, and so on through activations and pooling. What is not
 * understood counts as varying.
 *
 * @param values of the parameters that are to be looked at, e.g. under a mask; the others count as constant, not zero
 */
export function constancy(
  traced: Traced,
  values: ReadonlyMap<Parameter, Float32Array>,
): ReadonlyMap<Node, readonly Constancy[]> {
  const found = new Map<Node, readonly Constancy[]>();
  const inputs = new Set(traced.inputs);
  for (const node of traced.nodes) {
    if (node.inputs.length === 0) {
      const parameter = traced.parameters.get(node);
      const data = parameter ? values.get(parameter) : node.data;
      found.set(node, [inputs.has(node) ? unknown(node.shape) : ofLeaf(node, data as Float32Array | undefined)]);
    } else if (node.op.name === 'part') {
      found.set(node, [found.get(node.inputs[0])![(node.attributes as { index: number }).index]]);
    } else {
      const given = node.inputs.map(i => found.get(i)![0]);
      const several = (multiRules[node.op.name] ?? varying)(node, given);
      found.set(node, node.parts ? several : [(rules[node.op.name] ?? pointwise)(node, given)]);
    }
  }
  return found;
}

/** What is known of each element of some axes of a tensor, row-major. */
export function knownElements(x: Constancy, shape: readonly number[], axes: readonly number[]): Uint8Array {
  const size = sizeOf(axes.map(k => shape[k]));
  const flat = new Uint8Array(size);
  let inner = size;
  for (const k of axes) {
    inner /= shape[k];
    for (let e = 0; e < size; e++) flat[e] = Math.max(flat[e], x[k][Math.floor(e / inner) % shape[k]]);
  }
  return flat;
}

const unknown = (shape: readonly number[]): Uint8Array[] => shape.map(d => new Uint8Array(d));
const all = (shape: readonly number[], known: number): Uint8Array[] => shape.map(d => new Uint8Array(d).fill(known));

/** What is known of the whole tensor. */
const overall = (x: Constancy): number => (x.length === 0 ? Known.constant : Math.max(...x.map(least)));
const least = (axis: Uint8Array): number => axis.reduce((a, b) => Math.min(a, b), Known.zero as number);

function ofLeaf({ shape, op, attributes }: Node, data: Float32Array | undefined): Constancy {
  if (op.name === 'constant' && (attributes as { value: number }).value === 0) return all(shape, Known.zero);
  return shape.map((length, axis) => {
    const out = new Uint8Array(length).fill(data ? Known.zero : Known.constant);
    if (!data) return out;
    const inner = sizeOf(shape.slice(axis + 1));
    for (let e = 0; e < data.length; e++) if (data[e] !== 0) out[Math.floor(e / inner) % length] = Known.constant;
    return out;
  });
}

const zeroToZero = new Set(
  (
    'neg abs sign floor ceil round sqrt sin tan asin atan tanh erf relu gelu geluTanh expm1 log1p leakyRelu elu ' +
    'straightThrough stopGradient cast add sub minimum maximum'
  ).split(' '),
);
const products = new Set(['mul', 'and']);
/** Operators that are computed element by element. */
const elementwise = new Set(
  'exp log reciprocal cos acos sigmoid softplus clamp where div pow mod eq lt le gt ge or xor not'.split(' '),
);

/** Element by element with broadcasting. */
const pointwise: Rule = (node, inputs) => {
  const { name } = node.op;
  const { shape } = node;
  if (!zeroToZero.has(name) && !products.has(name) && !elementwise.has(name)) return unknown(shape);
  // The choice of `where` may come from the input.
  return shape.map((length, axis) => {
    const out = new Uint8Array(length);
    const own = inputs.map((x, i) => {
      const at = axis - (shape.length - x.length);
      const along = at >= 0 && node.inputs[i].shape[at] === length ? x[at] : undefined;
      return { along, whole: overall(x) };
    });
    for (let p = 0; p < length; p++) {
      const known = own.map(({ along, whole }) => Math.max(along?.[p] ?? 0, whole));
      const lowest = Math.min(...known);
      if (products.has(name) && known.includes(Known.zero)) out[p] = Known.zero;
      else if (lowest === Known.zero) out[p] = zeroToZero.has(name) ? Known.zero : Known.constant;
      else out[p] = lowest;
    }
    return out;
  });
};

const perChannelShift =
  (scale: (i: readonly Constancy[]) => Uint8Array, shift: (i: readonly Constancy[]) => Uint8Array | undefined): Rule =>
  (node, inputs) => {
    const out = unknown(node.shape);
    const [x] = inputs;
    const [s, b] = [scale(inputs), shift(inputs)];
    for (let p = 0; p < out[1].length; p++) {
      if (s[p] === Known.zero) out[1][p] = !b || b[p] === Known.zero ? Known.zero : Known.constant;
      else if (x[1][p] !== Known.varies) out[1][p] = Known.constant;
    }
    return out;
  };

/** Pooling and resizing: a constant channel stays one, except for zeros that padding mixes in. */
const spatial: Rule = (node, [x]) => {
  const { begin = [], end = [] } = node.attributes as { begin?: readonly number[]; end?: readonly number[] };
  const padded = [...begin, ...end].some(p => p !== 0);
  const keeps = node.op.name !== 'averagePool' || !padded;
  return node.shape.map((d, i) => {
    if (i > 1) return new Uint8Array(d);
    return keeps ? x[i] : x[i].map(k => (k === Known.zero ? k : Known.varies));
  });
};

/** Weights of which rows, and what becomes of them without weights. */
const layerOutput = (node: Node, axis: number, rows: Uint8Array, bias: Uint8Array | undefined): Constancy => {
  const out = unknown(node.shape);
  for (let p = 0; p < rows.length; p++) {
    if (rows[p] === Known.zero) out[axis][p] = !bias || bias[p] === Known.zero ? Known.zero : Known.constant;
  }
  return out;
};

const statistic: Rule = (node, [x]) => {
  const { axes } = node.attributes as { axes: readonly number[] };
  const keepsZero = node.op.name !== 'logsumexp';
  return x.map((a, i) => {
    if (axes.includes(i)) return new Uint8Array(1).fill(Math.min(overall(x), Known.constant));
    return keepsZero ? a : a.map(k => Math.min(k, Known.constant));
  });
};

const rules: Readonly<Record<string, Rule>> = {
  ...Object.fromEntries(['sum', 'mean', 'max', 'min', 'prod', 'logsumexp'].map(name => [name, statistic])),
  maxPool: spatial,
  averagePool: spatial,
  resize: spatial,
  batchNormInference: perChannelShift(
    ([, gamma]) => gamma[0],
    ([, , beta]) => beta[0],
  ),
  channelAffine: perChannelShift(
    ([, scale]) => scale[0],
    ([, , shift]) => shift?.[0],
  ),
  linear: (node, [, w, bias]) => layerOutput(node, node.shape.length - 1, w[0], bias?.[0]),
  conv: (node, [x, w, bias]) => {
    const out = layerOutput(node, 1, w[0], bias?.[0]);
    const { groups, begin, end } = node.attributes as { groups: number; begin: number[]; end: number[] };
    const [, weight] = node.inputs;
    if (weight.shape[1] !== 1 || weight.shape[0] !== groups) return out;
    // A depthwise filter sees its own channel only; padding mixes zeros into it.
    const padded = [...begin, ...end].some(p => p !== 0);
    for (let p = 0; p < out[1].length; p++) {
      const zero = x[1][p] === Known.zero && (!bias || bias[0][p] === Known.zero);
      const constant = x[1][p] === Known.zero || (x[1][p] === Known.constant && !padded);
      if (zero || constant) out[1][p] = Math.max(out[1][p], zero ? Known.zero : Known.constant);
    }
    return out;
  },

  matmul: (node, [a, b]) => {
    const swapped = node.attributes as { a: boolean; b: boolean };
    const rows = a.at(swapped.a ? -1 : -2)!;
    const columns = b.at(swapped.b ? -2 : -1)!;
    const rank = node.shape.length;
    const zeros = (x: Uint8Array) => x.map(k => (k === Known.zero ? k : Known.varies));
    return node.shape.map((length, axis) => {
      if (axis >= rank - 2) return zeros(axis === rank - 2 ? rows : columns);
      const out = new Uint8Array(length);
      for (const x of [a, b]) {
        const along = x[axis - (rank - x.length)];
        if (along?.length === length)
          along.forEach((k, p) => {
            if (k === Known.zero) out[p] = k;
          });
      }
      return out;
    });
  },

  softmax: (node, [x]) => {
    const { axis } = node.attributes as { axis: number };
    return x.map((a, i) => (i === axis ? new Uint8Array(a.length) : a.map(k => Math.min(k, Known.constant))));
  },
  rotary: (_, [x]) =>
    x.map((a, i) => (i < x.length - 2 ? a.map(k => (k === Known.zero ? k : Known.varies)) : new Uint8Array(a.length))),

  transpose: ({ attributes }, [x]) => (attributes as { perm: readonly number[] }).perm.map(p => x[p]),
  reshape: (node, [x]) => reshaped(node.inputs[0].shape, x, node.shape),
  expand: ({ shape, inputs: [input] }, [x]) =>
    shape.map((length, axis) => {
      const own = axis - (shape.length - x.length);
      return own >= 0 && input.shape[own] === length ? x[own] : new Uint8Array(length).fill(overall(x));
    }),
  slice: ({ shape, attributes }, [x]) => {
    const { ranges } = attributes as { ranges: readonly { axis: number; start: number; step: number }[] };
    return x.map((a, axis) => {
      const range = ranges.find(r => r.axis === axis);
      return range ? Uint8Array.from({ length: shape[axis] }, (_, i) => a[range.start + i * range.step]) : a;
    });
  },
  pad: ({ shape, attributes }, [x]) => {
    const { pads, mode, value } = attributes as {
      pads: readonly (readonly [number, number, number])[];
      mode: string;
      value: number;
    };
    const added = mode !== 'constant' ? Known.varies : value === 0 ? Known.zero : Known.constant;
    return x.map((a, axis) => {
      const pad = pads.find(p => p[0] === axis);
      const others = pads.some(p => p[0] !== axis);
      const own = others ? a.map(k => (k === Known.zero && added === Known.zero ? k : Known.varies)) : a;
      if (!pad) return own;
      const out = new Uint8Array(shape[axis]).fill(added);
      out.set(own, pad[1]);
      return out;
    });
  },
  concat: ({ shape, attributes }, inputs) => {
    const { axis } = attributes as { axis: number };
    return shape.map((length, i) => {
      const own = inputs.map(x => x[i]);
      return i === axis
        ? Uint8Array.from(own.flatMap(a => [...a]))
        : Uint8Array.from({ length }, (_, p) => Math.min(...own.map(a => a[p])));
    });
  },
};

type MultiRule = (node: Node, inputs: readonly Constancy[]) => Constancy[];

const varying: MultiRule = ({ parts }) => parts?.map(({ shape }) => unknown(shape)) ?? [];

const multiRules: Readonly<Record<string, MultiRule>> = {
  split: ({ attributes }, [x]) => {
    const { axis, lengths } = attributes as { axis: number; lengths: readonly number[] };
    let next = 0;
    return lengths.map(length => {
      const start = next;
      next += length;
      // Along the other axes a piece may know more than the whole; what the whole knows holds for it.
      return x.map((a, i) => (i === axis ? a.slice(start, start + length) : a));
    });
  },
};

function reshaped(from: readonly number[], x: Constancy, to: readonly number[]): Constancy {
  const out = all(to, overall(x));
  for (const { olds, news } of matchingRuns(from, to)) {
    const flat = knownElements(x, from, olds);
    const size = flat.length;
    let inner = size;
    for (const k of news) {
      inner /= to[k];
      const axis = new Uint8Array(to[k]).fill(Known.zero);
      for (let e = 0; e < size; e++) {
        const p = Math.floor(e / inner) % to[k];
        axis[p] = Math.min(axis[p], flat[e]);
      }
      out[k] = axis;
    }
  }
  return out;
}
