/** SparseTensorProto → SparseValue. */
import { FormatError } from '../errors.ts';
import type { SparseValue } from './graph.ts';
import type { Place, Reader } from './protobuf.ts';
import { VARINT } from './protobuf.ts';
import { checkDims, type TensorHeader, type TensorOptions, tensorHeader, tensorValue } from './tensor.ts';

/** The parts of a sparse tensor; its name is that of `values`. */
export interface SparseHeader {
  readonly values: TensorHeader;
  readonly indices: TensorHeader;
  readonly dims: readonly number[];
}

/** Reads all but the numbers of the sparse tensor at a place. */
export function sparseHeader(reader: Reader, place: Place, where: string): SparseHeader {
  const dims: number[] = [];
  let values: TensorHeader | undefined;
  let indices: TensorHeader | undefined;
  reader.revisit(place, 'SparseTensorProto', field => {
    if (field === 1) values = tensorHeader(reader, reader.place());
    else if (field === 2) indices = tensorHeader(reader, reader.place());
    else if (field === 3) reader.each(VARINT, () => dims.push(reader.int()));
  });
  if (!values || !indices) throw new FormatError(`${where}: a sparse tensor needs values and indices`);
  return { values, indices, dims };
}

/**
 * The sparse tensor of a header. The file has values [n], and indices [n] into the flattened tensor or coordinates
 * [n, rank], ascending and without repetition.
 */
export function sparseValue(reader: Reader, header: SparseHeader, where: string, options: TensorOptions): SparseValue {
  const { dims } = header;
  const size = checkDims(dims, where);
  const values = tensorValue(reader, header.values, `${where}, values`, options);
  const coordinates = tensorValue(reader, header.indices, `${where}, indices`, options);
  const count = values.data.length;
  const rank = dims.length;
  const fail = (message: string): never => {
    throw new FormatError(`${where}: ${message}`);
  };
  if (rank === 0) fail('a sparse tensor needs at least one dimension');
  if (values.dims.length !== 1) fail(`sparse values have shape [${values.dims.join(', ')}], expected [n]`);
  if (coordinates.type !== 'int64') fail(`sparse indices are ${coordinates.type}, expected int64`);
  const shape = coordinates.dims;
  if (shape[0] !== count || !(shape.length === 1 || (shape.length === 2 && shape[1] === rank))) {
    fail(`sparse indices have shape [${shape.join(', ')}], expected [${count}] or [${count}, ${rank}]`);
  }

  const { buffer, byteOffset, length } = coordinates.data as BigInt64Array;
  // Pairs of 32 bits: far faster than bigints. A high half other than 0 is out of range or beyond 2³².
  const words = new Int32Array(buffer, byteOffset, 2 * length);
  const indices = size <= 2 ** 31 ? new Int32Array(count) : new Float64Array(count);
  const steps = shape.length === 1 ? [size] : dims;
  let last = -1;
  for (let k = 0, at = 0; k < count; k++) {
    let index = 0;
    for (const dim of steps) {
      const i = words[at + 1] * 2 ** 32 + (words[at] >>> 0);
      at += 2;
      if (i < 0 || i >= dim) fail(`sparse index ${i} of entry ${k} lies outside 0 to ${dim - 1}`);
      index = index * dim + i;
    }
    if (index <= last) fail(`sparse indices are ${index === last ? 'given twice' : 'not ascending'} at entry ${k}`);
    indices[k] = last = index;
  }
  return { type: values.type, dims, indices, values };
}
