/** Elements in another order: blocks of pixels as channels and back, sequences reversed. */
import './common.ts';
import type { Info, Value } from '../values.ts';
import { contents } from './access.ts';
import { copyStrided } from './broadcast.ts';
import { permuted, viewing } from './movement.ts';
import { axisOf, need, stridesOf } from './numeric.ts';
import { fail, type Inputs, number, type Operator, type Operators, text } from './operator.ts';

/** DepthToSpace and SpaceToDepth: [n, c, h, w] split into blocks, the axes reordered and merged again. */
const blocks = (toSpace: boolean): Operator =>
  viewing(
    (node, inputs) => {
      const { dims } = need(node, inputs, 0);
      if (dims.length !== 4) fail(node, `input has shape [${dims}], expected [n, c, h, w]`);
      const [n, c, h, w] = dims;
      const b = number(node, 'blocksize') ?? fail(node, 'attribute blocksize is missing');
      const out = toSpace ? [n, c / (b * b), h * b, w * b] : [n, c * b * b, h / b, w / b];
      if (!out.every(Number.isInteger)) fail(node, `blocks of ${b} do not divide an input of shape [${dims}]`);
      if (!toSpace) return { ...permuted([n, c, out[2], b, out[3], b], [0, 3, 5, 1, 2, 4]), out };
      const columns = text(node, 'mode', 'DCR') === 'CRD';
      const view = columns
        ? permuted([n, out[1], b, b, h, w], [0, 1, 4, 2, 5, 3])
        : permuted([n, b, b, out[1], h, w], [0, 3, 4, 1, 5, 2]);
      return { ...view, out };
    },
    toSpace ? ['blocksize', 'mode'] : ['blocksize'],
  );

const reverseSequence: Operator = {
  attributes: ['batch_axis', 'time_axis'],
  infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: need(node, inputs, 0).dims }],
  run(node, inputs) {
    const { type, dims, data: source } = need(node, inputs, 0);
    const lengths = contents(node, inputs as Inputs<Info>, 1) ?? fail(node, 'input 1 (sequence_lens) is missing');
    const [batch, time] = [number(node, 'batch_axis', 1), number(node, 'time_axis', 0)].map(a =>
      axisOf(node, a, dims.length),
    );
    if (lengths.length !== dims[batch]) fail(node, `${lengths.length} sequence lengths for a batch of ${dims[batch]}`);
    const data = source.slice() as Value['data'];
    const strides = stridesOf(dims);
    lengths.forEach((length, b) => {
      if (length < 0 || length > dims[time]) fail(node, `sequence length ${length} is outside 0 … ${dims[time]}`);
      const part = dims.map((dim, i) => (i === batch ? 1 : i === time ? length : dim));
      const backwards = strides.map((stride, i) => (i === time ? -stride : stride));
      const start = b * strides[batch];
      const last = start + Math.max(0, length - 1) * strides[time];
      copyStrided(type, part, { data: source, strides: backwards, start: last }, { data, strides, start });
    });
    return [{ type, dims, data }];
  },
};

export const operators: Operators = {
  DepthToSpace: blocks(true),
  SpaceToDepth: blocks(false),
  ReverseSequence: reverseSequence,
};
