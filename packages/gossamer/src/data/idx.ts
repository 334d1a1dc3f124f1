import { FormatError, type NDArray, sizeOf } from '@gossamer/tensor';
import { ByteReader } from './bytes.ts';
import { decodeElements } from './elements.ts';

const types = { 8: 'uint8', 9: 'int8', 11: 'int16', 12: 'int32', 13: 'float32', 14: 'float64' } as const;

/**
 * Reads an IDX file, the format of MNIST (http://yann.lecun.com/exdb/mnist/): two zero bytes, element type, number of
 * axes, the axes as big-endian 32-bit integers, the big-endian elements. `bytes` are uncompressed; uint8 data is a view.
 * Throws a FormatError unless the size fits the header exactly.
 */
export function readIdx(bytes: Uint8Array, name = 'idx'): NDArray {
  const reader = new ByteReader(bytes, name);
  const magic = reader.u32be('the header');
  const dtype = types[((magic >>> 8) & 0xff) as keyof typeof types];
  const rank = magic & 0xff;
  if (magic >>> 16 !== 0 || dtype === undefined || rank === 0) {
    throw new FormatError(`${name}: not IDX: magic 0x${magic.toString(16).padStart(8, '0')}`);
  }
  const shape = Array.from({ length: rank }, () => reader.u32be('the axes'));
  const data = decodeElements(reader, dtype, sizeOf(shape), 'big', `the elements of [${shape}]`);
  if (reader.remaining > 0) reader.fail(`${reader.remaining} bytes follow the elements of [${shape}]`);
  return { dtype, shape, data };
}
