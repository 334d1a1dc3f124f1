import type { OnnxAttribute, OnnxGraph, OnnxNode } from './proto.ts';

/** The graphs an attribute holds: branches of `If`, bodies of `Loop` and `Scan`. */
export const graphsOf = (attribute: OnnxAttribute): readonly OnnxGraph[] =>
  attribute.type === 'graph' ? [attribute.value] : attribute.type === 'graphs' ? attribute.value : [];

/** Names that a node's nested graphs take from the graphs around them. */
export function capturedNames(node: OnnxNode): string[] {
  const names = new Set<string>();
  for (const attribute of Object.values(node.attributes))
    for (const graph of graphsOf(attribute)) for (const name of freeNames(graph)) names.add(name);
  return [...names];
}

function freeNames(graph: OnnxGraph): Set<string> {
  const used = new Set(graph.outputs.map(v => v.name));
  const own = new Set([...graph.inputs.map(v => v.name), ...graph.initializers.keys()]);
  for (const node of graph.nodes) {
    for (const input of node.inputs) if (input !== '') used.add(input);
    for (const name of capturedNames(node)) used.add(name);
    for (const output of node.outputs) own.add(output);
  }
  return new Set([...used].filter(name => !own.has(name)));
}
