export { FormatError, RuntimeError, UnsupportedError } from './errors.ts';
export type { NodeReport } from './plan/builder.ts';
export type { KernelChoice } from './plan/lowerings.ts';
export {
  type Feeds,
  type Fetches,
  InferenceSession,
  type SessionOptions,
  type SessionReport,
  type ValueMetadata,
} from './session.ts';
export { Tensor, type TensorData } from './tensor.ts';
export type { DataType } from './values.ts';
export { version } from './version.ts';
