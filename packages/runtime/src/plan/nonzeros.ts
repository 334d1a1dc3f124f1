/** How many weights are not zero. */
import { bitsOf, present } from '../kernels/bitmap.ts';

const known = new WeakMap<Float32Array, number>();

/** The number of elements that are not ±0; counted once for each array. */
export function nonzeros(data: Float32Array): number {
  let count = known.get(data);
  if (count === undefined) {
    count = 0;
    const bits = bitsOf(data);
    const whole = bits.length - (bits.length % 4);
    for (let i = 0; i < whole; i += 4)
      count += present(bits[i]) + present(bits[i + 1]) + present(bits[i + 2]) + present(bits[i + 3]);
    for (let i = whole; i < bits.length; i++) count += present(bits[i]);
    known.set(data, count);
  }
  return count;
}
