// The kernels: what the host can call. Layout rules are in `common.ts`.
export * from './dense';
export { padPlanes } from './conv-plane';
export { depthwise } from './conv-depthwise';
export { pool } from './conv-pool';
export { gemv } from './dense-vector';
export * from './elementwise';
export * from './reduce';
export * from './sparse';
export * from './threads';
