import { FormatError, type NDArray } from '@gossamer/tensor';
import { utf8 } from './bytes.ts';

/** Many small graphs, each with a class: one edge list over all their nodes, graph by graph. */
export interface GraphSet {
  readonly name: string;
  /** Number of graphs. */
  readonly length: number;
  /** The source's class labels, sorted; `labels` are places in this list. */
  readonly classes: readonly number[];
  /** Class of each graph. */
  readonly labels: Int32Array;
  /** Nodes of graph g are [nodeOffsets[g], nodeOffsets[g + 1]). */
  readonly nodeOffsets: Int32Array;
  /** Edges of graph g are the columns [edgeOffsets[g], edgeOffsets[g + 1]) of `edges`. */
  readonly edgeOffsets: Int32Array;
  /** int32 [2, edges]: sources, then targets, numbered over the whole set from 0; both directions are listed. */
  readonly edges: NDArray<Int32Array>;
  /** Kind of each node and of each edge, 0 … kinds − 1 as `nodeKinds` and `edgeKinds` count them; null where absent. */
  readonly nodeLabels: Int32Array | null;
  readonly nodeKinds: number;
  readonly edgeLabels: Int32Array | null;
  readonly edgeKinds: number;
  /** float32 [nodes, attributes], null where absent. */
  readonly nodeAttributes: NDArray<Float32Array> | null;
}

/** Parts of file names, `<set>_<part>.txt`. The first three are required. */
export type TuFiles = Partial<
  Record<'A' | 'graph_indicator' | 'graph_labels' | 'node_labels' | 'edge_labels' | 'node_attributes', Uint8Array>
>;

/** Reads the text format of the TU Dortmund graph collection (Morris et al. 2020, arXiv:2007.08663). */
export function readTu(files: TuFiles, name = 'tu'): GraphSet {
  const fail = (part: string, message: string): never => {
    throw new FormatError(`${name}_${part}.txt: ${message}`);
  };
  const rows = (part: keyof TuFiles, integers: boolean): number[][] | null => {
    const bytes = files[part];
    if (!bytes) return null;
    const lines = utf8(bytes, `${name}_${part}.txt`).trimEnd().split('\n');
    return lines.map((line, i) => {
      const row = line.split(',').map(field => (field.trim() === '' ? Number.NaN : Number(field)));
      const bad = row.some(value => (integers ? !Number.isInteger(value) : !Number.isFinite(value)));
      if (bad) fail(part, `line ${i + 1} is ${JSON.stringify(line)}, expected numbers`);
      return row;
    });
  };
  const required = (part: keyof TuFiles): number[][] => rows(part, true) ?? fail(part, 'is missing');
  const sized = (part: keyof TuFiles, list: number[][] | null, length: number, of: string): number[][] | null =>
    list && list.length !== length ? fail(part, `${list.length} lines for ${length} ${of}`) : list;

  const graphOf = required('graph_indicator').map(([graph]) => graph - 1);
  const raw = required('graph_labels').map(([label]) => label);
  const graphs = raw.length;
  const nodes = graphOf.length;
  const nodeOffsets = new Int32Array(graphs + 1);
  graphOf.forEach((graph, node) => {
    if (graph < (node ? graphOf[node - 1] : 0) || graph >= graphs) {
      fail('graph_indicator', `line ${node + 1}: graph ${graph + 1} of ${graphs}; numbers start at 1 and never fall`);
    }
    nodeOffsets[graph + 1]++;
  });
  for (let g = 0; g < graphs; g++) nodeOffsets[g + 1] += nodeOffsets[g];

  const pairs = required('A');
  const edgeLabelRows = sized('edge_labels', rows('edge_labels', true), pairs.length, 'edges');
  const order = pairs.map((pair, line) => {
    const [a, b] = pair;
    if (pair.length !== 2 || !(a >= 1 && b >= 1 && a <= nodes && b <= nodes) || graphOf[a - 1] !== graphOf[b - 1]) {
      fail('A', `line ${line + 1}: ${pair} is no edge between two of the ${nodes} nodes of one graph`);
    }
    return line;
  });
  // Sets list edges by graph, nearly always; a stable sort makes it certain.
  order.sort((p, q) => graphOf[pairs[p][0] - 1] - graphOf[pairs[q][0] - 1]);
  const edges = new Int32Array(2 * pairs.length);
  const edgeOffsets = new Int32Array(graphs + 1);
  order.forEach((line, i) => {
    edges[i] = pairs[line][0] - 1;
    edges[pairs.length + i] = pairs[line][1] - 1;
    edgeOffsets[graphOf[edges[i]] + 1]++;
  });
  for (let g = 0; g < graphs; g++) edgeOffsets[g + 1] += edgeOffsets[g];

  const classes = [...new Set(raw)].sort((a, b) => a - b);
  const nodeLabels = kinds(sized('node_labels', rows('node_labels', true), nodes, 'nodes'));
  const edgeLabels = kinds(edgeLabelRows && order.map(line => edgeLabelRows[line]));
  const attributes = sized('node_attributes', rows('node_attributes', false), nodes, 'nodes');
  if (attributes?.some(row => row.length !== attributes[0].length)) fail('node_attributes', 'lines differ in length');
  return {
    name,
    length: graphs,
    classes,
    labels: Int32Array.from(raw, label => classes.indexOf(label)),
    nodeOffsets,
    edgeOffsets,
    edges: { dtype: 'int32', shape: [2, pairs.length], data: edges },
    nodeLabels: nodeLabels.labels,
    nodeKinds: nodeLabels.count,
    edgeLabels: edgeLabels.labels,
    edgeKinds: edgeLabels.count,
    nodeAttributes: attributes && {
      dtype: 'float32',
      shape: [nodes, attributes[0].length],
      data: Float32Array.from(attributes.flat()),
    },
  };
}

/** The first number of each line, renumbered 0, 1, … by size. */
function kinds(rows: number[][] | null): { labels: Int32Array | null; count: number } {
  if (!rows) return { labels: null, count: 0 };
  const place = new Map([...new Set(rows.map(([label]) => label))].sort((a, b) => a - b).map((label, i) => [label, i]));
  return { labels: Int32Array.from(rows, ([label]) => place.get(label)!), count: place.size };
}
