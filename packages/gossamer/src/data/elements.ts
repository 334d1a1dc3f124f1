import { arrayType, bytesPerElement, type DType, type TypedArray } from '@gossamer/tensor';
import type { ByteReader } from './bytes.ts';

/**
 * The next `count` elements of a file as a typed array: a view where alignment and byte order allow, else a copy.
 * The bytes are known to be there before anything is allocated.
 */
export function decodeElements(
  reader: ByteReader,
  dtype: DType,
  count: number,
  order: 'little' | 'big',
  what?: string,
): TypedArray {
  const width = bytesPerElement(dtype);
  let bytes = reader.take(count * width, what);
  if (order === 'big' && width > 1) bytes = swapped(bytes, width);
  else if (bytes.byteOffset % width !== 0) bytes = bytes.slice();
  return new (arrayType(dtype))(bytes.buffer, bytes.byteOffset, count);
}

function swapped(bytes: Uint8Array, width: number): Uint8Array {
  const result = new Uint8Array(bytes.length);
  for (let i = 0; i < bytes.length; i += width) {
    for (let k = 0; k < width; k++) result[i + k] = bytes[i + width - 1 - k];
  }
  return result;
}
