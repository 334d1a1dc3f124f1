import { FormatError, type NDArray } from '@gossamer/tensor';
import { utf8 } from './bytes.ts';
import { expectArrays, readNpz } from './npy.ts';
import { type Pickled, readPickle } from './pickle.ts';
import { type Csr, csrFromSorted } from './sparse.ts';

/** A graph whose nodes have features and classes, with the standard split of its nodes. */
export interface NodeGraph {
  readonly nodes: number;
  readonly classes: number;
  /** [nodes, features], columns sorted within a row. */
  readonly features: Csr;
  /** Class of each node; -1 where the source gives none. */
  readonly labels: Int32Array;
  /** int32 [2, edges]: sources, then targets; each edge in both directions, sorted, no self loops, no repeats. */
  readonly edges: NDArray<Int32Array>;
  /** Nodes to train on, to validate on and to test on. */
  readonly train: Int32Array;
  readonly val: Int32Array;
  readonly test: Int32Array;
}

/** The files `ind.<set>.<key>` of https://github.com/kimiyoung/planetoid/tree/master/data. */
export type PlanetoidFiles = Record<'x' | 'tx' | 'allx' | 'y' | 'ty' | 'ally' | 'graph' | 'test.index', Uint8Array>;

/**
 * Reads the original planetoid files (Yang et al. 2016, arXiv:1603.08861): Python 2 pickles, read without running them.
 * Test rows are put at their places; test nodes that the files skip (Citeseer has 15) keep no features and label -1.
 * The split is the public one: the nodes of `x`, the 500 after them, and `test.index`.
 */
export function readPlanetoid(files: PlanetoidFiles, name = 'planetoid'): NodeGraph {
  const fail = (message: string): never => {
    throw new FormatError(`${name}: ${message}`);
  };
  const [x, tx, allx] = (['x', 'tx', 'allx'] as const).map(key => asCsr(readPickle(files[key], `${name}.${key}`)));
  const [y, ty, ally] = (['y', 'ty', 'ally'] as const).map(key => asMatrix(readPickle(files[key], `${name}.${key}`)));
  if (!x || !tx || !allx) return fail('x, tx and allx must be CSR matrices');
  if (!y || !ty || !ally) return fail('y, ty and ally must be arrays of rank 2');
  const graph = readPickle(files.graph, `${name}.graph`);
  const test = utf8(files['test.index'], `${name}.test.index`).trim().split(/\s+/).map(Number);
  const nodes = Math.max(...test) + 1;
  const [features, classes] = [allx.shape[1], ally.shape[1]];
  if (test.length !== tx.shape[0] || new Set(test).size !== test.length) {
    fail(`test.index lists ${test.length} nodes, tx has ${tx.shape[0]} rows`);
  }
  if (!test.every(node => Number.isInteger(node) && node >= allx.shape[0])) {
    fail(`test.index must list nodes after the ${allx.shape[0]} of allx`);
  }
  if (tx.shape[1] !== features || ty.shape[1] !== classes || x.shape[0] !== y.shape[0]) {
    fail('x, tx, allx, y, ty and ally do not fit together');
  }
  if (allx.shape[0] !== ally.shape[0] || tx.shape[0] !== ty.shape[0] || x.shape[0] + 500 > allx.shape[0]) {
    fail('features and labels have different numbers of rows');
  }
  const rows: number[] = [];
  const columns: number[] = [];
  const values: number[] = [];
  const labels = new Int32Array(nodes).fill(-1);
  const place = (source: Csr, hot: NDArray, row: number, node: number): void => {
    const order = range(source.offsets[row], source.offsets[row + 1]);
    for (const k of order.sort((a, b) => source.columns[a] - source.columns[b])) {
      rows.push(node);
      columns.push(source.columns[k]);
      values.push(source.values[k]);
    }
    labels[node] = hottest(hot, row);
  };
  for (let row = 0; row < allx.shape[0]; row++) place(allx, ally, row, row);
  const inOrder = test.map((node, row) => ({ node, row })).sort((a, b) => a.node - b.node);
  for (const { node, row } of inOrder) place(tx, ty, row, node);
  return {
    nodes,
    classes,
    features: csrFromSorted([nodes, features], rows, columns, values),
    labels,
    edges: undirected(graph, nodes, fail),
    train: Int32Array.from(range(0, x.shape[0])),
    val: Int32Array.from(range(x.shape[0], x.shape[0] + 500)),
    test: Int32Array.from(inOrder, ({ node }) => node),
  };
}

const range = (start: number, stop: number): number[] => Array.from({ length: stop - start }, (_, i) => start + i);

