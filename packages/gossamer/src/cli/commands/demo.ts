import { type CommonOptions, checkOutput, command as define, integer, Output, share } from '../command.ts';

interface Options extends CommonOptions {
  out: string;
  report: string;
  sparsity: number;
  epochs?: number;
  seed: number;
}

export const command = define('demo', '--sparsity 0.95', c =>
  c
    .option('-o, --out <folder>', 'where the two ONNX files go', 'demo')
    .option('--report <file.svg>', 'the picture', 'report.svg')
    .option('--sparsity <share>', 'share of the weights that go', share, 0.95)
    .option('--epochs <n>', 'epochs of each of the two trainings', integer(1))
    .option('--seed <n>', 'seed of everything random', integer(0), 0)
    .action(async (options: Options) => {
      checkOutput(options.report);
      const output = new Output(options);
      const { demo, formatDemo } = await import('../demo.ts');
      using progress = await output.progress();
      const result = await demo({ ...options, progress });
      progress.stop();
      output.result(result, () => formatDemo(result));
    }),
);
