import { accessSync, constants, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { type Progress, progressBars } from '../train/progress.ts';

/** Options that make no sense together or are missing: exit code 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** A path that cannot be used: exit code 1. */
export class PathError extends Error {
  override name = 'PathError';
}

/** Options of every command. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** A command with the options that all have; `example` is shown in its help. */
export function command(name: string, example: string, define: (command: Command) => Command): Command {
  return define(new Command(name))
    .optionsGroup('Options:')
    .option('--json', 'print one JSON value and nothing else')
    .option('-q, --quiet', 'no progress, no notes')
    .option('--debug', 'print the stack of an error')
    .addHelpText('after', ({ command }) => {
      const path = command.parent?.name() === 'run' ? `run ${name}` : name;
      return `\nExample:\n  $ gossamer ${path} ${example}`;
    });
}

/** Where a command's words go: results to standard output, everything else to standard error. */
export class Output {
  readonly #options: CommonOptions;

  constructor(options: CommonOptions) {
    this.#options = options;
  }

  /** The one result: as JSON with --json, else as text. */
  result(json: unknown, text: () => string): void {
    process.stdout.write(`${this.#options.json ? JSON.stringify(json, null, 2) : text()}\n`);
  }

  /** Something worth knowing that is no result. */
  note(line: string): void {
    if (!this.#options.quiet) process.stderr.write(`${line}\n`);
  }

  progress(): Promise<Progress> {
    return progressBars({ quiet: this.#options.quiet });
  }
}

/** Refuses a path that could not be written to later, before any work is done. */
export function checkOutput(path: string): void {
  const folder = dirname(resolve(path));
  const refuse = (reason: string): never => {
    throw new PathError(`${path}: cannot be written: ${reason}`);
  };
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) refuse('it is a folder');
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) refuse(`there is no folder ${folder}`);
  try {
    accessSync(folder, constants.W_OK);
  } catch {
    refuse(`the folder ${folder} is not writable`);
  }
}

/** Reads an option's whole number. */
export const integer =
  (least: number) =>
  (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`Expected a whole number of ${least} or more.`);
    }
    return value;
  };

/** Reads an option's number above 0. */
export function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < Number.POSITIVE_INFINITY)) throw new InvalidArgumentError('Expected a number above 0.');
  return value;
}

/** Reads an option's number from 0 on. */
export function nonNegative(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value < Number.POSITIVE_INFINITY)) {
    throw new InvalidArgumentError('Expected a number of 0 or more.');
  }
  return value;
}

/** Reads a share of weights, 0 ≤ s < 1. */
export function share(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value < 1)) {
    throw new InvalidArgumentError('Expected a number from 0 to below 1, such as 0.9.');
  }
  return value;
}

/** Collects the values of an option that may be given several times or with commas. */
export const list = (text: string, before: readonly string[] = []): string[] => [
  ...before,
  ...text.split(',').filter(entry => entry !== ''),
];

/** Shapes by input name, from `--shape image=1,3,224,224`, given several times for several inputs. */
export function shapes(text: string, before: Readonly<Record<string, readonly number[]>> = {}) {
  const [, name, sizes] = /^(.+)=(\d+(?:[,x]\d+)*)$/.exec(text) ?? [];
  if (!name) throw new InvalidArgumentError('Expected name=sizes, such as image=1,3,224,224.');
  return { ...before, [name]: sizes.split(/[,x]/).map(Number) };
}
