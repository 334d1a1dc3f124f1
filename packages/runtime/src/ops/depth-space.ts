/** Blocks of pixels as channels, and back. */
import './common.ts';
import { permuted, viewing } from './movement.ts';
import { need } from './numeric.ts';
import { fail, number, type Operator, type Operators, text } from './operator.ts';

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

export const depthSpaceOperators: Operators = {
  DepthToSpace: blocks(true),
  SpaceToDepth: blocks(false),
};
