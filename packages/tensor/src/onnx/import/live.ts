import { check, GossamerError } from '../../errors.ts';
import { capturedNames, graphsOf } from '../captured.ts';
import type { OnnxFunction, OnnxGraph, OnnxModel, OnnxNode } from '../proto.ts';
import { describeNode } from '../sort.ts';
import { findImport } from './registry.ts';

/** Functions that a model defines, by domain, name and overload. */
export type Functions = ReadonlyMap<string, OnnxFunction>;

const key = (domain: string, name: string, overload = ''): string => `${domain}\n${name}\n${overload}`;

export const functionsOf = (model: OnnxModel): Functions =>
  new Map((model.functions ?? []).map(f => [key(f.domain, f.name, f.overload), f]));

/** The model's function that a node calls, if it calls one. */
export const calledFunction = (functions: Functions, node: OnnxNode): OnnxFunction | undefined =>
  functions.get(key(node.domain, node.opType, node.overload));

/** The nodes on which the values `wanted` depend, in their order. */
export function liveNodes(nodes: readonly OnnxNode[], wanted: readonly string[]): OnnxNode[] {
  const needed = new Set(wanted);
  const live = nodes.toReversed().filter(node => {
    if (!node.outputs.some(o => o !== '' && needed.has(o))) return false;
    for (const name of [...node.inputs, ...capturedNames(node)]) needed.add(name);
    return true;
  });
  return live.reverse();
}

export const outputNames = (graph: OnnxGraph): string[] => graph.outputs.map(o => o.name);

/** Throws an error that lists every operator that the model needs and that cannot be imported. */
export function refuseUnsupported(model: OnnxModel, functions: Functions): void {
  const found = new Map<string, OnnxNode[]>();
  const visited = new Set<OnnxFunction>();
  const visit = (nodes: readonly OnnxNode[], wanted: readonly string[], callers: readonly OnnxFunction[]): void => {
    for (const node of liveNodes(nodes, wanted)) {
      const called = calledFunction(functions, node);
      if (called) {
        check(!callers.includes(called), () => `function ${called.domain}::${called.name} calls itself`);
        if (!visited.has(called)) visit(called.nodes, called.outputs, [...callers, called]);
        visited.add(called);
      } else if (node.opType === 'If' && node.domain === '') {
        for (const branch of Object.values(node.attributes).flatMap(graphsOf)) {
          visit(branch.nodes, outputNames(branch), callers);
        }
      } else if (!findImport(node.domain, node.opType)) {
        const operator = node.domain ? `${node.domain}::${node.opType}` : node.opType;
        found.set(operator, [...(found.get(operator) ?? []), node]);
      }
    }
  };
  visit(model.graph.nodes, outputNames(model.graph), []);
  if (found.size === 0) return;
  const list = [...found].map(
    ([operator, nodes]) =>
      `${operator} (${nodes.length === 1 ? '' : `${nodes.length} nodes, first `}${describeNode(nodes[0])})`,
  );
  const loops = found.has('Loop') || found.has('Scan');
  throw new GossamerError(
    `the model needs operators that cannot be imported: ${list.join('; ')}.` +
      (loops ? ' Loops over data have no fixed graph: export the model with the loop unrolled.' : ''),
  );
}
