import { check } from '../errors.ts';
import { gradients } from '../gradients.ts';
import { formatShape, operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { arange } from './constant.ts';
import { gather } from './gather.ts';

export interface GridSampleOptions {
  /** Default `bilinear`. */
  mode?: 'bilinear' | 'nearest';
  /** What lies outside of the image: zeros (default), the nearest border pixel, or its mirror image. */
  padding?: 'zeros' | 'border' | 'reflection';
  /** Whether −1 and 1 are the centres of the border pixels, or (default) their outer edges. */
  alignCorners?: boolean;
}

type Sampling = Required<GridSampleOptions>;

const op = operator<Sampling>({
  name: 'gridSample',
  infer: ([x, grid]) => {
    check(
      x.shape.length === 4 && grid.shape.length === 4 && grid.shape[3] === 2 && x.shape[0] === grid.shape[0],
      () =>
        `gridSample: input ${formatShape(x.shape)}, grid ${formatShape(grid.shape)}: expected [batch, channels, height, width] and [batch, rows, columns, 2]`,
    );
    return { shape: [x.shape[0], x.shape[1], grid.shape[1], grid.shape[2]], dtype: x.dtype };
  },
  gradient: ({ inputs: [x, grid], grads: [g], attributes, needs }) => {
    const wanted = [x, grid].filter((_, i) => needs(i));
    const found = gradients(sampled(x, grid, attributes), wanted, g);
    return [needs(0) ? found[0] : undefined, needs(1) ? found.at(-1) : undefined];
  },
  emit: (b, inputs, { attributes: { mode, padding, alignCorners } }) =>
    b.node('GridSample', inputs, {
      mode: mode === 'bilinear' ? 'linear' : mode,
      padding_mode: padding,
      align_corners: Number(alignCorners),
    }),
});

/**
 * Reads an image at given places (spatial transformer; Jaderberg et al. 2015). Gradients pass to image and grid (with
 * `nearest` to the image only).
 *
 * @param x [batch, channels, height, width]
 * @param grid [batch, rows, columns, 2], pairs (x, y) in [−1, 1] from left to right and top to bottom
 * @returns [batch, channels, rows, columns]
 */
export const gridSample = (
  x: Tensor,
  grid: Tensor,
  { mode = 'bilinear', padding = 'zeros', alignCorners = false }: GridSampleOptions = {},
): Tensor => op([x, grid], { mode, padding, alignCorners });

/** Position in pixels along an axis of `n`, moved inside by the padding rule. */
function position(g: Tensor, n: number, { padding, alignCorners }: Sampling): Tensor {
  const p = alignCorners ? g.add(1).mul((n - 1) / 2) : g.add(1).mul(n).sub(1).mul(0.5);
  if (padding === 'zeros') return p;
  if (padding === 'border') return p.clamp(0, n - 1);
  const [low, high] = alignCorners ? [0, n - 1] : [-0.5, n - 0.5];
  if (high === low) return p.mul(0);
  // A triangle wave of period 2·(high − low).
  const wave = p
    .sub(low)
    .mod(2 * (high - low))
    .sub(high - low)
    .abs();
  return wave
    .neg()
    .add(high)
    .clamp(0, n - 1);
}

/** The same as the operator, from differentiable parts: weighted sums of gathered pixels. */
function sampled(x: Tensor, grid: Tensor, a: Sampling): Tensor {
  const [batch, channels, height, width] = x.shape;
  const [, rows, columns] = grid.shape;
  const points = rows * columns;
  const pixels = x.transpose([0, 2, 3, 1]).reshape([-1, channels]);
  const first = arange(batch)
    .mul(height * width)
    .unsqueeze(1);
  const coordinate = (i: number, n: number) => position(grid.slice(3, i, i + 1).reshape([batch, points]), n, a);
  const [px, py] = [coordinate(0, width), coordinate(1, height)];
  const pixel = (cx: Tensor, cy: Tensor, weight?: Tensor): Tensor => {
    const [ix, iy] = [cx.detach().clamp(0, width - 1), cy.detach().clamp(0, height - 1)];
    const at = iy.cast('int32').mul(width).add(ix.cast('int32')).add(first);
    const value = gather(pixels, at, 0);
    const inside = cx
      .ge(0)
      .and(cx.le(width - 1))
      .and(cy.ge(0))
      .and(cy.le(height - 1))
      .cast(x.dtype);
    return value.mul((weight ? weight.mul(inside) : inside).unsqueeze(2));
  };
  const image = (value: Tensor) => value.transpose([0, 2, 1]).reshape([batch, channels, rows, columns]);
  if (a.mode === 'nearest') return image(pixel(px.round(), py.round()));
  const [x0, y0] = [px.floor(), py.floor()];
  const [right, below] = [px.sub(x0), py.sub(y0)];
  const [left, above] = [right.neg().add(1), below.neg().add(1)];
  const [x1, y1] = [x0.add(1), y0.add(1)];
  return image(
    pixel(x0, y0, left.mul(above))
      .add(pixel(x1, y0, right.mul(above)))
      .add(pixel(x0, y1, left.mul(below)))
      .add(pixel(x1, y1, right.mul(below))),
  );
}
