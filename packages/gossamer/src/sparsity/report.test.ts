import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { layer } from './layer.ts';
import { Mask } from './mask.ts';
import { prune } from './prune.ts';
import { reportTable, sparsityReport } from './report.ts';
import { reportSvg } from './report-svg.ts';
import { magnitude } from './score.ts';

const random = new Random(2);
const layers = [
  layer('conv', [8, 4, 3, 3], random.normal(288), { positions: 100 }),
  layer('fc', [10, 64], random.normal(640)),
];

describe('sparsityReport', () => {
  it('counts parameters, non-zeros, FLOPs and bytes', () => {
    const mask = prune(layers, l => magnitude(l.values), { sparsity: { conv: 0.5, fc: 0.9 } });
    const { layers: rows, total } = sparsityReport(layers, { mask });
    expect(rows[0]).toMatchObject({
      parameters: 288,
      nonzeros: 144,
      density: 0.5,
      flopsDense: 57_600,
      flopsSparse: 28_800,
    });
    expect(rows[1]).toMatchObject({ parameters: 640, nonzeros: 64, flopsDense: 1280, flopsSparse: 128, outputs: 10 });
    expect(rows[1].bytes).toMatchObject({ dense: 2560, bitmask: 4 * 64 + 80, csr: 6 * 64 + 44 });
    expect(total).toMatchObject({ parameters: 928, nonzeros: 208, density: 208 / 928, flopsSparse: 28_928 });
    expect(total.bytes.bitmask).toBe(rows[0].bytes.bitmask + rows[1].bytes.bitmask);
    expect(total.bytes).not.toHaveProperty('gzip');
  });

  it('counts what is not zero without a mask, and in layers that the mask lacks', () => {
    const masked = [layers[0], layer('fc', [10, 64], layers[1].values.slice().fill(0, 64))];
    expect(sparsityReport(masked).layers[1]).toMatchObject({ nonzeros: 64, deadOutputs: 9 });
    const half = prune([layers[0]], l => magnitude(l.values), { sparsity: 0.5 });
    expect(sparsityReport(masked, { mask: half }).layers.map(r => r.nonzeros)).toEqual([144, 64]);
  });

  it('names collapsed and starved layers', () => {
    const one = new Uint8Array(640).fill(1, 0, 9);
    const mask = new Mask([
      ['conv', { shape: [8, 4, 3, 3], keep: new Uint8Array(288) }],
      ['fc', { shape: [10, 64], keep: one }],
    ]);
    const report = sparsityReport(layers, { mask });
    expect([report.collapsed, report.starved]).toEqual([['conv'], ['fc']]);
    expect(report.layers.map(r => r.deadOutputs)).toEqual([8, 9]);
    expect(reportTable(report)).toContain('collapsed (no weight left): conv\nstarved');
  });

  it('gzip sees the masked zeros', () => {
    const mask = prune(layers, l => magnitude(l.values), { sparsity: 0.9 });
    const [dense, sparse] = [undefined, mask].map(
      m => sparsityReport(layers, { mask: m, gzip: true }).total.bytes.gzip!,
    );
    expect(sparse).toBeLessThan(dense / 3);
  });

  it('writes an aligned table', () => {
    const mask = prune(layers, l => magnitude(l.values), { sparsity: { conv: 0.5, fc: 0.9 } });
    const lines = reportTable(sparsityReport(layers, { mask })).split('\n');
    expect(lines).toHaveLength(6);
    expect(lines[2]).toMatch(/conv {2,}conv {2,}8×4×3×3 +288 +144 +50.0 % +██████████·········· +57.6 k +28.8 k/);
    expect(new Set([lines[0], lines[2], lines[3], lines[5]].map(l => l.length)).size).toBe(1);
    const bytes = reportTable(sparsityReport(layers, { mask }), { flops: false, bytes: true });
    expect(bytes).toContain('bitmask bytes');
    expect(bytes).not.toContain('FLOPs');
  });

  it('draws a bar for each layer', () => {
    const svg = reportSvg(sparsityReport(layers), 'A & B');
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"/);
    expect(svg).toContain('A &amp; B');
    expect(svg).toContain('100.0 % · 640 of 640');
  });
});
