import { barChart } from '../plot.ts';
import { percent, quantity } from '../text.ts';
import type { SparsityReport } from './report.ts';

/** The report as a picture: each layer's density as a bar, with its non-zeros behind it; an SVG document. */
export function reportSvg({ layers, total }: SparsityReport, title = 'Non-zero weights by layer'): string {
  const note = (r: { density: number; nonzeros: number; parameters: number }) =>
    `${percent(r.density)} · ${quantity(r.nonzeros)} of ${quantity(r.parameters)}`;
  const operations =
    total.flopsDense > 0
      ? `, ${percent(total.flopsSparse / total.flopsDense)} of ${quantity(total.flopsDense)} FLOPs`
      : '';
  return barChart({
    title,
    subtitle: `${quantity(total.nonzeros)} of ${quantity(total.parameters)} weights (${percent(total.density)})${operations}`,
    x: { label: 'density', ticks: [0, 0.25, 0.5, 0.75, 1], format: v => `${100 * v} %` },
    bars: layers.map(r => ({ name: r.name, value: r.density, note: note(r) })),
    full: 1,
  });
}
