import { expect, it } from 'vitest';
import { tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { unfold } from './unfold.ts';

it('lists the taps of each position', async () => {
  const x = tensor([0, 1, 2, 3, 4, 5, 6, 7, 8], [1, 1, 3, 3]);
  expect(await unfold(x, [2, 2]).tolist()).toEqual([
    [
      [
        [
          [0, 1],
          [3, 4],
        ],
        [
          [1, 2],
          [4, 5],
        ],
        [
          [3, 4],
          [6, 7],
        ],
        [
          [4, 5],
          [7, 8],
        ],
      ],
    ],
  ]);
  expect(await unfold(tensor([1, 2, 3], [1, 1, 3]), [2], { stride: 2, padding: 1 }).tolist()).toEqual([
    [
      [
        [0, 2],
        [1, 3],
      ],
    ],
  ]);
});

it('is its own copy for a window of one', async () => {
  const x = randn([2, 3, 4]);
  expect(await unfold(x, [1]).data()).toEqual(await x.data());
});

it.each([
  ['overlap', [2, 2, 5, 4], [2, 3], { stride: [2, 1], padding: 1 }],
  ['tiles with a rest', [1, 2, 5, 7], [2, 3], { stride: [2, 3] }],
  [
    'tiles and padding at the end',
    [1, 1, 5, 4],
    [2, 2],
    {
      stride: 2,
      padding: [
        [0, 1],
        [0, 0],
      ] as [number, number][],
    },
  ],
  ['volumes', [1, 2, 4, 2, 6], [2, 1, 3], { stride: [2, 1, 3] }],
  ['dilation', [1, 2, 7], [3], { dilation: 2 }],
])('has first and second derivatives: %s', async (_, shape, kernel, options) => {
  await checkGradients(x => unfold(x, kernel, options).square(), [randn(shape)], { samples: 8 });
});

it('says what does not fit', () => {
  expect(() => unfold(randn([1, 1, 3, 3]), [2])).toThrow('one entry for each of 1 to 3 spatial axes');
  expect(() => unfold(randn([1, 1, 3]), [4])).toThrow('does not fit into [3]');
});
