import { check } from './errors.ts';
import { leafNode, type Node, reachable, type Spec } from './graph.ts';
import type { Parameter } from './parameter.ts';
import { record } from './record.ts';
import { Tensor } from './tensor.ts';

/** What a traced function may return: tensors, by position or by name. */
export type Outputs = Tensor | readonly Tensor[] | { readonly [name: string]: Tensor };

/** The graph behind a function: what export, structural analysis and rewriting look at. */
export interface Traced {
  /** Everything the outputs depend on, in topological order. */
  readonly nodes: readonly Node[];
  readonly inputs: readonly Node[];
  readonly outputs: readonly { name: string; node: Node }[];
  /** Parameters by the leaf that holds their value. */
  readonly parameters: ReadonlyMap<Node, Parameter>;
  /** With `effects`: what the function assigns to parameters, and its random leaves with what fills them. */
  readonly assigned: ReadonlyMap<Parameter, Node>;
  readonly drawn: ReadonlyMap<Node, () => Float32Array>;
}

export interface TraceOptions {
  /** Whose work it is, for messages. */
  readonly caller?: string;
  /** Names of the outputs if the function returns tensors rather than a record. */
  readonly outputs?: readonly string[];
  /**
   * Keeps what the function assigns and draws, as a model in training mode does, instead of refusing it; its parameters
   * have their values of before when the trace is done. Default false.
   */
  readonly effects?: boolean;
}

/**
 * Calls `fn` with placeholders of the given shapes and returns the graph it builds, without running anything.
 * Refuses functions that assign parameters or draw random numbers (a model in training mode), naming `caller`, unless
 * `effects` are asked for.
 */
export function traceGraph(
  fn: (...inputs: Tensor[]) => Outputs,
  specs: readonly Spec[],
  { caller = 'traceGraph', outputs: names, effects = false }: TraceOptions = {},
): Traced {
  const inputs = specs.map(s => leafNode(s));
  const parameters = new Map<Node, Parameter>();
  const before = new Map<Parameter, Node>();
  const drawn = new Map<Node, () => Float32Array>();
  const training = 'the model behaves as in training; call eval() on it first';
  const result = record(
    {
      use: p => {
        if (!parameters.has(p.node)) parameters.set(p.node, p);
      },
      assign: (p, value) => {
        check(effects, () => `${caller}: ${p} is assigned while tracing: ${training}`);
        if (!before.has(p)) before.set(p, value);
      },
      fresh: (node, fill) => {
        check(effects, `${caller}: random numbers are drawn while tracing: ${training}`);
        drawn.set(node, fill);
      },
    },
    () => fn(...inputs.map(n => new Tensor(n))),
  );
  const assigned = new Map([...before.keys()].map(p => [p, p.node]));
  for (const [p, node] of before) p.node = node;
  const list = result instanceof Tensor ? [result] : Array.isArray(result) ? (result as Tensor[]) : undefined;
  const outputs = list
    ? list.map((t, i) => ({ name: names?.[i] ?? (list.length === 1 ? 'output' : `output${i}`), node: t.node }))
    : Object.entries(result as Record<string, Tensor>).map(([name, t]) => ({ name, node: t.node }));
  check(outputs.length > 0 && outputs.every(o => o.node), `${caller}: the function returned no tensors`);
  const nodes = reachable([...outputs.map(o => o.node), ...assigned.values()]);
  const strange = nodes.find(n => n.isLeaf && !n.data && !inputs.includes(n) && !drawn.has(n));
  check(!strange, `${caller}: the function uses an input of another compiled function`);
  const leaves = new Map([...parameters].filter(([n]) => n.isLeaf));
  return { nodes, inputs, outputs, parameters: leaves, assigned, drawn };
}
