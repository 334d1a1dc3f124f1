import { readdirSync } from 'node:fs';
import { Command } from 'commander';

const folder = new URL('../methods/', import.meta.url);
const files = readdirSync(folder)
  .filter(f => /\.[jt]s$/.test(f) && !/\.(test|d)\.[jt]s$/.test(f))
  .sort();

/** `gossamer run <method>`: each method that is a procedure has a command of its own in `cli/methods`. */
export const command = new Command('run').addHelpText(
  'after',
  '\n`gossamer run <method> --help` explains one. Methods that take part in training run by `gossamer train --sparsifier`.',
);
for (const file of files) {
  const module = (await import(new URL(file, folder).href)) as { command: Command };
  command.addCommand(module.command);
}
