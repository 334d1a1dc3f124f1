import { mkdir } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Check } from '../experiments/experiment.ts';
import type { Report } from '../experiments/run.ts';
import { clock, table } from '../text.ts';
import { type CommonOptions, integer, UsageError } from './command.ts';

/** Options of every command that runs an experiment. */
export interface RunOptions extends CommonOptions {
  smoke?: boolean;
  full?: boolean;
  seeds?: number;
  jobs?: number;
  out?: string;
  fresh?: boolean;
}

export const runOptions = (command: Command): Command =>
  command
    .option('--smoke', 'run every line on tiny data in seconds; no verdict')
    .option('--full', 'the longer version, for hours')
    .option('--seeds <n>', 'number of seeds; default what the experiment says', integer(1))
    .option('-j, --jobs <n>', 'processes that share the work; default 1', integer(1))
    .option('-o, --out <folder>', 'keep result and figures there; a run that was stopped goes on from there')
    .option('--fresh', 'run again what is finished');

/** Refuses options that make no sense together and makes the folder of results. */
export async function prepareOut({ smoke, full, out }: RunOptions): Promise<void> {
  if (smoke && full) throw new UsageError('give --smoke or --full, not both');
  if (out !== undefined) await mkdir(out, { recursive: true });
}

/** A smoke run decides nothing. */
const mark = ({ verdict }: Report, { holds }: Check): string => (verdict === 'smoke run' ? '·' : holds ? '✓' : '✗');

/** A result as text: claim, tables, rules, notes, verdict. */
export function formatReport(report: Report): string {
  const { title, claim, tables, checks, notes = [], verdict, seeds, seconds } = report;
  const paragraphs = [
    `${title}\nClaim: ${claim}`,
    ...tables.map(
      t =>
        `${t.title}\n${table(
          ['', ...t.columns.map(head => ({ head, align: 'right' as const }))],
          t.rows.map(r => [r.name, ...r.cells]),
        )}`,
    ),
    checks.map(c => `${mark(report, c)} ${c.rule}\n  found: ${c.found}`).join('\n'),
    notes.map(note => `· ${note}`).join('\n'),
    `Verdict: ${verdict} (${seeds.length} seed${seeds.length > 1 ? 's' : ''}, ${clock(seconds)})`,
  ];
  return paragraphs.filter(p => p !== '').join('\n\n');
}
