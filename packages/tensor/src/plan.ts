import type { DType, NDArray, TypedArray } from './dtype.ts';
import { GossamerError } from './errors.ts';
import type { Executor } from './execute/executor.ts';
import { attributesKey, type Node, reachable, type Spec } from './graph.ts';
import { float32ToBfloat16, float32ToFloat16, toFloat32 } from './half.ts';
import { OnnxBuilder, OPSET } from './onnx/builder.ts';
import { encodeOnnx } from './onnx/encode.ts';
import { type Operator, partIndex } from './operator.ts';

const operatorIds = new WeakMap<Operator, number>();
let operators = 0;
function operatorId(op: Operator): number {
  let id = operatorIds.get(op);
  if (id === undefined) operatorIds.set(op, (id = operators++));
  return id;
}

/** A graph with equal subexpressions merged, and a key that is equal for graphs that compile to the same plan. */
export interface Canonical {
  readonly key: string;
  /** Representatives in topological order. */
  readonly nodes: readonly Node[];
  /** Inputs of each representative, as positions in `nodes`. */
  readonly inputs: readonly (readonly number[])[];
  /** Positions of the leaves, in the order in which a plan wants their data. */
  readonly leaves: readonly number[];
  readonly outputs: readonly number[];
}

/** Merges equal subexpressions (hash consing): gradients repeat transposes and casts a lot. */
export function canonicalize(roots: readonly Node[]): Canonical {
  const position = new Map<Node, number>();
  const byKey = new Map<string, number>();
  const nodes: Node[] = [];
  const inputs: number[][] = [];
  const leaves: number[] = [];
  for (const node of reachable(roots)) {
    const args = node.inputs.map(i => position.get(i)!);
    const key = node.isLeaf
      ? `L${leaves.length}${node.dtype}${node.shape}`
      : `${operatorId(node.op)}(${args})${attributesKey(node.attributes)}`;
    let p = byKey.get(key);
    if (p === undefined) {
      p = nodes.length;
      byKey.set(key, p);
      nodes.push(node);
      inputs.push(args);
      if (node.isLeaf) leaves.push(p);
    }
    position.set(node, p);
  }
  const outputs = roots.map(r => position.get(r)!);
  return { key: `${[...byKey.keys()].join(';')}>${outputs}`, nodes, inputs, leaves, outputs };
}

/** What a plan keeps of a node. */
type Recipe = Pick<Node, 'op' | 'attributes' | 'shape' | 'dtype' | 'parts' | 'isLeaf'> & {
  readonly inputs: readonly Spec[];
};
type Recipes = Omit<Canonical, 'nodes'> & { readonly nodes: readonly Recipe[] };

/** Copies: a node that is realised meanwhile forgets its operator, and a plan in the cache must not hold on to data. */
function frozen(graph: Canonical): Recipes {
  const spec = ({ shape, dtype }: Spec): Spec => ({ shape, dtype });
  const nodes = graph.nodes.map(({ op, attributes, shape, dtype, parts, isLeaf }, p) => ({
    op,
    attributes,
    shape,
    dtype,
    parts,
    isLeaf,
    inputs: graph.inputs[p].map(i => spec(graph.nodes[i])),
  }));
  return { ...graph, nodes };
}

type Slot = number;

interface Step {
  run(values: (TypedArray | undefined)[], into: ReadonlyMap<Slot, TypedArray>): Promise<void>;
  release(): Promise<void>;
}

/**
 * A compiled graph: ONNX Runtime sessions with host operators between them. Values live in slots (positions in the
 * canonical graph).
 */
export class Plan {
  /** Milliseconds spent inside the runtime so far, and the number of runs. */
  readonly spent = { runtime: 0, host: 0, runs: 0 };
  readonly outputs: readonly Slot[];
  readonly #leaves: readonly Slot[];
  readonly #steps: readonly Step[];
  readonly #size: number;
  #running = 0;
  #released = false;

  private constructor(graph: Recipes, steps: readonly Step[]) {
    this.outputs = graph.outputs;
    this.#leaves = graph.leaves;
    this.#size = graph.nodes.length;
    this.#steps = steps;
  }

