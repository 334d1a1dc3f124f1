import { table } from '../../gossamer/src/text.ts';

/** Kinds of models that are raced. */
export type Group = 'networks' | 'pretrained' | 'encoder' | 'decoding';

/**
 * Who runs: this runtime on one thread, with dense kernels only, and on all threads; onnxruntime-node on one thread and on
 * all, and on one thread with the dense float32 model that an int8 one was made from; onnxruntime-web on one thread.
 */
export type Name = 'own' | 'dense' | 'all' | 'node' | 'nodeAll' | 'nodeFloat' | 'web';

export interface BenchRow {
  readonly group: Group;
  readonly model: string;
  /** `dense`, `90 %`, `4×1 90 %`, `2:4`, `int8`. */
  readonly variant: string;
  /** Share of zeros among the weights of the layers that may be pruned. */
  readonly sparsity: number;
  /** Median milliseconds; a contender that refused the model is missing. */
  readonly ms: Readonly<Partial<Record<Name, number>>>;
  /** Milliseconds of the pruned layers alone, by the runtimes' own profiles. */
  readonly layers?: { readonly own: number; readonly node: number };
  /** Bytes of this runtime's memory, one thread. */
  readonly memory?: { readonly total: number; readonly weights: number; readonly activations: number };
  /** Largest difference of this runtime's outputs from onnxruntime-node's, relative to each output's largest magnitude. */
  readonly difference?: number;
}

export interface LoadTimes {
  readonly fileBytes: number;
  /** Milliseconds of creating a session and running it once: medians, in fresh processes and in a warm one. */
  readonly fresh: { readonly own: number; readonly web: number };
  readonly warm: { readonly own: number; readonly web: number };
}

export interface RuntimeBench {
  readonly command: string;
  readonly machine: string;
  readonly date: string;
  readonly threads: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly rows: readonly BenchRow[];
  readonly load?: LoadTimes;
}

const ms = (value: number | undefined): string =>
  value === undefined ? '–' : value < 10 ? value.toFixed(2) : value.toFixed(1);
const times = (value: number | undefined): string => (value === undefined ? '–' : `${value.toFixed(2)}×`);
const ratio = (slow: number | undefined, fast: number | undefined): number | undefined =>
  slow === undefined || fast === undefined ? undefined : slow / fast;

/** Milliseconds of onnxruntime-node, one thread, on the float32 model. */
const baseline = ({ ms }: BenchRow): number | undefined => ms.nodeFloat ?? ms.node;

/** One group's table: milliseconds of this runtime and of onnxruntime-node, then ratios to the others in the same turns. */
function groupTable(rows: readonly BenchRow[], threads: number): string {
  const [{ group }] = rows;
  const tokens = group === 'decoding';
  const layers = rows.some(r => r.layers);
  const columns = [
    'model',
    'zeros',
    'ms',
    'node ms',
    ...(tokens ? ['tokens/s', 'node'] : []),
    'vs node',
    ...(layers ? ['sparse layers'] : []),
    'vs web',
    'vs own dense',
    `${threads} threads vs 1`,
    'vs node',
  ];
  const lines = rows.map((r, i) => [
    i > 0 && rows[i - 1].model === r.model ? '' : r.model,
    r.variant,
    ms(r.ms.own),
    ms(baseline(r)),
    ...(tokens ? [r.ms.own, baseline(r)].map(t => (t === undefined ? '–' : (1000 / t).toFixed(0))) : []),
    times(ratio(baseline(r), r.ms.own)),
    ...(layers ? [times(r.layers && r.layers.node / r.layers.own)] : []),
    times(ratio(r.ms.web, r.ms.own)),
    times(ratio(r.ms.dense, r.ms.own)),
    times(ratio(r.ms.own, r.ms.all)),
    times(ratio(r.ms.nodeAll, r.ms.all)),
  ]);
  return table(
    columns.map((head, i) => ({ head, align: i < 2 ? 'left' : 'right' })),
    lines,
  );
}

const TITLES: Record<Group, string> = {
  networks: '224×224 images, random weights, zeros in the 1×1 convolutions',
  pretrained:
    'Published weights: as published, or global magnitude pruning of all convolutions (for speed: not fine-tuned)',
  encoder: 'BERT-base encoder layer, 128 tokens',
  decoding: 'Decoding, one token with the keys and values of those before; zeros in all products',
};

/** The whole result as text: one table for each kind of model. */
export function formatRuntimeBench({ rows, threads, machine, date, versions, load }: RuntimeBench): string {
  const groups = Object.keys(TITLES) as Group[];
  const tables = groups.flatMap(group => {
    const own = rows.filter(r => r.group === group);
    return own.length ? [`${TITLES[group]}\n${groupTable(own, threads)}`] : [];
  });
  const memory = rows.flatMap(r => (r.memory ? [r.memory.total / (r.memory.weights + r.memory.activations)] : []));
  const differences = rows.flatMap(r => r.difference ?? []);
  return [
    ...tables.flatMap(t => [t, '']),
    'ms: this runtime on one thread, kernels chosen by itself; node: onnxruntime-node, one thread; web: onnxruntime-web, one',
    'thread; own dense: this runtime without sparse kernels; sparse layers: their time alone, vs node. 2.00×: this runtime takes',
    'half the time. The last column is both on all threads. Medians, in turns.',
    ...(differences.length
      ? [`Largest relative difference of outputs: ${Math.max(...differences).toExponential(1)}.`]
      : []),
    ...(memory.length
      ? [`Memory: at most ${(100 * (Math.max(...memory) - 1)).toFixed(1)} % more than weights and planned activations.`]
      : []),
    ...(load ? [formatLoad(load)] : []),
    `${machine}; ${Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')}; ${date}.`,
  ].join('\n');
}

function formatLoad({ fileBytes, fresh, warm }: LoadTimes): string {
  const pair = ({ own, web }: LoadTimes['fresh']): string =>
    `${own.toFixed(0)} ms (onnxruntime-web ${web.toFixed(0)} ms, ${times(own / web)} its time)`;
  const size = (fileBytes / 1e6).toFixed(0);
  return `Load and first run of a ${size} MB MobileNetV2: ${pair(fresh)} in a fresh process, ${pair(warm)} in a warm one.`;
}
