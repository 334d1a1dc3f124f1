export { dataTypeOf, dtypeOf } from './datatype.ts';
export { type EncodeOptions, encodeOnnx, type SparseRule } from './encode.ts';
export { OpaqueTensor } from './opaque.ts';
export * from './proto.ts';
export { type ReadOptions, readOnnx } from './read.ts';
export { topologicalSort } from './sort.ts';
export { opsetRange, validateGraph, validateModel } from './validate.ts';
export { type WriteOptions, writeOnnx } from './write.ts';
