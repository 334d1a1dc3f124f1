/** Tensors whose bytes lie in files beside the model. */
import { FormatError } from '../errors.ts';

/** The bytes of one tensor in a file of external data. */
export interface ExternalRange {
  /** A path relative to the model's folder, with `/`. */
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** Gives the bytes of a range; undefined when there is no such file. */
export type External = (range: ExternalRange) => Uint8Array | undefined;

/** A location without `./`; fails if it is absolute or leaves the model's folder. */
function relative(location: string, where: string): string {
  const steps = location.split('/').filter(step => step !== '.');
  if (steps.length === 0 || steps.some(step => step === '' || step === '..') || /[\\:\0]/.test(location)) {
    throw new FormatError(
      `${where}: external data '${location}' must lie in the model's folder, by a relative path with '/'`,
    );
  }
  return steps.join('/');
}

/** Reads the entries of `TensorProto.external_data` for a tensor that takes `length` bytes. */
export function parseRange(entries: ReadonlyMap<string, string>, length: number, where: string): ExternalRange {
  const bytes = (key: string, fallback: number): number => {
    const text = entries.get(key);
    if (text === undefined) return fallback;
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
      throw new FormatError(`${where}: external ${key} '${text}' is not a number of bytes`);
    }
    return value;
  };
  const location = relative(entries.get('location') ?? '', where);
  const given = bytes('length', length);
  if (given !== length) {
    throw new FormatError(`${where}: ${given} bytes of external data, its shape and type need ${length}`);
  }
  return { location, offset: bytes('offset', 0), length };
}
