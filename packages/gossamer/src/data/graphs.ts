import { check, type NDArray } from '@gossamer/tensor';
import type { GraphSet } from './tu.ts';

/** Several graphs as one without connections between them. */
export interface GraphBatch {
  /** Number of graphs. */
  readonly length: number;
  readonly nodes: number;
  /** int32 [2, edges]: sources, then targets, numbered over the batch from 0. */
  readonly edges: NDArray<Int32Array>;
  /** Graph of each node, 0 … length − 1. */
  readonly graphOf: Int32Array;
  /** Class of each graph. */
  readonly labels: Int32Array;
  readonly nodeLabels: Int32Array | null;
  readonly edgeLabels: Int32Array | null;
  readonly nodeAttributes: NDArray<Float32Array> | null;
}

/** The graphs at `indices` of a set, in that order, with nodes renumbered. */
export function batchGraphs(set: GraphSet, indices: ArrayLike<number>): GraphBatch {
  const chosen = Array.from(indices);
  for (const g of chosen) {
    check(
      Number.isInteger(g) && g >= 0 && g < set.length,
      () => `batchGraphs: graph ${g} of ${set.length} in ${set.name}`,
    );
  }
  const nodeRanges = chosen.map(g => [set.nodeOffsets[g], set.nodeOffsets[g + 1]] as const);
  const edgeRanges = chosen.map(g => [set.edgeOffsets[g], set.edgeOffsets[g + 1]] as const);
  const nodes = total(nodeRanges);
  const count = total(edgeRanges);
  const edges = new Int32Array(2 * count);
  const graphOf = new Int32Array(nodes);
  const all = set.edges.shape[1];
  let [node, edge] = [0, 0];
  chosen.forEach((_, i) => {
    const [first, last] = nodeRanges[i];
    for (let k = edgeRanges[i][0]; k < edgeRanges[i][1]; k++, edge++) {
      edges[edge] = set.edges.data[k] - first + node;
      edges[count + edge] = set.edges.data[all + k] - first + node;
    }
    graphOf.fill(i, node, (node += last - first));
  });
  const width = set.nodeAttributes?.shape[1] ?? 0;
  return {
    length: chosen.length,
    nodes,
    edges: { dtype: 'int32', shape: [2, count], data: edges },
    graphOf,
    labels: Int32Array.from(chosen, g => set.labels[g]),
    nodeLabels: set.nodeLabels && gather(set.nodeLabels, nodeRanges, new Int32Array(nodes)),
    edgeLabels: set.edgeLabels && gather(set.edgeLabels, edgeRanges, new Int32Array(count)),
    nodeAttributes: set.nodeAttributes && {
      dtype: 'float32',
      shape: [nodes, width],
      data: gather(set.nodeAttributes.data, nodeRanges, new Float32Array(nodes * width), width),
    },
  };
}

type Range = readonly [start: number, stop: number];

const total = (ranges: readonly Range[]): number => ranges.reduce((n, [start, stop]) => n + stop - start, 0);

/** Writes the given ranges of rows one after the other. */
function gather<T extends Int32Array | Float32Array>(source: T, ranges: readonly Range[], target: T, width = 1): T {
  let at = 0;
  for (const [start, stop] of ranges) {
    target.set(source.subarray(start * width, stop * width), at);
    at += (stop - start) * width;
  }
  return target;
}
