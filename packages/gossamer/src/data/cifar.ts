import { check, FormatError, type NDArray } from '@gossamer/tensor';

const PIXELS = 3 * 32 * 32;

/**
 * Reads CIFAR binary batches (https://www.cs.toronto.edu/~kriz/cifar.html): records of the label bytes and 3072 pixel
 * bytes, the R, G and B planes of 32×32. Any number of records a batch. `bytes` are uncompressed.
 *
 * @param options.labelBytes 1 (CIFAR-10, default) or 2 (CIFAR-100: coarse, fine; the fine label is returned)
 * @param options.classes labels must be below this; default 10, or 100 with two label bytes
 * @returns inputs uint8 [records, 3, 32, 32] and labels int32 [records], batches one after the other
 */
export function readCifar(
  batches: Uint8Array | readonly Uint8Array[],
  options: { labelBytes?: 1 | 2; classes?: number; name?: string } = {},
): { inputs: NDArray<Uint8Array>; labels: NDArray<Int32Array> } {
  const { labelBytes = 1, classes = labelBytes === 1 ? 10 : 100, name = 'cifar' } = options;
  const parts = batches instanceof Uint8Array ? [batches] : batches;
  check(parts.length > 0, 'readCifar: no batches given');
  const record = labelBytes + PIXELS;
  for (const part of parts) {
    if (part.length === 0 || part.length % record !== 0) {
      throw new FormatError(`${name}: ${part.length} bytes are no whole number of ${record}-byte records`);
    }
  }
  const count = parts.reduce((n, part) => n + part.length / record, 0);
  const inputs = new Uint8Array(count * PIXELS);
  const labels = new Int32Array(count);
  let row = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length; at += record, row++) {
      labels[row] = part[at + labelBytes - 1];
      if (labels[row] >= classes) {
        throw new FormatError(`${name}: record ${row} has label ${labels[row]}, expected 0…${classes - 1}`);
      }
      inputs.set(part.subarray(at + labelBytes, at + record), row * PIXELS);
    }
  }
  return {
    inputs: { dtype: 'uint8', shape: [count, 3, 32, 32], data: inputs },
    labels: { dtype: 'int32', shape: [count], data: labels },
  };
}
