/** Normalisation of groups of channels, each over itself and all its places. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import type { Value } from '../values.ts';
import { EPSILON, moments } from './normalize.ts';
import { type Floats, floats, likeFirst, need, pack, split, workspace } from './numeric.ts';
import { fail, number, type Operators } from './operator.ts';

/** Channels of a [N, C, …] input in equal groups, each normalised over itself and all its places. */
function groupNorm(node: Node, x: Value, groups: number, scale: Floats, shift: Floats): Value {
  const [batch, channels, places] = split(x.dims, 1);
  if (channels % groups !== 0) fail(node, `${channels} channels do not divide into ${groups} groups`);
  const epsilon = number(node, 'epsilon', EPSILON);
  const xs = floats(x);
  const y = workspace(x.type, xs.length);
  const length = (channels / groups) * places;
  for (let g = 0; g < batch * groups; g++) {
    const [mean, variance] = moments(xs, g * length, length);
    const inverse = 1 / Math.sqrt(variance + epsilon);
    for (let i = 0; i < length; i += places) {
      const channel = Math.floor((g % groups) * (length / places) + i / places);
      // One parameter a channel, or one a group.
      const own = Math.floor((channel * scale.length) / channels);
      const gain = inverse * scale[own];
      const start = g * length + i;
      for (let p = start; p < start + places; p++) y[p] = (xs[p] - mean) * gain + shift[own];
    }
  }
  return pack(x.type, x.dims, y);
}

export const operators: Operators = {
  InstanceNormalization: {
    attributes: ['epsilon', 'consumed_inputs'],
    infer: likeFirst,
    run(node, inputs) {
      const x = need(node, inputs, 0);
      return [groupNorm(node, x, x.dims[1], floats(need(node, inputs, 1)), floats(need(node, inputs, 2)))];
    },
  },
  GroupNormalization: {
    attributes: ['epsilon', 'num_groups', 'stash_type'],
    infer: likeFirst,
    run(node, inputs) {
      const [scale, shift] = [1, 2].map(i => floats(need(node, inputs, i)));
      return [groupNorm(node, need(node, inputs, 0), number(node, 'num_groups', 1), scale, shift)];
    },
  },
};
