import type { ReportRow, SparsityReport } from '../sparsity/report.ts';
import { bar, fit, grouped, percent, quantity, table } from '../text.ts';

/** A model's layers as a table: a line each with a bar of its density, then the totals and what has collapsed. */
export function layerTable(report: SparsityReport, { flops = true }: { flops?: boolean } = {}): string {
  const numbers = (row: ReportRow) => [
    grouped(row.parameters),
    grouped(row.nonzeros),
    percent(row.density),
    bar(row.density, 20),
    ...(flops ? [quantity(row.flopsDense), quantity(row.flopsSparse)] : []),
  ];
  if (report.layers.length === 0) return 'no weights that could be pruned';
  const heads = ['layer', 'kind', 'shape', 'parameters', 'non-zero', 'density', ''];
  const { layers, total, collapsed, starved } = report;
  return [
    table(
      [...heads, ...(flops ? ['FLOPs', 'sparse'] : [])],
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
