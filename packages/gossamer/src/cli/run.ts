import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { PathError, UsageError } from './command.ts';

type Load = (root: Command, words: readonly string[]) => Promise<{ command: Command }>;

/** Every command: what it is for, and its file, which is loaded only when it is used. */
const commands: Record<string, { summary: string; load: Load }> = {
  demo: {
    summary: 'train, prune and export a small network on real digits, in a minute',
    load: () => import('./commands/demo.ts'),
  },
  inspect: {
    summary: 'what is in a model: layers, parameters, FLOPs, density',
    load: () => import('./commands/inspect.ts'),
  },
  compress: {
    summary: 'prune any ONNX model, with or without data, and write it back',
    load: () => import('./commands/compress.ts'),
  },
  bench: {
    summary: 'time a model, alone or against another, in one run',
    load: () => import('./commands/bench.ts'),
  },
  train: {
    summary: 'train a model from a recipe or from flags, dense or sparse',
    load: () => import('./commands/train.ts'),
  },
  shrink: {
    summary: 'make an ONNX model physically smaller: whole channels, heads and neurons go',
    load: () => import('./commands/shrink.ts'),
  },
  run: {
    summary: 'run a method that is a procedure of its own on your model and data',
    load: async (root, words) => {
      const { runCommand } = await import('./commands/run.ts');
      return { command: await runCommand(root, words) };
    },
  },
  methods: {
    summary: 'the published methods that are implemented',
    load: () => import('./commands/methods.ts'),
  },
  leaderboard: {
    summary: 'all unstructured methods on the same networks, data and budget',
    load: () => import('./commands/leaderboard.ts'),
  },
  reproduce: {
    summary: 'run the experiment that shows what a method claims',
    load: () => import('./commands/reproduce.ts'),
  },
};

/** Runs a command line (without node and script) and returns its exit code: 0 ok, 1 failed, 2 wrong usage. */
export async function run(args: readonly string[]): Promise<0 | 1 | 2> {
  try {
    await (await program(args)).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    // Commander has said what is wrong, or printed the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`error: ${message || String(error)}\n`);
    if (args.includes('--debug')) process.stderr.write(`${(error as Error)?.stack}\n`);
    else if (!isExpected(error)) process.stderr.write('This should not have happened; --debug prints where it did.\n');
    return error instanceof UsageError ? 2 : 1;
  }
}

async function program(args: readonly string[]): Promise<Command> {
  const manifest = new URL('../../package.json', import.meta.url);
  const root = new Command('gossamer')
    .description('Sparse neural networks: train, prune, compress, measure.')
    .version(JSON.parse(readFileSync(manifest, 'utf8')).version)
    .showSuggestionAfterError()
    .exitOverride();
  const words = args.filter(a => !a.startsWith('-'));
  const wanted = words[0] === 'help' ? words[1] : words[0];
  for (const [name, { summary, load }] of Object.entries(commands)) {
    const command = name === wanted ? (await load(root, words)).command : new Command(name);
    root.addCommand(command.copyInheritedSettings(root).description(summary));
  }
  return root.addHelpText('after', '\n`gossamer help <command>` explains one, with an example.');
}

/** Errors that the message explains: wrong input, files that cannot be read. Known by name, so as to load nothing. */
const isExpected = (error: unknown): boolean =>
  error instanceof UsageError ||
  error instanceof PathError ||
  (error instanceof Error && ['GossamerError', 'FormatError'].includes(error.name)) ||
  typeof (error as NodeJS.ErrnoException)?.code === 'string';
