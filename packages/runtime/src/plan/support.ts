/** Whether a graph uses only what the runtime has; asked once, at load. */
import { UnsupportedError } from '../errors.ts';
import type { Graph } from '../load/graph.ts';
import { describe, type Operators, operatorKey } from '../ops/operator.ts';
import { subgraphs } from './infer.ts';

/** @throws UnsupportedError that names the first node with an unknown operator or attribute, also in subgraphs */
export function checkOperators(graph: Graph, operators: Operators): void {
  for (const node of graph.nodes) {
    const operator = Object.hasOwn(operators, operatorKey(node)) ? operators[operatorKey(node)] : undefined;
    if (!operator) {
      const domain = node.domain === '' ? '' : ` of domain ${node.domain}`;
      throw new UnsupportedError(
        `${describe(node)}: operator ${node.op}${domain} is not supported (opset ${node.version})`,
      );
    }
    for (const name of Object.keys(node.attributes)) {
      if (!operator.attributes.includes(name))
        throw new UnsupportedError(
          `${describe(node)}: attribute '${name}' is not supported; known are ${operator.attributes.join(', ') || 'none'}`,
        );
    }
    for (const inner of subgraphs(node)) checkOperators(inner, operators);
  }
}
