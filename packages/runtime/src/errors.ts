/** An error whose message is written for the caller: what was given, what was expected, where, and what to try. */
export class RuntimeError extends Error {
  override readonly name: string = 'RuntimeError';
}

/** A file that is malformed, truncated or hostile. */
export class FormatError extends RuntimeError {
  override readonly name = 'FormatError';
}

/** A model that is legal ONNX but uses what this runtime does not have; names the node. */
export class UnsupportedError extends RuntimeError {
  override readonly name = 'UnsupportedError';
}

/** Throws a RuntimeError unless `condition` holds. The message is a function when building it costs something. */
export function check(condition: unknown, message: string | (() => string)): asserts condition {
  if (!condition) throw new RuntimeError(typeof message === 'string' ? message : message());
}
