import { findExperiment } from '../../experiments/discover.ts';
import { reproduce } from '../../experiments/run.ts';
import { command as define, Output } from '../command.ts';
import { formatReport, prepareOut, type RunOptions, runOptions } from '../reproduce.ts';

export const command = define('leaderboard', '--jobs 2 --out results', c =>
  runOptions(c).action(async (options: RunOptions) => {
    await prepareOut(options);
    const output = new Output(options);
    using progress = await output.progress();
    const report = await reproduce(await findExperiment('leaderboard'), { ...options, progress });
    progress.stop();
    output.result(report, () => formatReport(report));
  }),
);