  static async compile(canonical: Canonical, executor: Executor): Promise<Plan> {
    const graph = frozen(canonical);
    const steps: Step[] = [];
    const plan = new Plan(graph, steps);
    try {
      for (const step of partition(graph)) {
        steps.push(
          step.kind === 'host' ? hostStep(graph, step.slot, plan) : await sessionStep(graph, step, executor, plan),
        );
      }
    } catch (error) {
      await plan.release();
      throw error;
    }
    return plan;
  }

  /** Runs the plan. `leaves` in canonical order; `into` gives outputs (by slot) the memory to be written to. */
  async run(leaves: readonly TypedArray[], into: ReadonlyMap<Slot, TypedArray> = new Map()): Promise<TypedArray[]> {
    const values = new Array<TypedArray | undefined>(this.#size);
    this.#leaves.forEach((slot, i) => {
      values[slot] = leaves[i];
    });
    this.#running++;
    try {
      for (const step of this.#steps) await step.run(values, into);
    } finally {
      this.#running--;
      if (this.#released && this.#running === 0) await this.#dispose();
    }
    this.spent.runs++;
    return this.outputs.map(slot => values[slot]!);
  }

  /** Frees the sessions, once the runs in progress are over. */
  async release(): Promise<void> {
    this.#released = true;
    if (this.#running === 0) await this.#dispose();
  }

  async #dispose(): Promise<void> {
    await Promise.all(this.#steps.map(s => s.release()));
  }
}

type Piece = { kind: 'host'; slot: Slot } | { kind: 'session'; members: Slot[]; reads: Slot[]; writes: Slot[] };

const isHost = (node: Recipe): boolean => node.op.run !== undefined;
const isConstant = (node: Recipe): boolean => node.op.name === 'constant';

/** Groups nodes into the fewest sessions that host operators allow: everything at the same depth of host operators. */
function partition({ nodes, inputs, outputs }: Recipes): Piece[] {
  const depth = new Array<number>(nodes.length).fill(0);
  const onHost = nodes.map((node, p) => isHost(node) || (partIndex(node) !== undefined && isHost(nodes[inputs[p][0]])));
  nodes.forEach((_, p) => {
    for (const i of inputs[p]) depth[p] = Math.max(depth[p], depth[i] + (onHost[i] && !onHost[p] ? 1 : 0));
    // A host operator fed by another one runs a round later, its own part nodes do not.
    if (isHost(nodes[p])) for (const i of inputs[p]) if (onHost[i]) depth[p] = Math.max(depth[p], depth[i] + 1);
  });
  const pieces: Piece[] = [];
  const last = Math.max(0, ...depth);
  for (let level = 0; level <= last; level++) {
    const at = nodes.flatMap((_, p) => (depth[p] === level ? [p] : []));
    const members = at.filter(p => !onHost[p] && !nodes[p].isLeaf && !isConstant(nodes[p]));
    const inside = new Set(members);
    const reads = new Set(members.flatMap(p => inputs[p]).filter(i => !inside.has(i) && !isConstant(nodes[i])));
    const wanted = new Set(outputs);
    nodes.forEach((_, p) => {
      if (!inside.has(p)) for (const i of inputs[p]) wanted.add(i);
    });
    const writes = members.filter(p => wanted.has(p) && !nodes[p].parts);
    // A constant that is itself a result, or a host operator's input, is computed like any other node.
    for (const p of at) {
      if (isConstant(nodes[p]) && (outputs.includes(p) || nodes.some((n, q) => isHost(n) && inputs[q].includes(p)))) {
        members.push(p);
        writes.push(p);
      }
    }
    if (writes.length > 0)
      pieces.push({ kind: 'session', members: members.sort((a, b) => a - b), reads: [...reads], writes });
    for (const p of at) if (isHost(nodes[p])) pieces.push({ kind: 'host', slot: p });
  }
  return pieces;
}

async function sessionStep(
  { nodes, inputs }: Recipes,
  piece: Piece & { kind: 'session' },
  executor: Executor,
  plan: Plan,
): Promise<Step> {
  const builder = new OnnxBuilder();
  const names = new Map<Slot, string | readonly string[]>();
  for (const slot of piece.reads) {
    const { dtype, shape } = nodes[slot];
    const name = `i${slot}`;
    const carried = carrier(dtype);
    builder.inputs.push({ name, dtype: carried, shape: [...shape] });
    names.set(slot, carried === dtype ? name : builder.cast(name, dtype));
  }
  const emit = (slot: Slot): string | readonly string[] => {
    const known = names.get(slot);
    if (known !== undefined) return known;
    const node = nodes[slot];
    const args = inputs[slot].map(i => emit(i));
    const first = builder.nodes.length;
    const index = partIndex(node);
    const name = index === undefined ? emitNode(builder, node, args as string[]) : args[0][index];
    // So that the runtime's messages say which operator they are about.
    for (let i = first; i < builder.nodes.length; i++) builder.nodes[i].name = `${node.op.name} ${i}`;
    names.set(slot, name);
    return name;
  };
  for (const slot of piece.members) emit(slot);
  const taken = new Set(builder.inputs.map(i => i.name));
  for (const slot of piece.writes) {
    const { dtype, shape } = nodes[slot];
    const value = names.get(slot) as string;
    let name = carrier(dtype) === dtype ? value : builder.cast(value, carrier(dtype));
    // One value may not be an input or two outputs; only then does it need a copy.
    if (taken.has(name) || builder.initializers.has(name)) name = builder.node('Identity', [name]);
    taken.add(name);
    builder.outputs.push({ name, dtype: carrier(dtype), shape: [...shape] });
  }
  const executable = await executor.load(encodeBuilder(builder));
  return {
    run: async (values, into) => {
      const feeds = piece.reads.map(slot => carry({ ...specOf(nodes[slot]), data: values[slot]! }));
      const start = performance.now();
      const results = await executable.run(
        feeds,
        piece.writes.map(slot => (carrier(nodes[slot].dtype) === nodes[slot].dtype ? into.get(slot) : undefined)),
      );
      plan.spent.runtime += performance.now() - start;
      piece.writes.forEach((slot, i) => {
        values[slot] = unpack(nodes[slot].dtype, results[i]);
      });
    },
    release: () => executable.release(),
  };
}

const specOf = ({ dtype, shape }: Spec): Spec => ({ dtype, shape });

/** The runtime's JavaScript interface takes no 16-bit floats on every Node: they cross the border as float32, exactly. */
const carrier = (dtype: DType): DType => (dtype === 'float16' || dtype === 'bfloat16' ? 'float32' : dtype);

const carry = (x: NDArray): NDArray => (carrier(x.dtype) === x.dtype ? x : toFloat32(x));

function unpack(dtype: DType, data: TypedArray): TypedArray {
  if (dtype === 'float16') return float32ToFloat16(data as Float32Array);
  return dtype === 'bfloat16' ? float32ToBfloat16(data as Float32Array) : data;
}

/** Adds one node's ONNX form. */
function emitNode(builder: OnnxBuilder, node: Recipe, args: readonly string[]): string | readonly string[] {
  if (!node.op.emit)
    throw new GossamerError(`${node.op.name} runs on the host only and cannot become part of an ONNX file`);
  return node.op.emit(builder, args, {
    attributes: node.attributes,
    inputs: node.inputs,
    outputs: node.parts ?? [node],
  });
}

const encodeBuilder = (builder: OnnxBuilder): Uint8Array =>
  encodeOnnx({
    irVersion: 10,
    opsets: { '': OPSET, 'com.microsoft': 1 },
    graph: {
      name: 'gossamer',
      nodes: builder.nodes,
      initializers: builder.initializers,
      inputs: builder.inputs,
      outputs: builder.outputs,
    },
  });

function hostStep({ nodes, inputs }: Recipes, slot: Slot, plan: Plan): Step {
  const node = nodes[slot];
  const specs = node.parts ?? [node];
  const destinations = node.parts
    ? nodes.flatMap((n, p) => {
        const index = partIndex(n);
        return index !== undefined && inputs[p][0] === slot ? [{ p, index }] : [];
      })
    : [{ p: slot, index: 0 }];
  return {
    run: async values => {
      const args = inputs[slot].map(i => ({ dtype: nodes[i].dtype, shape: nodes[i].shape, data: values[i]! }));
      const start = performance.now();
      const result = await node.op.run!(args, node.attributes, specs);
      plan.spent.host += performance.now() - start;
      const list = (node.parts ? result : [result]) as readonly TypedArray[];
      for (const { p, index } of destinations) values[p] = list[index];
    },
    release: async () => {},
  };
}
