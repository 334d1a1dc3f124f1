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
}

/**
 * Calls `fn` with placeholders of the given shapes and returns the graph it builds, without running anything.
 * Refuses functions that assign parameters or draw random numbers (a model in training mode), naming `caller`.
 */
export function traceGraph(
  fn: (...inputs: Tensor[]) => Outputs,
  specs: readonly Spec[],
  { caller = 'traceGraph', outputs: names }: { caller?: string; outputs?: readonly string[] } = {},
): Traced {
  const inputs = specs.map(s => leafNode(s));
  const parameters = new Map<Node, Parameter>();
  const training = 'the model behaves as in training; call eval() on it first';
  const result = record(
    {
      use: p => {
        if (!parameters.has(p.node)) parameters.set(p.node, p);
      },
      assign: p => check(false, () => `${caller}: ${p} is assigned while tracing: ${training}`),
      fresh: () => check(false, `${caller}: random numbers are drawn while tracing: ${training}`),
    },
    () => fn(...inputs.map(n => new Tensor(n))),
  );
  const list = result instanceof Tensor ? [result] : Array.isArray(result) ? (result as Tensor[]) : undefined;
  const outputs = list
    ? list.map((t, i) => ({ name: names?.[i] ?? (list.length === 1 ? 'output' : `output${i}`), node: t.node }))
    : Object.entries(result as Record<string, Tensor>).map(([name, t]) => ({ name, node: t.node }));
  check(outputs.length > 0 && outputs.every(o => o.node), `${caller}: the function returned no tensors`);
  const nodes = reachable(outputs.map(o => o.node));
  const strange = nodes.find(n => n.isLeaf && !n.data && !inputs.includes(n));
  check(!strange, `${caller}: the function uses an input of another compiled function`);
  return { nodes, inputs, outputs, parameters: new Map([...parameters].filter(([n]) => n.isLeaf)) };
}
