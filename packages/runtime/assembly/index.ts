// The kernels: what the host can call. Layout rules are in `common.ts`.
export * from './dense';
export * from './elementwise';
export * from './reduce';
export * from './sparse';
export * from './threads';
