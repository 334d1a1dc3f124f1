import type { TypedArray } from './dtype.ts';
import { check } from './errors.ts';
import { leafNode, type Node } from './graph.ts';
import { formatShape } from './operator.ts';
import type { Parameter } from './parameter.ts';
import { type Canonical, canonicalize, Plan } from './plan.ts';
import { currentExecutor, realize } from './realize.ts';
import { record } from './record.ts';
import { Tensor } from './tensor.ts';

/** What a compiled function may return: a tensor, or arrays and records of them, or nothing. */
// biome-ignore lint/suspicious/noConfusingVoidType: a function that only assigns parameters has no return statement
export type Result = Tensor | undefined | void | readonly Result[] | { readonly [name: string]: Result };

export interface Compiled<Args extends readonly Tensor[], R extends Result> {
  (...args: Args): Promise<R>;
  /** Where the time of all calls went, in milliseconds: in the runtime, in host operators, in JavaScript around them. */
  readonly spent: { readonly calls: number; readonly total: number; readonly runtime: number; readonly host: number };
  /** Frees the sessions. The function can be called again and then compiles again. */
  dispose(): Promise<void>;
}

interface Trace {
  readonly plan: Plan;
  /** Data of each leaf, looked up anew for every call. */
  readonly leaves: readonly ((args: readonly Node[], random: readonly TypedArray[]) => TypedArray)[];
  readonly random: readonly (() => Float32Array)[];
  readonly assigned: readonly { parameter: Parameter; output: number; recycle: boolean }[];
  readonly result: (data: readonly TypedArray[], args: readonly Node[], random: readonly TypedArray[]) => Result;
  /** Buffers that the parameters of `assigned` left behind and may be written to next time. */
  readonly spare: Map<number, TypedArray>;
}

/** Combinations of input shapes that a compiled function keeps, those used last. */
const LIMIT = 64;

/**
 * Records `fn` once per combination of input shapes (of which it keeps the last {@link LIMIT}) and replays it from then
 * on: one run of ONNX Runtime, with parameters read and assigned and random tensors drawn anew, and none of `fn`'s
 * JavaScript. A replay gives the same
 * numbers as running `fn` eagerly would. `fn` must be synchronous; what it does besides building tensors and assigning
 * parameters happens while recording only.
 */
export function compile<Args extends readonly Tensor[], R extends Result>(fn: (...args: Args) => R): Compiled<Args, R> {
  const traces = new Map<string, Promise<Trace>>();
  const spent = { calls: 0, total: 0, runtime: 0, host: 0 };
  let queue: Promise<unknown> = Promise.resolve();

  async function call(args: Args): Promise<R> {
    const start = performance.now();
    if (!args.every(a => a.isRealized)) await realize(...args);
    const nodes = args.map(a => a.node);
    const key = nodes.map(n => `${n.dtype}${formatShape(n.shape)}`).join();
    let pending = traces.get(key);
    if (!pending) {
      pending = traceAndCompile(fn, nodes);
      pending.catch(() => traces.delete(key));
    }
    // Re-inserting keeps the map in order of last use.
    traces.delete(key);
    traces.set(key, pending);
    if (traces.size > LIMIT) {
      const [oldest, evicted] = traces.entries().next().value!;
      traces.delete(oldest);
      void released(evicted);
    }
    const trace = await pending;
    const before = { ...trace.plan.spent };
    const result = await replay(trace, nodes);
    spent.calls++;
    spent.runtime += trace.plan.spent.runtime - before.runtime;
    spent.host += trace.plan.spent.host - before.host;
    spent.total += performance.now() - start;
    return result as R;
  }

  return Object.assign(
    (...args: Args): Promise<R> => {
      // Calls wait for each other: each reads the parameters that the one before assigned.
      const next = queue.then(() => call(args));
      queue = next.catch(() => {});
      return next;
    },
    {
      spent,
      dispose: async () => {
        const all = [...traces.values()];
        traces.clear();
        await Promise.all(all.map(released));
      },
    },
  );
}

/** Frees a trace once it is compiled; that it could not be is told to those who called. */
const released = (trace: Promise<Trace>): Promise<void> =>
  trace.then(
    t => t.plan.release(),
    () => {},
  );

/** What the runs in progress read. */
const running = new Set<readonly TypedArray[]>();

async function replay(trace: Trace, args: readonly Node[]): Promise<Result> {
  const random = trace.random.map(fill => fill());
  const leaves = trace.leaves.map(leaf => leaf(args, random));
  running.add(leaves);
  let results: TypedArray[];
  try {
    results = await trace.plan.run(leaves, trace.spare);
  } finally {
    running.delete(leaves);
  }
  trace.spare.clear();
  const busy = new Set([...running].flat());
  // Before parameters change, since what is returned may be a parameter's value of before.
  const result = trace.result(results, args, random);
  for (const { parameter, output, recycle } of trace.assigned) {
    const old = parameter.node;
    parameter.node = leafNode(old, results[output]);
    if (!recycle) parameter.node.pinned = true;
    else if (!old.pinned && old.data && !busy.has(old.data)) trace.spare.set(trace.plan.outputs[output], old.data);
  }
  return result;
}

