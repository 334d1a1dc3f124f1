// The kernels: what the host can call. Layout rules are in `common.ts`.
export * from './dense';
export { attention, rotary } from './attention';
export { depthwise } from './conv-depthwise';
export { pool } from './conv-pool';
export { foldColumns } from './conv-transpose';
export { gruCell, gruReset, lstmCell } from './dense-recurrent';
export { gemv } from './dense-vector';
export * from './elementwise';
export * from './movement';
export { localResponse, normalize, reduce, softmax } from './reduce';
export * from './sparse';
export * from './threads';
