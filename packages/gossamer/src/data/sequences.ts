import { check, type NDArray } from '@gossamer/tensor';
import { ArrayDataset } from './dataset.ts';

/** Token sequences and the same shifted by one: what comes next at each place. int32 [n, length] both. */
export type Sequences = { inputs: NDArray<Int32Array>; targets: NDArray<Int32Array> };

/**
 * Windows of `length` tokens, one every `stride` tokens (default: one after the other). Tokens that fill no window are
 * left out. Throws a GossamerError if there are too few for one window and its target.
 */
export function tokenWindows(ids: Int32Array, length: number, stride = length): ArrayDataset<Sequences> {
  checkLength('tokenWindows', ids, length);
  check(Number.isInteger(stride) && stride > 0, () => `tokenWindows: stride ${stride}, expected 1 or more`);
  const count = Math.floor((ids.length - 1 - length) / stride) + 1;
  return sequences(count, length, row => row * stride, ids);
}

/**
 * Rows for truncated back-propagation through time: the text is cut into `lanes` equal streams, and rows
 * [k·lanes, (k + 1)·lanes) are the k-th `steps` tokens of each. Loaded with `batchSize: lanes` and without shuffling,
 * every lane continues where the batch before ended, so a recurrent state can be carried on.
 */
export function bpttWindows(ids: Int32Array, lanes: number, steps: number): ArrayDataset<Sequences> {
  check(Number.isInteger(lanes) && lanes > 0, () => `bpttWindows: lanes ${lanes}, expected 1 or more`);
  const stream = Math.floor((ids.length - 1) / lanes);
  check(Number.isInteger(steps) && steps > 0 && stream >= steps, () => {
    return `bpttWindows: ${ids.length} tokens in ${lanes} lanes leave ${stream} each, fewer than the ${steps} steps`;
  });
  const chunks = Math.floor(stream / steps);
  return sequences(chunks * lanes, steps, row => (row % lanes) * stream + Math.floor(row / lanes) * steps, ids);
}

function checkLength(name: string, ids: Int32Array, length: number): void {
  check(Number.isInteger(length) && length > 0, () => `${name}: length ${length}, expected 1 or more`);
  check(ids.length > length, () => `${name}: ${ids.length} tokens, at least ${length + 1} are needed`);
}

function sequences(
  count: number,
  length: number,
  start: (row: number) => number,
  ids: Int32Array,
): ArrayDataset<Sequences> {
  const [inputs, targets] = [new Int32Array(count * length), new Int32Array(count * length)];
  for (let row = 0; row < count; row++) {
    const from = start(row);
    inputs.set(ids.subarray(from, from + length), row * length);
    targets.set(ids.subarray(from + 1, from + 1 + length), row * length);
  }
  const shape = [count, length];
  return new ArrayDataset({
    inputs: { dtype: 'int32', shape, data: inputs },
    targets: { dtype: 'int32', shape, data: targets },
  });
}
