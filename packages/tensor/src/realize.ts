import { createExecutor } from '#execute';
import { check } from './errors.ts';
import type { Executable, ExecuteOptions, Executor } from './execute/executor.ts';
import type { Node } from './graph.ts';
import { type Canonical, canonicalize, Plan } from './plan.ts';

let options: ExecuteOptions = {};
let executor: Executor | undefined;

/** Chooses execution provider and threads for all graphs compiled from here on. */
export function configure(next: ExecuteOptions): void {
  options = { ...options, ...next };
  executor = undefined;
}

export const currentExecutor = (): Executor => (executor ??= createExecutor(options));

/**
 * Loads a finished ONNX model in the runtime as it is, without Gossamer's graph: to check or to time a written file.
 * Inputs and outputs go by position, in the order of `inputNames` and `outputNames`.
 */
export const loadExecutable = (model: Uint8Array, settings: ExecuteOptions = {}): Promise<Executable> =>
  createExecutor({ ...options, ...settings }).load(model);

const LIMIT = 128;
const plans = new Map<string, Promise<Plan>>();

/** The plan of a graph, from the cache of the last {@link LIMIT} structures or newly compiled. */
function cachedPlan(graph: Canonical): Promise<Plan> {
  const runtime = currentExecutor();
  const key = `${runtime.name}|${graph.key}`;
  const plan = plans.get(key) ?? Plan.compile(graph, runtime);
  plan.catch(() => plans.delete(key));
  // Re-inserting keeps the map in order of last use.
  plans.delete(key);
  plans.set(key, plan);
  if (plans.size > LIMIT) {
    const [oldest, evicted] = plans.entries().next().value!;
    plans.delete(oldest);
    void released(evicted);
  }
  return plan;
}

/** Frees a plan once it is compiled; that it could not be is told to those who wanted to run it. */
const released = (plan: Promise<Plan>): Promise<void> =>
  plan.then(
    p => p.release(),
    () => {},
  );

/** Frees all cached sessions. */
export async function clearCache(): Promise<void> {
  const all = [...plans.values()];
  plans.clear();
  await Promise.all(all.map(released));
}

/** Computes tensors together, in one run where no host operator stands between; each becomes a leaf with data. */
export async function realize(...tensors: readonly { node: Node }[]): Promise<void> {
  const nodes = [...new Set(tensors.map(t => t.node))].filter(n => !n.isLeaf);
  for (const t of tensors) {
    check(
      !t.node.isLeaf || t.node.data,
      'realize: the tensor is an input of a function being compiled; return it instead',
    );
  }
  if (nodes.length === 0) return;
  const graph = canonicalize(nodes);
  const leaves = graph.leaves.map(p => {
    const { data } = graph.nodes[p];
    check(data, 'realize: the graph depends on an input of a compiled function, which has a value only inside of it');
    return data;
  });
  const plan = await cachedPlan(graph);
  const results = await plan.run(leaves);
  nodes.forEach((node, i) => {
    if (!node.isLeaf) node.settle(results[i]);
  });
}
