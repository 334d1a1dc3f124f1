import { readdirSync } from 'node:fs';
import { Command } from 'commander';
import { discoverMethods } from '../../methods/method.ts';

const folder = new URL('../methods/', import.meta.url);
const files = readdirSync(folder)
  .filter(f => /\.[jt]s$/.test(f) && !/\.(test|d)\.[jt]s$/.test(f))
  .sort();

const slugOf = (file: string): string => file.replace(/\.[jt]s$/, '');

/**
 * `gossamer run <method>`: each method that is a procedure has a command of its own in `cli/methods`; only the first one
 * that is named among `words` is loaded (a later word may be a file or folder of such a name).
 */
export async function runCommand(root: Command, words: readonly string[]): Promise<Command> {
  const command = new Command('run').copyInheritedSettings(root);
  const named = words.map(word => files.find(file => slugOf(file) === word)).find(file => file !== undefined);
  const summaries = new Map(named ? [] : (await discoverMethods()).map(m => [m.slug, m.summary]));
  for (const file of files) {
    const own =
      file === named
        ? ((await import(new URL(file, folder).href)) as { command: Command }).command
        : new Command(slugOf(file)).description(summaries.get(slugOf(file)) ?? '');
    command.addCommand(own.copyInheritedSettings(root));
  }
  return command.addHelpText(
    'after',
    '\n`gossamer run <method> --help` explains one. Methods that take part in training run by `gossamer train --sparsifier`.',
  );
}
