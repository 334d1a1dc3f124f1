export { FormatError, RuntimeError, UnsupportedError } from './errors.ts';
export type { KernelChoice } from './plan/lowerings.ts';
export type { NodeReport } from './plan/plan.ts';
export {
  type Feeds,
  type Fetches,
  InferenceSession,
  type SessionOptions,
  type SessionReport,
  type ValueMetadata,
} from './session.ts';
export { Tensor, type TensorData, type TensorLike } from './tensor.ts';
export type { DataType } from './values.ts';
export { version } from './version.ts';
