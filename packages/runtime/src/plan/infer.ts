/** Shapes, types and constants of all values for given input shapes, as far as they can be known before running. */
import { RuntimeError } from '../errors.ts';
import type { Node } from '../load/graph.ts';
import { type Context, describe, type Operator, type Operators, operatorKey } from '../ops/operator.ts';
import { type Info, sizeOf, type Value, zeros } from '../values.ts';
import type { Candidate } from './fuse-attention.ts';
import { takeApart } from './fused.ts';
import { isControl, reads } from './reads.ts';

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

const none: Context = {
  evaluate() {
    throw new Error('a subgraph is run with data only');
  },
};

type InputInfos = readonly (Info | undefined)[];

/** Shapes from running on zeros: for operators without a rule. */
function byExample(operator: Operator, node: Node, inputs: InputInfos): Info[] {
  const example = (info: Info | undefined): Value | undefined =>
    info && (info.value ?? { type: info.type, dims: info.dims, data: zeros(info.type, sizeOf(info.dims)) });
  return operator.run(node, inputs.map(example), none).map(({ type, dims }) => ({ type, dims }));
}

function shapeOf(node: Node, [x]: InputInfos): Value {
  const rank = x!.dims.length;
  const at = (name: string, fallback: number) => {
    const given = (node.attributes[name] as number | undefined) ?? fallback;
    return Math.min(Math.max(given < 0 ? given + rank : given, 0), rank);
  };
  const dims = x!.dims.slice(at('start', 0), at('end', rank));
  return { type: 'int64', dims: [dims.length], data: BigInt64Array.from(dims, BigInt) };
}

const withValue = (value: Value): Info => ({ type: value.type, dims: value.dims, value });

/** What a node's outputs are; with their values where all inputs are constant and the outputs not much larger. */
function outputsOf(node: Node, operator: Operator, inputs: InputInfos): readonly Info[] {
  if (node.op === 'Shape' && node.domain === '') return [withValue(shapeOf(node, inputs))];
  const infos = operator.infer?.(node, inputs);
  if (inputs.every(info => !info || info.value)) {
    const given = inputs.reduce((sum, info) => sum + (info ? sizeOf(info.dims) : 0), 0);
    if (!infos?.some(info => sizeOf(info.dims) > Math.max(FOLD_LIMIT, given))) {
      const values = inputs.map(info => info?.value);
      return operator.run(node, values, none).map(value => value && withValue(value));
    }
  }
  return infos ?? byExample(operator, node, inputs);
}

/** Shapes for the inputs `feeds`; those with a `value` are constants. */
export function infer(
  nodes: readonly Node[],
  constants: ReadonlyMap<string, Value>,
  feeds: ReadonlyMap<string, Info>,
  operators: Operators,
): Inferred {
  const infos = new Map<string, Info>(feeds);
  for (const [name, value] of constants) infos.set(name, withValue(value));
  const known: Node[] = [];
  const deferred: Node[] = [];
  const wanted = new Set<string>();

  const visit = (node: Node): void => {
    if (!reads(node).every(name => infos.has(name))) {
      deferred.push(node);
      return;
    }
    if ('resolve' in node) {
      (node as Candidate).resolve(infos).forEach(visit);
      return;
    }
    const operator = operators[operatorKey(node)];
    const inputs = node.inputs.map(name => (name === '' ? undefined : infos.get(name)));
    const blockers = operator.shapeInputs?.filter(i => inputs[i] && !inputs[i].value) ?? [];
    if (operator.dynamic || blockers.length || isControl(node)) {
      deferred.push(node);
      for (const i of blockers) wanted.add(node.inputs[i]);
      return;
    }
    let outputs: readonly Info[];
    try {
      const parts = takeApart(node, inputs, operators);
      if (parts) {
        parts.forEach(visit);
        return;
      }
      outputs = outputsOf(node, operator, inputs);
    } catch (error) {
      if (error instanceof RangeError || error instanceof TypeError)
        throw new RuntimeError(`${describe(node)}: its output shape cannot be found: ${error.message}`, {
          cause: error,
        });
      throw error;
    }
    node.outputs.forEach((name, i) => {
      if (name && outputs[i]) infos.set(name, outputs[i]);
    });
    if (!node.outputs.every((name, i) => name === '' || outputs[i]?.value)) known.push(node);
  };

  for (const node of nodes) visit(node);
  return { infos, known, deferred, wanted };
}
