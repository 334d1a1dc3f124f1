import { FormatError } from '../errors.ts';
import { capturedNames } from './captured.ts';
import type { OnnxNode } from './proto.ts';

/** How a node is called in messages: its operator, and its name or first output. */
export const describeNode = (node: OnnxNode): string =>
  `${node.domain ? `${node.domain}::` : ''}${node.opType} '${node.name || (node.outputs.find(o => o !== '') ?? '')}'`;

/**
 * The nodes in an order in which every producer comes before its consumers, the given order where it already is one.
 * What a nested graph takes from outside counts as an input of its node. Throws a {@link FormatError} that names the
 * nodes of a cycle.
 */
export function topologicalSort(nodes: readonly OnnxNode[]): OnnxNode[] {
  const producer = new Map<string, number>();
  nodes.forEach((node, i) => {
    for (const output of node.outputs) if (output !== '') producer.set(output, i);
  });
  const needs = nodes.map(node =>
    [...node.inputs, ...capturedNames(node)].map(name => producer.get(name)).filter(i => i !== undefined),
  );
  if (needs.every((list, i) => list.every(p => p < i))) return [...nodes];

  // Depth first with an explicit stack: a chain of a million nodes must not overflow the call stack.
  const done = new Uint8Array(nodes.length); // 0 unseen, 1 on the stack, 2 placed
  const sorted: OnnxNode[] = [];
  for (let root = 0; root < nodes.length; root++) {
    if (done[root]) continue;
    const stack = [{ node: root, next: 0 }];
    done[root] = 1;
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      if (top.next === needs[top.node].length) {
        done[top.node] = 2;
        sorted.push(nodes[top.node]);
        stack.pop();
        continue;
      }
      const child = needs[top.node][top.next++];
      if (done[child] === 1)
        throw cycleError(
          nodes,
          stack.map(s => s.node),
          child,
        );
      if (done[child] === 0) {
        done[child] = 1;
        stack.push({ node: child, next: 0 });
      }
    }
  }
  return sorted;
}

function cycleError(nodes: readonly OnnxNode[], path: number[], start: number): FormatError {
  const cycle = path.slice(path.indexOf(start)).reverse();
  const names = cycle.slice(0, 5).map(i => describeNode(nodes[i]));
  if (cycle.length > 5) names.push(`${cycle.length - 5} more`);
  return new FormatError(`the graph has a cycle: ${[...names, names[0]].join(' → ')}`);
}
