/** ReverseSequence. */
import './common.ts';
import type { Info, Value } from '../values.ts';
import { contents } from './access.ts';
import { copyStrided } from './broadcast.ts';
import { axisOf, need, stridesOf } from './numeric.ts';
import { fail, type Inputs, number, type Operator, type Operators } from './operator.ts';

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

export const reverseSequenceOperators: Operators = {
  ReverseSequence: reverseSequence,
};
