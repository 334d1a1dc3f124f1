import { FormatError } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { readCifar } from './cifar.ts';

const record = (...labels: number[]): Uint8Array =>
  Uint8Array.from([...labels, ...Array.from({ length: 3072 }, (_, i) => i)]);
const join = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

describe('readCifar', () => {
  it('reads batches of any number of records in order', () => {
    const { inputs, labels } = readCifar([join(record(3), record(9)), record(0)]);
    expect(labels).toEqual({ dtype: 'int32', shape: [3], data: Int32Array.from([3, 9, 0]) });
    expect(inputs.shape).toEqual([3, 3, 32, 32]);
    expect(inputs.data.subarray(3072, 6144)).toEqual(record(9).subarray(1));
  });

  it('takes the fine label of CIFAR-100', () => {
    const { labels } = readCifar(record(19, 99), { labelBytes: 2 });
    expect(labels.data).toEqual(Int32Array.from([99]));
  });

  it('refuses partial records, no records and labels out of range', () => {
    expect(() => readCifar(record(1).subarray(1))).toThrow(FormatError);
    expect(() => readCifar(new Uint8Array(0))).toThrow('0 bytes are no whole number of 3073-byte records');
    expect(() => readCifar(join(record(1), record(10)))).toThrow('record 1 has label 10, expected 0…9');
  });
});
