import { gzipSync } from 'fflate';
import { bar, fit, grouped, percent, quantity, table } from '../text.ts';
import { flops, type Layer, layoutOf } from './layer.ts';
import { Mask } from './mask.ts';
import { type StorageBytes, storageBytes } from './storage.ts';

/** What one layer, or the whole model, costs dense and sparse. Plain data: this is the JSON form, too. */
export interface ReportRow {
  readonly name: string;
  readonly parameters: number;
  readonly nonzeros: number;
  /** nonzeros / parameters, 0…1. */
  readonly density: number;
  /** Floating-point operations for one sample (2 a multiply-add), with all weights and with the non-zeros only. */
  readonly flopsDense: number;
  readonly flopsSparse: number;
  /** Bytes of the 4-byte values and their index; `gzip` (of the dense array with its zeros) only if asked for. */
  readonly bytes: StorageBytes & { readonly gzip?: number };
}

export interface LayerRow extends ReportRow {
  readonly kind: Layer['kind'];
  readonly shape: readonly number[];
  /** Output channels without any non-zero weight, of how many; all of them dead means that the layer has collapsed. */
  readonly deadOutputs: number;
  readonly outputs: number;
}

export interface SparsityReport {
  readonly layers: readonly LayerRow[];
  readonly total: ReportRow;
  /** Layers that pass nothing on any more, and layers with less than one weight for each output channel. */
  readonly collapsed: readonly string[];
  readonly starved: readonly string[];
}

/**
 * Counts parameters, non-zeros, FLOPs and bytes by layer and in total.
 *
 * @param options.mask what lives, applied or not; in layers that it does not have, and without it, what is not zero
 * @param options.gzip also compress the bytes (slow: some 20 MB/s)
 */
export function sparsityReport(
  layers: readonly Layer[],
  { mask, gzip = false }: { mask?: Mask; gzip?: boolean } = {},
): SparsityReport {
  return reportOf(layers.map(l => layerRow(l, mask?.has(l.name) ? mask : Mask.ofNonzeros([l]), gzip)));
}

/** The report of rows that were made one by one. */
export const reportOf = (rows: readonly LayerRow[]): SparsityReport => ({
  layers: rows,
  total: totalOf(rows),
  collapsed: rows.filter(r => r.nonzeros === 0).map(r => r.name),
  starved: rows.filter(r => r.nonzeros > 0 && r.nonzeros < r.outputs).map(r => r.name),
});

/** One layer's row of a {@link sparsityReport}; `mask` must have the layer, by default what is not zero lives. */
export function layerRow(l: Layer, mask: Mask = Mask.ofNonzeros([l]), gzip = false): LayerRow {
  const keep = mask.get(l.name);
  const values = l.values.slice();
  mask.apply(l.name, values);
  const layout = layoutOf(l);
  const nonzeros = mask.kept(l.name);
  const bytes = storageBytes(values, layout.out, keep);
  return {
    name: l.name,
    kind: l.kind,
    shape: l.shape,
    parameters: keep.length,
    nonzeros,
    density: nonzeros / keep.length,
    flopsDense: flops(l, keep.length),
    flopsSparse: flops(l, nonzeros),
    bytes: gzip
      ? { ...bytes, gzip: gzipSync(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)).length }
      : bytes,
    outputs: layout.out,
    deadOutputs: layout.out - liveOutputs(keep, layout),
  };
}

function liveOutputs(keep: Uint8Array, layout: ReturnType<typeof layoutOf>): number {
  let live = 0;
  for (let o = 0; o < layout.out; o++) {
    if (isLive(keep, layout, o)) live++;
  }
  return live;
}

function isLive(keep: Uint8Array, layout: ReturnType<typeof layoutOf>, o: number): boolean {
  for (let i = 0; i < layout.in; i++) {
    const base = o * layout.outStride + i * layout.inStride;
    for (const offset of layout.kernelOffset) if (keep[base + offset] === 1) return true;
  }
  return false;
}

function totalOf(rows: readonly ReportRow[]): ReportRow {
  const sum = (f: (row: ReportRow) => number) => rows.reduce((n, row) => n + f(row), 0);
  const parameters = sum(r => r.parameters);
  const nonzeros = sum(r => r.nonzeros);
  return {
    name: 'total',
    parameters,
    nonzeros,
    density: nonzeros / parameters,
    flopsDense: sum(r => r.flopsDense),
    flopsSparse: sum(r => r.flopsSparse),
    bytes: {
      dense: sum(r => r.bytes.dense),
      bitmask: sum(r => r.bytes.bitmask),
      csr: sum(r => r.bytes.csr),
      relative: sum(r => r.bytes.relative),
      ...(rows.every(r => r.bytes.gzip !== undefined) && { gzip: sum(r => r.bytes.gzip!) }),
    },
  };
}

export interface ReportTableOptions {
  /** Columns of FLOPs; default true. */
  readonly flops?: boolean;
  /** Columns of bytes in each storage; default false. */
  readonly bytes?: boolean;
}

/** The report as aligned text: a line for each layer with a bar of its density, a total, and what has collapsed. */
export function reportTable(
  { layers, total, collapsed, starved }: SparsityReport,
  { flops = true, bytes = false }: ReportTableOptions = {},
): string {
  if (layers.length === 0) return 'no weights that could be pruned';
  const storages = Object.keys(total.bytes) as (keyof ReportRow['bytes'])[];
  const numbers = (row: ReportRow) => [
    grouped(row.parameters),
    grouped(row.nonzeros),
    percent(row.density),
    bar(row.density, 20),
    ...(flops ? [quantity(row.flopsDense), quantity(row.flopsSparse)] : []),
    ...(bytes ? storages.map(s => quantity(row.bytes[s]!)) : []),
  ];
  return [
    table(
      [
        ...['layer', 'kind', 'shape', 'parameters', 'non-zero', 'density', ''],
        ...(flops ? ['FLOPs', 'sparse'] : []),
        ...(bytes ? storages.map(s => `${s} bytes`) : []),
      ],
      [
        ...layers.map(row => [fit(row.name, 44), row.kind, row.shape.join('×'), ...numbers(row)]),
        null,
        ['total', '', '', ...numbers(total)],
      ],
    ),
    ...(collapsed.length > 0 ? [`collapsed (no weight left): ${collapsed.join(', ')}`] : []),
    ...(starved.length > 0 ? [`starved (less than one weight per output channel): ${starved.join(', ')}`] : []),
  ].join('\n');
}
