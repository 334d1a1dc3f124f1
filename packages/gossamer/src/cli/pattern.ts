import { InvalidArgumentError } from 'commander';
import { type Granularity, parseGranularity } from '../sparsity/granularity.ts';

/** Reads an option's granularity, such as `2:4`. */
export function pattern(text: string): Granularity {
  try {
    return parseGranularity(text);
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`);
  }
}
