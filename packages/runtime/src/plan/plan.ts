/** What a plan is: which kernels and operators run in which order, and where in memory everything lies. */
import type { Node } from '../load/graph.ts';
import type { Memory } from '../memory.ts';
import type { Operators } from '../ops/operator.ts';
import type { Program, Threads } from '../threads.ts';
import type { DataType, Value } from '../values.ts';
import type { Quantized } from './fuse.ts';
import type { Lowerings } from './lowering.ts';

/** What executes plans: one for each session. */
export interface Machine {
  readonly memory: Memory;
  readonly threads: Threads;
  /** Plans of little work run on one thread. */
  readonly adaptive: boolean;
  readonly operators: Operators;
  readonly lowerings: Lowerings;
  /** Permanent constants by key: raw ones, and weights packed for a kernel. */
  readonly constants: Map<string, { readonly address: number; readonly bytes: number }>;
  /** Gives back what lowerings hold outside the memory. */
  release(): void;
}

/** A graph, or what is left of it after a stage. */
export interface Source {
  readonly nodes: readonly Node[];
  readonly constants: ReadonlyMap<string, Value>;
  readonly quantized: ReadonlyMap<string, Quantized>;
  readonly outputs: readonly string[];
  /** Shapes never change: what they make constant is kept in memory for good. */
  readonly fixed: boolean;
}

/** How a node runs. */
export interface NodeReport {
  readonly name: string;
  readonly op: string;
  /** `alias` when it costs nothing, `plain` for the TypeScript implementation, else the kernel's name. */
  kernel: string;
  readonly outputs: readonly (readonly number[])[];
  /** Share of non-zero weights, 0…1; undefined for nodes without weights. */
  density?: number;
  /** Multiply-adds that are done, times two. */
  flops: number;
  /** Those that zeros save. */
  skipped: number;
  /** Bytes of weights as this kernel keeps them. */
  weightBytes: number;
  /** Milliseconds of the last profiled run. */
  ms?: number;
}

/** A run of kernel calls; `reports` has the index of each call's node. */
export interface KernelCalls {
  readonly program: Program;
  readonly reports: readonly number[];
}

/** A plain operator between kernels; `report` is the node's index. */
export interface PlainCall {
  readonly node: Node;
  readonly report: number;
}

/** Work outside the memory, such as on a GPU. */
export interface DeviceCall {
  readonly run: () => Promise<void>;
  readonly report: number;
}

export type Segment = KernelCalls | PlainCall | DeviceCall;

export interface Located {
  readonly type: Exclude<DataType, 'string'>;
  readonly dims: readonly number[];
  readonly address: number;
  readonly length: number;
}

export interface Plan {
  readonly segments: readonly Segment[];
  /** Where numeric values that JavaScript writes or reads lie; strings live outside the memory. */
  readonly values: ReadonlyMap<string, Located>;
  /** What plain operators and results take from the graph, and what is copied into memory on every run. */
  readonly constants: ReadonlyMap<string, Value>;
  /** Values to copy in. */
  readonly feeds: readonly string[];
  /** Values to hand out: graph outputs, and what later stages need. */
  readonly results: readonly string[];
  readonly reports: readonly NodeReport[];
  /** Where the activations begin, and their bytes. */
  readonly arena: number;
  readonly arenaBytes: number;
  /** What waits for data: nodes, and the values whose contents the next stage's plan depends on. */
  readonly rest?: { readonly nodes: readonly Node[]; readonly wanted: ReadonlySet<string> };
}
