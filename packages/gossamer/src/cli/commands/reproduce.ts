import { GossamerError } from '@gossamer/tensor';
import { type Ended, reproduceAll } from '../../experiments/all.ts';
import { discoverExperiments, findExperiment } from '../../experiments/discover.ts';
import { reproduce } from '../../experiments/run.ts';
import { clock, table } from '../../text.ts';
import { command as define, Output, UsageError } from '../command.ts';
import { formatReport, prepareOut, type RunOptions, runOptions } from '../reproduce.ts';

interface Options extends RunOptions {
  all?: boolean;
}

export const command = define('reproduce', 'gradual-magnitude-pruning --smoke', c =>
  runOptions(
    c
      .argument('[method]', 'the method, as `gossamer methods` lists it')
      .option('--all', 'all systems, one after another; with --out, those with a result of the same code stay'),
  ).action(async (slug: string | undefined, options: Options) => {
    if ((slug === undefined) === !options.all) {
      throw new UsageError('give one method, or --all; `gossamer methods` lists them');
    }
    await prepareOut(options);
    const output = new Output(options);
    using progress = await output.progress();
    if (slug !== undefined) {
      const report = await reproduce(await findExperiment(slug), { ...options, progress });
      progress.stop();
      output.result(report, () => formatReport(report));
      return;
    }
    const systems = (await discoverExperiments()).filter(e => !e.comparison);
    const ended = await reproduceAll(systems, { ...options, progress });
    progress.stop();
    output.result(ended, () => formatAll(ended));
    const failed = ended.filter(e => e.state === 'failed');
    if (failed.length > 0) {
      const list = failed.map(e => `${e.slug}: ${e.error}`).join('\n  ');
      throw new GossamerError(`${failed.length} of ${ended.length} systems failed:\n  ${list}`);
    }
  }),
);

function formatAll(ended: readonly Ended[]): string {
  const rows = ended.map(({ slug, state, reason, report }) => [
    slug,
    report?.verdict ?? state,
    report ? `${report.checks.filter(c => c.holds).length} of ${report.checks.length}` : '–',
    report ? clock(report.seconds) : '–',
    `${state}: ${reason}`,
  ]);
  const reports = ended.flatMap(e => (e.report && e.state === 'done' ? [formatReport(e.report)] : []));
  return [...reports, table(['system', 'verdict', 'rules hold', 'time', ''], rows)].join('\n\n');
}