const asCsr = (value: Pickled): Csr | null =>
  value !== null && typeof value === 'object' && 'offsets' in value ? value : null;

const asMatrix = (value: Pickled): NDArray | null =>
  value !== null && typeof value === 'object' && 'dtype' in value && value.shape.length === 2 ? value : null;

/** Column of the first 1 in a row, -1 if there is none. */
function hottest(hot: NDArray, row: number): number {
  const width = hot.shape[1];
  for (let column = 0; column < width; column++) if (Number(hot.data[row * width + column]) === 1) return column;
  return -1;
}

/** Adjacency lists as sorted edges in both directions without self loops and repeats. */
function undirected(graph: Pickled, nodes: number, fail: (message: string) => never): NDArray<Int32Array> {
  if (!(graph instanceof Map)) return fail('graph must be a dictionary of adjacency lists');
  const keys = new Set<number>();
  for (const [source, targets] of graph) {
    if (!Array.isArray(targets)) return fail(`graph: the neighbours of ${String(source)} are no list`);
    for (const target of targets) {
      const [a, b] = [Number(source), Number(target)];
      if (!(Number.isInteger(a) && Number.isInteger(b) && a >= 0 && b >= 0 && a < nodes && b < nodes)) {
        return fail(`graph: edge ${a} → ${b} leaves the ${nodes} nodes`);
      }
      if (a !== b) keys.add(a * nodes + b).add(b * nodes + a);
    }
  }
  const sorted = Float64Array.from(keys).sort();
  const data = new Int32Array(2 * sorted.length);
  sorted.forEach((key, i) => {
    data[i] = Math.floor(key / nodes);
    data[sorted.length + i] = key % nodes;
  });
  return { dtype: 'int32', shape: [2, sorted.length], data };
}

const keys = [
  'shape',
  'feat_row',
  'feat_col',
  'feat_val',
  'labels',
  'edge_index',
  'train_idx',
  'val_idx',
  'test_idx',
] as const;

/**
 * Reads a converted planetoid graph from `.npz`: arrays `shape` = [nodes, features, classes], sparse features `feat_row`,
 * `feat_col`, `feat_val` sorted by row and column, `labels`, `edge_index` [2, edges], `train_idx`, `val_idx`, `test_idx`.
 */
export function readPlanetoidNpz(bytes: Uint8Array, name = 'planetoid npz'): NodeGraph {
  const arrays = expectArrays(readNpz(bytes, name), keys, name);
  return fromArrays(key => Array.from(arrays[key].data as Float32Array, Number), name);
}

/** Reads the same layout from JSON: an object of number arrays, `edge_index` a pair of them. `bytes` are uncompressed. */
export function readPlanetoidJson(bytes: Uint8Array, name = 'planetoid json'): NodeGraph {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(utf8(bytes, name));
  } catch (error) {
    throw new FormatError(`${name}: not JSON: ${(error as Error).message}`);
  }
  return fromArrays(key => {
    const field = fields?.[key];
    const list = Array.isArray(field) ? field.flat() : [];
    if (!Array.isArray(field) || !list.every(n => typeof n === 'number')) {
      throw new FormatError(`${name}: ${key} must be an array of numbers`);
    }
    return list as number[];
  }, name);
}

function fromArrays(field: (key: (typeof keys)[number]) => number[], name: string): NodeGraph {
  const [nodes, features, classes] = field('shape');
  const [rows, columns, values] = [field('feat_row'), field('feat_col'), field('feat_val')];
  const labels = Int32Array.from(field('labels'));
  const edges = Int32Array.from(field('edge_index'));
  const [train, val, test] = [field('train_idx'), field('val_idx'), field('test_idx')].map(list =>
    Int32Array.from(list),
  );
  const within = (list: ArrayLike<number>, low: number, limit: number): boolean =>
    Array.prototype.every.call(list, n => Number.isInteger(n) && n >= low && n < limit);
  const sound =
    rows.length === columns.length &&
    rows.length === values.length &&
    rows.every((row, k) => k === 0 || row > rows[k - 1] || (row === rows[k - 1] && columns[k] > columns[k - 1])) &&
    within(rows, 0, nodes) &&
    within(columns, 0, features) &&
    labels.length === nodes &&
    within(labels, -1, classes) &&
    edges.length % 2 === 0 &&
    [edges, train, val, test].every(list => within(list, 0, nodes));
  if (!sound) throw new FormatError(`${name}: its arrays do not describe a graph of ${nodes} nodes`);
  return {
    nodes,
    classes,
    features: csrFromSorted([nodes, features], rows, columns, values),
    labels,
    edges: { dtype: 'int32', shape: [2, edges.length / 2], data: edges },
    train,
    val,
    test,
  };
}
