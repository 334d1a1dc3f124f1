/** Random draws. A node with a `seed` draws the same numbers on every run; without one each run draws anew. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { type DataType, type Info, sizeOf, type Value, zeros } from '../values.ts';
import { typeAttribute } from './cast.ts';
import { narrow, room, widen } from './half.ts';
import { floats, need, pack } from './numeric.ts';
import { fail, type Inputs, number, numbers, type Operator, type Operators } from './operator.ts';

/** Uniform numbers in [0, 1) with 32 random bits: mulberry32. */
export function uniform(seed: number | undefined): () => number {
  let state =
    seed === undefined ? Math.floor(Math.random() * 2 ** 32) : new Int32Array(Float32Array.of(seed).buffer)[0];
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A standard normal number (Box and Muller). */
const normal = (draw: () => number): number => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());

type Draw = (node: Node, draw: () => number) => () => number;

const NORMAL: Draw = (node, draw) => {
  const [mean, scale] = [number(node, 'mean', 0), number(node, 'scale', 1)];
  return () => mean + scale * normal(draw);
};
const UNIFORM: Draw = (node, draw) => {
  const [low, high] = [number(node, 'low', 0), number(node, 'high', 1)];
  return () => low + (high - low) * draw();
};

function random(make: Draw, attributes: readonly string[], like: boolean): Operator {
  const infer = (node: Node, inputs: Inputs<Info>): Info[] => {
    const source = like ? need(node, inputs, 0) : undefined;
    const dims = source?.dims ?? numbers(node, 'shape') ?? fail(node, 'attribute shape is missing');
    return [{ type: typeAttribute(node, 'dtype', source?.type ?? 'float32'), dims }];
  };
  return {
    attributes: [...attributes, 'seed', 'dtype', ...(like ? [] : ['shape'])],
    dynamic: true,
    infer,
    run(node, inputs) {
      const [{ type, dims }] = infer(node, inputs);
      if (!type.includes('float')) fail(node, `cannot draw ${type}; set dtype to a float type`);
      const draw = make(node, uniform(number(node, 'seed')));
      const data = room(type as 'float32', sizeOf(dims)) as Float32Array;
      for (let i = 0; i < data.length; i++) data[i] = draw();
      return [narrow(type, dims, data)];
    },
  };
}

const bernoulli: Operator = {
  attributes: ['dtype', 'seed'],
  dynamic: true,
  infer(node, inputs) {
    const { type, dims } = need(node, inputs, 0);
    return [{ type: typeAttribute(node, 'dtype', type), dims }];
  },
  run(node, inputs) {
    const [{ type, dims }] = bernoulli.infer!(node, inputs);
    const draw = uniform(number(node, 'seed'));
    return [
      pack(
        type,
        dims,
        floats(need(node, inputs, 0)).map(p => (draw() < p ? 1 : 0)),
      ),
    ];
  },
};

/** Draws classes from unnormalised log-probabilities [batch, classes]. */
const multinomial: Operator = {
  attributes: ['dtype', 'sample_size', 'seed'],
  dynamic: true,
  infer(node, inputs) {
    const type: DataType = typeAttribute(node, 'dtype', 'int32');
    return [{ type, dims: [need(node, inputs, 0).dims[0], number(node, 'sample_size', 1)] }];
  },
  run(node, inputs) {
    const logits = need(node, inputs, 0);
    const [{ type, dims }] = multinomial.infer!(node, inputs);
    if (logits.dims.length !== 2) fail(node, `input has shape [${logits.dims}], expected [batch, classes]`);
    const x = Float64Array.from(floats(logits));
    const [classes, draw] = [logits.dims[1], uniform(number(node, 'seed'))];
    const out = new Float64Array(sizeOf(dims));
    for (let i = 0; i < out.length; i++) {
      const row = x.subarray(Math.floor(i / dims[1]) * classes).subarray(0, classes);
      const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
      let left = draw() * row.reduce((sum, v) => sum + Math.exp(v - top), 0);
      let k = 0;
      while (k < classes - 1 && (left -= Math.exp(row[k] - top)) >= 0) k++;
      out[i] = k;
    }
    return [pack(type, dims, out)];
  },
};

/** Passes its input on; with `training_mode` (input 2, opset 12) drops elements and scales the rest. */
const dropout: Operator = {
  attributes: ['ratio', 'seed'],
  infer(node, inputs) {
    const { type, dims } = need(node, inputs, 0);
    return [
      { type, dims },
      { type: node.version < 10 ? type : 'bool', dims },
    ];
  },
  run(node, inputs) {
    const x = need(node, inputs, 0);
    const [, mask] = dropout.infer!(node, inputs);
    const ratio = node.version < 12 ? 0 : inputs[1] ? floats(inputs[1])[0] : 0.5;
    const training = node.version >= 12 && inputs[2]?.data[0] === 1 && ratio > 0;
    const keep = new Float32Array(sizeOf(x.dims)).fill(1);
    let out: Value = x;
    if (training) {
      if (x.type === 'string' || ratio >= 1) return fail(node, `cannot drop ${ratio} of ${x.type} elements`);
      const draw = uniform(number(node, 'seed'));
      const [from, to] = [widen(x) as Float32Array, room(x.type, keep.length) as Float32Array];
      for (let i = 0; i < keep.length; i++) {
        if (draw() < ratio) keep[i] = 0;
        to[i] = (from[i] * keep[i]) / (1 - ratio);
      }
      out = narrow(x.type, x.dims, to);
    }
    if (!node.outputs[1]) return [out];
    if (mask.type !== 'bool') return [out, pack(mask.type, x.dims, keep)];
    const data = zeros('bool', keep.length) as Uint8Array;
    data.set(keep);
    return [out, { type: 'bool', dims: x.dims, data }];
  },
};

export const operators: Operators = {
  RandomNormal: random(NORMAL, ['mean', 'scale'], false),
  RandomNormalLike: random(NORMAL, ['mean', 'scale'], true),
  RandomUniform: random(UNIFORM, ['low', 'high'], false),
  RandomUniformLike: random(UNIFORM, ['low', 'high'], true),
  Bernoulli: bernoulli,
  Multinomial: multinomial,
  Dropout: dropout,
};
