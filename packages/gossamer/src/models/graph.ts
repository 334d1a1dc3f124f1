import { check, formatShape, gather, type NDArray, operator, scatterAdd, type Tensor, tensor } from '@gossamer/tensor';

/** Directed edges as tensors: along each, its source sends a message to its target. */
export interface Edges {
  /** int32 [edges]. */
  readonly sources: Tensor;
  /** int32 [edges]. */
  readonly targets: Tensor;
  /** float32 [edges]: factor of each message; default 1. */
  readonly weights?: Tensor;
}

/** A graph as edges, or as a matrix [nodes, nodes] whose row i weighs the messages that node i receives. */
export type Adjacency = Tensor | Edges;

export const isEdges = (adjacency: Adjacency): adjacency is Edges => 'sources' in adjacency;

/** What each node receives: the weighted sum of its neighbours' rows of x [nodes, features]. */
export function propagate(adjacency: Adjacency, x: Tensor): Tensor {
  if (!isEdges(adjacency)) {
    const nodes = x.shape[0];
    check(
      adjacency.rank === 2 && adjacency.shape.every(n => n === nodes),
      () =>
        `propagate: adjacency ${formatShape(adjacency.shape)} and features ${formatShape(x.shape)}: expected [${nodes}, ${nodes}]`,
    );
    return adjacency.matmul(x);
  }
  const { sources, targets, weights } = adjacency;
  const messages = gather(x, sources);
  return scatterAdd(x.shape, targets, weights ? messages.mul(weights.unsqueeze(1)) : messages);
}

/** A list of edges, int32 [2, edges] (sources, then targets), as tensors. */
export function edges({ shape, data }: NDArray, weights?: Float32Array): Edges {
  const count = shape[1];
  check(shape.length === 2 && shape[0] === 2, () => `edges: expected int32 [2, edges], got ${formatShape(shape)}`);
  return {
    sources: tensor(Int32Array.from(data.subarray(0, count) as Int32Array)),
    targets: tensor(Int32Array.from(data.subarray(count) as Int32Array)),
    ...(weights && { weights: tensor(weights) }),
  };
}

/** The edges and one from each node to itself, where there is none yet. */
export function withSelfLoops({ shape, data }: NDArray, nodes: number): NDArray<Int32Array> {
  const count = shape[1];
  const looped = new Set<number>();
  for (let e = 0; e < count; e++) if (data[e] === data[count + e]) looped.add(Number(data[e]));
  const missing = Array.from({ length: nodes }, (_, i) => i).filter(i => !looped.has(i));
  const half = (from: number): number[] => [...Array.from(data.subarray(from, from + count) as Int32Array), ...missing];
  return { dtype: 'int32', shape: [2, count + missing.length], data: Int32Array.from([...half(0), ...half(count)]) };
}

/**
 * Â = D^−½ (A + I) D^−½ with D the degrees of A + I (Kipf & Welling 2017, equation 2): the edges with self loops, each
 * weighted by 1 / √(degree of its source · degree of its target).
 */
export function normalizedEdges(list: NDArray, nodes: number): Edges {
  const looped = withSelfLoops(list, nodes);
  const count = looped.shape[1];
  const degree = new Float64Array(nodes);
  for (let e = 0; e < count; e++) degree[looped.data[count + e]]++;
  const weight = (e: number): number => 1 / Math.sqrt(degree[looped.data[e]] * degree[looped.data[count + e]]);
  return edges(
    looped,
    Float32Array.from({ length: count }, (_, e) => weight(e)),
  );
}

/** The matrix [nodes, nodes] of an edge list; repeated edges add up. */
export async function denseAdjacency({ sources, targets, weights }: Edges, nodes: number): Promise<Tensor> {
  const [from, to, w] = await Promise.all([sources.data<Int32Array>(), targets.data<Int32Array>(), weights?.data()]);
  const matrix = new Float32Array(nodes * nodes);
  for (let e = 0; e < from.length; e++) matrix[to[e] * nodes + from[e]] += w ? w[e] : 1;
  return tensor(matrix, [nodes, nodes]);
}

const largestOp = operator<{ nodes: number }>({
  name: 'largestOfEdges',
  infer: ([values], { nodes }) => ({ shape: [nodes, values.shape[1]], dtype: values.dtype }),
  gradient: () => [undefined, undefined],
  emit: (b, [values, targets], { inputs: [{ shape, dtype }], outputs }) => {
    const indices = b.node('Expand', [b.node('Unsqueeze', [targets, b.dims([1])]), b.dims(shape)]);
    const lowest = b.node('Expand', [b.scalar(-1e30, dtype), b.dims(outputs[0].shape)]);
    return b.node('ScatterElements', [lowest, indices, values], { axis: 0, reduction: 'max' });
  },
});

/**
 * The largest of the values [edges, k] on the edges into each node, −1e30 where there is none; [nodes, k]. Gradients do not
 * pass: it serves to shift what a softmax over edges exponentiates.
 */
export const largestOfEdges = (values: Tensor, targets: Tensor, nodes: number): Tensor =>
  largestOp([values, targets], { nodes });
