import { describe, expect, it } from 'vitest';
import { type Documented, evidence, fill, methodsPage, methodsTable, resultsPage } from './document.ts';
import type { Report } from './run.ts';

const report: Report = {
  slug: 'a',
  title: 'A',
  claim: 'It works.',
  verdict: 'partly',
  checks: [
    { rule: 'one', holds: true, found: '1' },
    { rule: 'two', holds: false, found: '2' },
  ],
  tables: [{ title: 'T', columns: ['x'], rows: [{ name: 'r', cells: ['1 ± 2'] }] }],
  figures: ['a-curve.svg'],
  notes: ['small'],
  command: 'gossamer reproduce a',
  seeds: [0, 1, 2],
  seconds: 600,
  date: '2026-01-01',
  versions: { node: '24', onnxruntime: '1' },
  machine: '2 × CPU',
  fingerprint: { code: 'c', mode: 'standard', seeds: 3, threads: '1' },
  outcomes: [],
};
const info = { summary: 'S.', paper: 'P', kind: 'sparsifier', family: 'sparse-training' } as const;
const methods: Documented[] = [
  { ...info, slug: 'a', name: 'A', hasExperiment: true, hasPage: true, use: 'gossamer train --sparsifier a', report },
  { ...info, slug: 'b', name: 'B', hasExperiment: true, hasPage: false },
  { ...info, slug: 'c', name: 'C', family: 'nm', hasExperiment: false, hasPage: true },
];

describe('documentation of methods', () => {
  it('fills marks, twice the same, and leaves pages without them alone', () => {
    const page = 'x\n<!-- m -->\nold\n<!-- /m -->\ny';
    const once = fill(page, 'm', 'a $1 table');
    expect(once).toBe('x\n<!-- m -->\na $1 table\n<!-- /m -->\ny');
    expect(fill(once, 'm', 'a $1 table')).toBe(once);
    expect(fill(page, 'm', '')).toBe('x\n<!-- m -->\n<!-- /m -->\ny');
    expect(fill(page, 'n', 'z')).toBe(page);
  });

  it('lists methods by family with how to use them and where the evidence is', () => {
    const page = methodsPage(methods);
    expect(page).toContain(
      '| [A](methods/a.md) | sparsifier | S. | `gossamer train --sparsifier a` | [partly](results.md#a) |',
    );
    expect(page).toContain('| B | sparsifier | S. | from TypeScript | not run yet |');
    expect(page).toMatch(/## Sparse training[\s\S]*## N:M sparsity\n\n.*\n.*\n\| \[C\]/);
    expect(methodsTable(methods)).toContain(
      '| [A](docs/methods/a.md) | sparse-training | sparsifier | P | [partly](docs/results.md#a) |',
    );
  });

  it('writes rules, figures, tables, notes and the command under a method', () => {
    const text = evidence(methods[0], 'results');
    const parts = ['Verdict: **partly**', '- holds: one. Found: 1.', '- does not hold: two.', '(results/a-curve.svg)'];
    for (const part of [...parts, '| r | 1 ± 2 |', '- small', '`gossamer reproduce a`, seeds 0, 1, 2; 10 minutes']) {
      expect(text).toContain(part);
    }
    expect(evidence(methods[1], 'results')).toContain('has not been run yet');
    expect(evidence(methods[2], 'results')).toContain('a baseline');
  });

  it('shows all verdicts, the leaderboard and the curves on one page', () => {
    const leaderboard: Report = { ...report, slug: 'leaderboard', title: 'L', figures: ['leaderboard-1.svg'] };
    const page = resultsPage(methods, leaderboard, 'results');
    expect(page).toContain('| [A](#a) | partly | 1 of 2 | 3 | 10 |\n| B | not run yet | – | – | – |');
    expect(page).not.toContain('| C |');
    expect(page.indexOf('leaderboard-1.svg')).toBeGreaterThan(page.indexOf('## Leaderboard'));
    expect(page.indexOf('a-curve.svg')).toBeGreaterThan(page.indexOf('## a\n'));
    expect(resultsPage(methods, undefined, 'results')).not.toContain('Leaderboard');
  });
});
