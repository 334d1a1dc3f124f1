import { mkdir } from 'node:fs/promises';
import type { Check } from '../../experiments/experiment.ts';
import { discoverExperiments, findExperiment, type Report, reproduce } from '../../experiments/run.ts';
import { clock, table } from '../../text.ts';
import { type CommonOptions, command as define, integer, Output, UsageError } from '../command.ts';

interface Options extends CommonOptions {
  all?: boolean;
  smoke?: boolean;
  full?: boolean;
  seeds?: number;
  out?: string;
  fresh?: boolean;
}

export const command = define('reproduce', 'gradual-magnitude-pruning --smoke', c =>
  c
    .argument('[method]', 'the method, as `gossamer methods` lists it')
    .option('--all', 'all experiments, one after the other')
    .option('--smoke', 'run every line on tiny data in seconds; no verdict')
    .option('--full', 'the longer version, for hours')
    .option('--seeds <n>', 'number of seeds; default what the experiment says', integer(1))
    .option('-o, --out <folder>', 'keep result and figures there; a run that was stopped goes on from there')
    .option('--fresh', 'run again what a stopped run has finished')
    .action(async (slug: string | undefined, options: Options) => {
      if ((slug === undefined) === !options.all) {
        throw new UsageError('give one method, or --all; `gossamer methods` lists them');
      }
      if (options.smoke && options.full) throw new UsageError('give --smoke or --full, not both');
      if (options.out !== undefined) await mkdir(options.out, { recursive: true });
      const output = new Output(options);
      using progress = await output.progress();
      const experiments = slug === undefined ? await discoverExperiments() : [await findExperiment(slug)];
      const reports: Report[] = [];
      for (const experiment of experiments) reports.push(await reproduce(experiment, { ...options, progress }));
      progress.stop();
      output.result(slug === undefined ? reports : reports[0], () => reports.map(format).join('\n\n'));
    }),
);

/** A smoke run decides nothing. */
const mark = ({ verdict }: Report, { holds }: Check): string => (verdict === 'smoke run' ? '·' : holds ? '✓' : '✗');

function format(report: Report): string {
  const paragraphs = [
    `${report.title}\nClaim: ${report.claim}`,
    ...report.tables.map(
      t =>
        `${t.title}\n${table(
          ['', ...t.columns.map(head => ({ head, align: 'right' as const }))],
          t.rows.map(r => [r.name, ...r.cells]),
        )}`,
    ),
    report.checks.map(c => `${mark(report, c)} ${c.rule}\n  found: ${c.found}`).join('\n'),
    (report.notes ?? []).map(note => `· ${note}`).join('\n'),
    `Verdict: ${report.verdict} (${report.seeds.length} seed${report.seeds.length > 1 ? 's' : ''}, ${clock(report.seconds)})`,
  ];
  return paragraphs.filter(p => p !== '').join('\n\n');
}
