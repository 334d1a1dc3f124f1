/** A caller's mistake: the message says what was given, what was expected and where. */
export class GossamerError extends Error {
  override name = 'GossamerError';
}

/** A file that breaks its own format; the message starts with the file's name or kind. */
export class FormatError extends GossamerError {
  override name = 'FormatError';
}

/** Throws a {@link GossamerError} unless `condition` holds. */
export function check(condition: unknown, message: string | (() => string)): asserts condition {
  if (!condition) throw new GossamerError(typeof message === 'string' ? message : message());
}
