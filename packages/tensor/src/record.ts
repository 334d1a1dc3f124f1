import type { Node } from './graph.ts';
import type { Parameter } from './parameter.ts';

/** What a compiled function wants to know while its body is traced. */
export interface Recorder {
  /** A parameter's current value enters the graph. */
  use(parameter: Parameter): void;
  /** A parameter gets a new value; called before it changes. `before` is its own value, not one substituted for it. */
  assign(parameter: Parameter, before: Node): void;
  /** A leaf without data that `fill` computes for every replay. */
  fresh(node: Node, fill: () => Float32Array): void;
}

let current: Recorder | undefined;

/** The recorder of the trace in progress, if any. */
export const recorder = (): Recorder | undefined => current;

/** Runs `fn` with `r` listening. Tracing is synchronous, so nothing else can run in between. */
export function record<T>(r: Recorder, fn: () => T): T {
  const outer = current;
  current = r;
  try {
    return fn();
  } finally {
    current = outer;
  }
}
