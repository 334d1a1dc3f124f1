import { expect, it } from 'vitest';
import { AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, Flatten, MaxPool2d } from './pool.ts';
import { wave } from './testing.ts';

const x = wave([2, 3, 5, 6], 0.3);
const at = async () => {
  const data = await x.data();
  return (n: number, c: number, i: number, j: number) => data[((n * 3 + c) * 5 + i) * 6 + j];
};

it('MaxPool2d and AvgPool2d reduce windows, with the kernel as stride', async () => {
  const value = await at();
  const largest = (await new MaxPool2d([2, 3]).forward(x).tolist()) as number[][][][];
  const average = (await new AvgPool2d([2, 3]).forward(x).tolist()) as number[][][][];
  expect([largest.length, largest[0].length, largest[0][0].length, largest[0][0][0].length]).toEqual([2, 3, 2, 2]);
  const window = [0, 1].flatMap(i => [0, 1, 2].map(j => value(1, 2, 2 + i, 3 + j)));
  expect(largest[1][2][1][1]).toBe(Math.max(...window));
  expect(average[1][2][1][1]).toBeCloseTo(window.reduce((a, b) => a + b) / 6, 6);
});

it('stride and padding are options', () => {
  expect(new MaxPool2d(3, { stride: 2, padding: 1 }).forward(x).shape).toEqual([2, 3, 3, 3]);
  expect(new AvgPool2d(2, { stride: 1 }).forward(x).shape).toEqual([2, 3, 4, 5]);
  expect(new MaxPool2d(2, { ceilMode: true }).forward(x).shape).toEqual([2, 3, 3, 3]);
});

it('adaptive pooling covers the image whatever its size', async () => {
  const value = await at();
  const image = Array.from({ length: 30 }, (_, k) => value(0, 1, Math.floor(k / 6), k % 6));
  const mean = (await new AdaptiveAvgPool2d().forward(x).data())[1];
  expect(mean).toBeCloseTo(image.reduce((a, b) => a + b) / 30, 6);
  expect((await new AdaptiveMaxPool2d().forward(x).data())[1]).toBe(Math.max(...image));
  expect(new AdaptiveAvgPool2d([2, 4]).forward(x).shape).toEqual([2, 3, 2, 4]);
});

it('Flatten merges axes', () => {
  expect(new Flatten().forward(x).shape).toEqual([2, 90]);
  expect(new Flatten(2).forward(x).shape).toEqual([2, 3, 30]);
  expect(new Flatten(0, 1).forward(x).shape).toEqual([6, 5, 6]);
});
