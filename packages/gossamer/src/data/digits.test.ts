import { FormatError } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { embeddedDigits, parseGrey } from './digits.ts';

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('embeddedDigits', () => {
  it('holds 10,000 different real digits, about 1000 of each', async () => {
    const { train, test } = await embeddedDigits();
    expect([train.length, test.length]).toEqual([8000, 2000]);
    const counts = new Array<number>(10).fill(0);
    const images = new Set<string>();
    let total = 0;
    for (const part of [train, test]) {
      const { inputs, labels } = part.fields;
      expect(inputs.shape.slice(1)).toEqual([1, 28, 28]);
      labels.data.forEach((label, i) => {
        counts[label]++;
        images.add(Buffer.from(inputs.data.subarray(784 * i, 784 * (i + 1))).toString('latin1'));
      });
      for (const value of inputs.data) total += value;
    }
    expect(counts).toEqual([1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]);
    expect(images.size).toBe(10_000);
    expect(total / 255 / 784 / 10_000).toBeCloseTo(0.1309, 3);
  });

  it('splits by seed, in the size asked for', async () => {
    const [a, b, c] = [await embeddedDigits(), await embeddedDigits(), await embeddedDigits({ seed: 1, test: 100 })];
    expect(a.test.fields.labels).toEqual(b.test.fields.labels);
    expect(c.test.length).toBe(100);
    expect(c.test.fields.labels.data).not.toEqual(a.test.fields.labels.data.slice(0, 100));
    await expect(embeddedDigits({ test: 10_000 })).rejects.toThrow('10000 test digits of 10000');
  });
});

describe('parseGrey', () => {
  it('reads plain decimals as bytes', () => {
    const row = ['0', '1', '0.5', '0.996', ' 0.004\n', ...new Array(779).fill('0')];
    expect([...parseGrey(ascii(`{ "data": [${row}] }`), 'x').subarray(0, 5)]).toEqual([0, 255, 128, 254, 1]);
  });

  it('refuses other text, values above 1 and partial images', () => {
    for (const text of [
      '',
      '{}',
      '[',
      '[]',
      '[0,0]',
      `[${new Array(784).fill('2')}]`,
      `[${new Array(784).fill('1e-3')}]`,
    ]) {
      expect(() => parseGrey(ascii(text), 'x'), text.slice(0, 10)).toThrow(FormatError);
    }
  });
});
