import { concat, multiOperator, type Tensor } from '@gossamer/tensor';

const op = multiOperator<{ axis: number; lengths: readonly number[] }>({
  name: 'cut',
  infer: ([x], { axis, lengths }) =>
    lengths.map(n => ({ shape: x.shape.map((d, i) => (i === axis ? n : d)), dtype: x.dtype })),
  gradient: ({ grads, attributes: { axis } }) => [concat(grads, axis)],
  emit: (b, [x], { attributes: { axis, lengths } }) => b.multi('Split', [x, b.dims(lengths)], { axis }, lengths.length),
});

/**
 * All pieces of a tensor along an axis, of the given lengths, as one ONNX node whose gradient is one concatenation.
 * Slices would cost a padded copy of the whole for each piece on the way back: T² for a sequence unrolled over T steps.
 */
export const cut = (x: Tensor, lengths: readonly number[], axis: number): Tensor[] => op([x], { axis, lengths });