async function traceAndCompile(fn: (...args: never) => Result, args: readonly Node[]): Promise<Trace> {
  for (;;) {
    const attempt = trace(fn, args);
    if (attempt.pending.length === 0) {
      return { ...attempt.trace, plan: await Plan.compile(attempt.graph, currentExecutor()) };
    }
    // A parameter's value was lazy; it becomes data first, else every replay would compute its initial value again.
    await realize(...attempt.pending);
  }
}

function trace(fn: (...args: never) => Result, args: readonly Node[]) {
  const placeholders = args.map(a => leafNode(a));
  const parameters = new Map<Node, Parameter>();
  const originals = new Map<Parameter, Node>();
  const pending: Parameter[] = [];
  const random: { node: Node; fill: () => Float32Array }[] = [];
  const start = leafNode({ shape: [], dtype: 'float32' }).id;
  let assigned: { parameter: Parameter; original: Node; node: Node }[] = [];
  let result: Result;
  try {
    result = record(
      {
        use: p => {
          if (originals.has(p)) return;
          if (!p.node.isLeaf) {
            if (p.node.id < start) pending.push(p);
            return;
          }
          // Parameters that share a leaf (one was assigned the other's value) part here, for they may differ later.
          const owner = parameters.get(p.node);
          if (owner && owner !== p) p.node = leafNode(p.node, p.node.data);
          parameters.set(p.node, p);
        },
        assign: (p, before) => {
          if (!originals.has(p)) originals.set(p, before);
        },
        fresh: (node, fill) => random.push({ node, fill }),
      },
      () => {
        const made = fn(...(placeholders.map(n => new Tensor(n)) as never));
        check(
          !(made instanceof Promise),
          'compile: the function is async; build tensors synchronously and return them',
        );
        // A returned parameter stands for its value at the end of the function.
        return rebuild(made, t => new Tensor(t.use()));
      },
    );
  } catch (error) {
    if (pending.length === 0) throw error;
  } finally {
    assigned = [...originals]
      .map(([parameter, original]) => ({ parameter, original, node: parameter.node }))
      .filter(({ original, node }) => node !== original);
    for (const { parameter, original } of assigned) parameter.node = original;
  }

  const returned: Node[] = [];
  collect(result!, node => returned.push(node));
  const wanted = [...returned, ...assigned.map(a => a.node)];
  const roots = [...new Set(wanted)].filter(n => !n.isLeaf);
  const graph: Canonical = canonicalize(roots);

  const argument = new Map(placeholders.map((n, i) => [n, i]));
  const drawn = new Map(random.map(({ node }, i) => [node, i]));
  const bind = (node: Node): Trace['leaves'][number] => {
    const a = argument.get(node);
    if (a !== undefined) return nodes => nodes[a].data!;
    const r = drawn.get(node);
    if (r !== undefined) return (_, arrays) => arrays[r];
    const p = parameters.get(node);
    if (p) return () => p.node.data ?? failPending(p);
    return () => node.data!;
  };
  const position = new Map(roots.map((n, i) => [n, i]));
  const read = (node: Node) => {
    const output = position.get(node);
    const leaf = output === undefined ? bind(node) : undefined;
    return (data: readonly TypedArray[], nodes: readonly Node[], drawn: readonly TypedArray[]) =>
      output === undefined ? leaf!(nodes, drawn) : data[output];
  };
  const uses = (node: Node) =>
    wanted.filter(n => graph.outputs[position.get(n)!] === graph.outputs[position.get(node)!]);
  for (const { node, parameter } of assigned) {
    check(
      position.has(node),
      () => `compile: ${parameter} is assigned a tensor that is not computed in the function; use add(0) to copy it`,
    );
  }
  return {
    graph,
    pending,
    trace: {
      leaves: graph.leaves.map(p => bind(graph.nodes[p])),
      random: random.map(r => r.fill),
      assigned: assigned.map(({ parameter, node }) => ({
        parameter,
        output: position.get(node)!,
        // A result that goes to several places must not be written over.
        recycle: uses(node).length === 1,
      })),
      result: (data: readonly TypedArray[], nodes: readonly Node[], drawn: readonly TypedArray[]) =>
        rebuild(result, ({ node }) => {
          const leaf = leafNode(node, read(node)(data, nodes, drawn));
          leaf.pinned = true;
          const p = parameters.get(node);
          if (p) p.node.pinned = true;
          return new Tensor(leaf);
        }),
      spare: new Map<number, TypedArray>(),
    },
  };
}

function failPending(p: Parameter): never {
  check(false, `compile: ${p} has a lazy value; await realize(parameter) before calling the compiled function`);
  throw new Error('unreachable');
}

function collect(result: Result, visit: (node: Node) => void): void {
  if (result === undefined) return;
  if (result instanceof Tensor) visit(result.node);
  else for (const value of Object.values(result)) collect(value, visit);
}

function rebuild(result: Result, make: (t: Tensor) => Tensor): Result {
  if (result === undefined) return undefined;
  if (result instanceof Tensor) return make(result);
  if (Array.isArray(result)) return result.map(r => rebuild(r, make));
  return Object.fromEntries(Object.entries(result).map(([k, v]) => [k, rebuild(v as Result, make)]));
}
