import { fork } from 'node:child_process';
import { extname } from 'node:path';
import type { Progress } from '../../train/progress.ts';
import type { HelperTask } from './task.ts';

const helper = new URL(`./helper${extname(import.meta.url)}`, import.meta.url);

/**
 * Runs `run` while `count` − 1 further processes do jobs of the same experiment. They end with it, however it ends. A helper
 * that fails is only reported: its job is taken over, and fails here if it must.
 */
export async function withHelpers<T>(
  count: number,
  task: Omit<HelperTask, 'place'>,
  progress: Progress,
  run: () => Promise<T>,
): Promise<T> {
  let done = false;
  const helpers = Array.from({ length: count - 1 }, (_, i) => {
    const own: HelperTask = { ...task, place: (i + 1) / count };
    // The channel tells a helper when this process ends.
    const child = fork(helper, [JSON.stringify(own)], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], execArgv: [] });
    let words = '';
    child.stderr!.setEncoding('utf8').on('data', chunk => {
      words += chunk;
    });
    child.on('exit', code => {
      if (!done && code !== 0) progress.log(`a helping process ended with code ${code}: ${words.trim()}`);
    });
    return child;
  });
  try {
    return await run();
  } finally {
    done = true;
    for (const child of helpers) child.kill();
  }
}
