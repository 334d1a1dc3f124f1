/** Shapes, types and constants of all values for given input shapes, as far as they can be known before running. */
import type { Graph, Node } from '../load/graph.ts';
import { type Context, describe, type Operator, type Operators, operatorKey } from '../ops/operator.ts';
import { type Info, sizeOf, type Value, zeros } from '../values.ts';

/** Constants with more elements than this and than their inputs are computed at run time instead of being kept. */
const FOLD_LIMIT = 1 << 16;

export interface Inferred {
  readonly infos: Map<string, Info>;
  /** Nodes to execute, whose outputs' shapes are known. */
  readonly known: Node[];
  /** Nodes that wait for data: the first of them is blocked itself, the others too or by it. */
  readonly deferred: Node[];
  /** Values whose contents would unblock deferred nodes. */
  readonly wanted: Set<string>;
}

/** Subgraphs of a control-flow node. */
export function subgraphs(node: Node): Graph[] {
  return Object.values(node.attributes)
    .flat()
    .filter((a): a is Graph => typeof a === 'object' && 'nodes' in a);
}

/** All values that a node reads: its inputs and what its subgraphs take from outside. */
export function reads(node: Node): string[] {
  const names = node.inputs.filter(name => name !== '');
  for (const graph of subgraphs(node)) {
    const inner = new Set([...graph.inputs.map(i => i.name), ...graph.initializers.keys()]);
    for (const child of graph.nodes) {
      for (const name of reads(child)) if (!inner.has(name)) names.push(name);
      for (const name of child.outputs) inner.add(name);
    }
    for (const { name } of graph.outputs) if (!inner.has(name)) names.push(name);
  }
  return names;
}

const none: Context = {
  evaluate() {
    throw new Error('a subgraph is run with data only');
  },
};

/** Shapes from running on zeros: for operators without a rule. */
function byExample(operator: Operator, node: Node, inputs: readonly (Info | undefined)[]): Info[] {
  const example = (info: Info | undefined): Value | undefined =>
    info && (info.value ?? { type: info.type, dims: info.dims, data: zeros(info.type, sizeOf(info.dims)) });
  return operator.run(node, inputs.map(example), none).map(({ type, dims }) => ({ type, dims }));
}

const shapeOf = (node: Node, [x]: readonly (Info | undefined)[]): Value => {
  const rank = x!.dims.length;
  const at = (name: string, fallback: number) => {
    const given = (node.attributes[name] as number | undefined) ?? fallback;
    return Math.min(Math.max(given < 0 ? given + rank : given, 0), rank);
  };
  const dims = x!.dims.slice(at('start', 0), at('end', rank));
  return { type: 'int64', dims: [dims.length], data: BigInt64Array.from(dims, BigInt) };
};

export function infer(
  nodes: readonly Node[],
  constants: ReadonlyMap<string, Value>,
  feeds: ReadonlyMap<string, Info>,
  operators: Operators,
): Inferred {
  const infos = new Map<string, Info>(feeds);
  for (const [name, value] of constants) infos.set(name, { type: value.type, dims: value.dims, value });
  const known: Node[] = [];
  const deferred: Node[] = [];
  const wanted = new Set<string>();
  for (const node of nodes) {
    const operator = operators[operatorKey(node)];
    if (!reads(node).every(name => infos.has(name))) {
      deferred.push(node);
      continue;
    }
    const inputs = node.inputs.map(name => (name === '' ? undefined : infos.get(name)));
    if (node.op === 'Shape' && node.domain === '') {
      const value = shapeOf(node, inputs);
      infos.set(node.outputs[0], { type: value.type, dims: value.dims, value });
      continue;
    }
    const blockers = (operator.shapeInputs ?? []).filter(i => inputs[i] && !inputs[i].value);
    if (operator.dynamic || subgraphs(node).length || blockers.length) {
      deferred.push(node);
      for (const i of blockers) wanted.add(node.inputs[i]);
      continue;
    }
    let outputs: Info[] | undefined;
    try {
      outputs = operator.infer?.(node, inputs);
      if (inputs.every(info => !info || info.value)) {
        const given = inputs.reduce((sum, info) => sum + (info ? sizeOf(info.dims) : 0), 0);
        if (!outputs?.some(info => sizeOf(info.dims) > Math.max(FOLD_LIMIT, given))) {
          const values = operator.run(
            node,
            inputs.map(info => info?.value),
            none,
          );
          values.forEach((value, i) => {
            if (value && node.outputs[i]) infos.set(node.outputs[i], { type: value.type, dims: value.dims, value });
          });
          continue;
        }
      }
      outputs ??= byExample(operator, node, inputs);
    } catch (error) {
      if (error instanceof RangeError || error instanceof TypeError)
        throw new Error(`${describe(node)}: its output shape cannot be found: ${error.message}`, { cause: error });
      throw error;
    }
    node.outputs.forEach((name, i) => name !== '' && outputs[i] && infos.set(name, outputs[i]));
    known.push(node);
  }
  return { infos, known, deferred, wanted };
}
