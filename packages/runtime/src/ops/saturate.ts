/** Rounding to the integers of a type. */
import type { DataType } from '../values.ts';
import { type Floats, roundEven } from './numeric.ts';

const BOUNDS: Partial<Record<DataType, readonly [number, number]>> = {
  int8: [-128, 127],
  uint8: [0, 255],
  int16: [-32768, 32767],
  uint16: [0, 65535],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
};

/** Rounds to even and saturates to an integer type of at most 32 bits; other types are left as they are. */
export function saturate(type: DataType, numbers: Floats): Floats {
  const bounds = BOUNDS[type];
  if (bounds)
    for (let i = 0; i < numbers.length; i++)
      numbers[i] = Math.min(bounds[1], Math.max(bounds[0], roundEven(numbers[i])));
  return numbers;
}
