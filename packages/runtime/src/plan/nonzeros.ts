/** How many weights are not zero. */

const known = new WeakMap<Float32Array, number>();

/** The number of elements that are not ±0; counted once for each array. */
export function nonzeros(data: Float32Array): number {
  let count = known.get(data);
  if (count === undefined) {
    // As integers: an engine that has not yet compiled this function allocates every float that it reads.
    const bits = new Int32Array(data.buffer, data.byteOffset, data.length);
    count = 0;
    for (let i = 0; i < bits.length; i++) if (bits[i] << 1 !== 0) count++;
    known.set(data, count);
  }
  return count;
}
