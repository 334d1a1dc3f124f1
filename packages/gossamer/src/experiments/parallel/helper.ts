// A process that helps another one with an experiment's jobs, until there are none, or until the other one ends.
import { reproduce } from '../run.ts';
import type { HelperTask } from './task.ts';

process.on('disconnect', () => process.exit());
const { file, ...options } = JSON.parse(process.argv[2]) as HelperTask;
const { experiment } = await import(file);
await reproduce({ ...experiment, file }, options);
process.exit();
