import { FormatError, type NDArray } from '@gossamer/tensor';
import type { Csr } from './sparse.ts';

/**
 * Reads LIBSVM text: a line a sample, `label index:value …`, indices from 1 and rising.
 *
 * @param features number of columns; default the largest index
 */
export function readLibsvm(
  text: string,
  features?: number,
  name = 'libsvm',
): { inputs: Csr; labels: NDArray<Float32Array> } {
  const labels: number[] = [];
  const columns: number[] = [];
  const values: number[] = [];
  const offsets = [0];
  let width = features ?? 0;
  text.split('\n').forEach((row, i) => {
    const [label, ...entries] = row.trim().split(/\s+/);
    if (label === '') return;
    const fail = (what: string): never => {
      throw new FormatError(`${name}: line ${i + 1}: ${what}`);
    };
    if (Number.isNaN(Number(label))) fail(`label ${JSON.stringify(label)} is no number`);
    labels.push(Number(label));
    let last = 0;
    for (const entry of entries) {
      const match = /^(\d+):(\S+)$/.exec(entry);
      const [index, value] = [Number(match?.[1]), Number(match?.[2])];
      if (Number.isNaN(index) || Number.isNaN(value)) fail(`${JSON.stringify(entry)} is not index:value`);
      if (index <= last) fail(`index ${index} follows ${last}; indices start at 1 and rise`);
      if (features !== undefined && index > features) fail(`index ${index} of ${features} features`);
      last = index;
      columns.push(index - 1);
      values.push(value);
    }
    width = Math.max(width, last);
    offsets.push(columns.length);
  });
  return {
    inputs: {
      shape: [labels.length, width],
      offsets: Int32Array.from(offsets),
      columns: Int32Array.from(columns),
      values: Float32Array.from(values),
    },
    labels: { dtype: 'float32', shape: [labels.length], data: Float32Array.from(labels) },
  };
}
