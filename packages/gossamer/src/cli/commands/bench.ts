import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { basename } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { NodeReport } from '@gossamer/runtime';
import { check, Random } from '@gossamer/tensor';
import { flops } from '../../sparsity/layer.ts';
import { percent, quantity, table } from '../../text.ts';
import { type CommonOptions, command as define, integer, Output, shapes } from '../command.ts';
import { type ModelFile, openModel, type Shapes } from '../model-file.ts';
import { type Engine, engines, type Loaded, profileNodes, randomFeeds, threadCounts } from '../runtimes.ts';

interface Options extends CommonOptions {
  vs?: string;
  threads?: number;
  runs: number;
  shape?: Shapes;
  nodes?: boolean;
}

interface Row {
  readonly file: string;
  readonly runtime: string;
  readonly threads: number;
  /** Milliseconds of one run. */
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
  /** 10⁹ operations a second, counting those of all weights, zeros too; null if FLOPs are not known. */
  readonly gflops: number | null;
  /** Median of the other model on the same runtime, or of onnxruntime-node on as few threads, divided by this one's. */
  readonly speedup: number;
  /**
   * Largest difference of an output from onnxruntime-node's on the same model, relative to the largest magnitude in that
   * output; null for that runtime itself.
   */
  readonly difference: number | null;
}

export const command = define('bench', 'sparse.onnx --vs dense.onnx --shape input=1,3,224,224', c =>
  c
    .argument('<model.onnx>', 'the model to time')
    .option('--vs <other.onnx>', 'another to compare it with, in turns with the first')
    .option('--threads <n>', 'number of threads; default one, and all cores', integer(1))
    .option('--runs <n>', 'measurements of each', integer(3), 30)
    .option('--shape <name=sizes>', 'sizes of an input that the file leaves free; may be repeated', shapes)
    .option('--nodes', "also show the kernel, density and time of every node on this project's runtime")
    .action(async (path: string, options: Options) => {
      const output = new Output(options);
      const files = [await openModel(path, options.shape)];
      if (options.vs !== undefined) files.push(await openModel(options.vs, options.shape));
      for (const { path, untraced, inputs } of files) check(inputs.length > 0, `${path}: cannot be fed: ${untraced}`);
      const available = await engines(options.threads === undefined ? undefined : [options.threads]);
      const contenders = await prepare(files, available, output);
      await measure(contenders, options.runs, output);
      const rows = contenders.map(c => summarize(c, contenders, options.vs));
      for (const { loaded } of contenders) await loaded.release();
      const nodes = options.nodes ? await nodeTimes(files, options) : undefined;
      const versions = {
        node: process.versions.node,
        ...Object.fromEntries(available.map(e => [e.runtime.replace(', dense', ''), e.version])),
      };
      const machine = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}`;
      const inputs = Object.fromEntries(files[0].inputs.map(({ name, shape }) => [name, shape]));
      output.result({ machine, versions, runs: options.runs, inputs, rows, ...(nodes && { nodes }) }, () =>
        [
          format(rows, options.vs),
          '',
          ...(nodes ?? []).flatMap(({ file, rows }) => [basename(file), formatNodes(rows), '']),
          `${Object.entries(inputs)
            .map(([name, shape]) => `${name} [${shape.join(', ')}]`)
            .join(', ')}; medians of ${options.runs}, in turns`,
          `${machine}; ${Object.entries(versions)
            .map(([name, v]) => `${name} ${v}`)
            .join(', ')}`,
        ].join('\n'),
      );
    }),
);

/** One model on one engine, with its measurements in milliseconds. */
interface Contender {
  readonly file: ModelFile;
  readonly engine: Engine;
  readonly loaded: Loaded;
  /** Runs that make one measurement: a few milliseconds, so that the clock and one hiccup do not matter. */
  repeats: number;
  readonly times: number[];
  readonly difference: number | null;
}

type Outputs = Awaited<ReturnType<Loaded['run']>>;

async function prepare(
  files: readonly ModelFile[],
  available: readonly Engine[],
  output: Output,
): Promise<Contender[]> {
  const made: { file: ModelFile; engine: Engine; loaded: Loaded; outputs: Outputs }[] = [];
  for (const engine of available) {
    for (const file of files) {
      try {
        const loaded = await engine.load(new Uint8Array(await readFile(file.path)), feedsOf(file));
        made.push({ file, engine, loaded, outputs: await loaded.run() });
      } catch (error) {
        if (engine.runtime === 'onnxruntime-node') throw error;
        output.note(`${basename(file.path)} is left out on ${engine.runtime}: ${(error as Error).message}`);
      }
    }
  }
  return made.map(({ outputs, ...contender }) => {
    const reference = made.find(m => m.file === contender.file && m.engine.runtime === 'onnxruntime-node')!;
    const isReference = contender.engine.runtime === 'onnxruntime-node';
    const difference = isReference ? null : relativeDifference(outputs, reference.outputs);
    return { ...contender, repeats: 1, times: [], difference };
  });
}

const feedsOf = (file: ModelFile) => randomFeeds(file.inputs, new Random(0));

/** The largest difference, relative to the largest magnitude of each output. */
function relativeDifference(found: Outputs, wanted: Outputs): number {
  const shares = Object.entries(wanted).map(([name, { data }]) => {
    let [largest, apart] = [0, 0];
    for (let i = 0; i < data.length; i++) {
      largest = Math.max(largest, Math.abs(Number(data[i])));
      apart = Math.max(apart, Math.abs(Number(found[name].data[i]) - Number(data[i])));
    }
    return apart / (largest || 1);
  });
  return Math.max(0, ...shares);
}

/** How this project's runtime runs each model, node by node. */
async function nodeTimes(files: readonly ModelFile[], { threads, runs }: Options) {
  const found: { file: string; rows: NodeReport[] }[] = [];
  for (const file of files) {
    const bytes = new Uint8Array(await readFile(file.path));
    const rows = await profileNodes(bytes, feedsOf(file), threads ?? Math.min(...threadCounts()), runs);
    found.push({ file: file.path, rows });
  }
  return found;
}

/** Measures in turns, so that a change in the machine's load meets all alike. */
async function measure(contenders: readonly Contender[], runs: number, output: Output): Promise<void> {
  using progress = await output.progress();
  const bar = progress.start('measuring', contenders.length * (runs + 1), { transient: true });
  let done = 0;
  for (let round = -1; round < runs; round++) {
    for (const contender of contenders) {
      // Threads of the one before spin on for a moment, in wait for work.
      await setTimeout(3);
      if (round < 0) await warmUp(contender);
      else contender.times.push(await time(contender));
      bar.update(++done);
    }
  }
}

/** Long enough for an engine of WebAssembly to have compiled its better code. */
async function warmUp(contender: Contender): Promise<void> {
  const start = performance.now();
  let runs = 0;
  while (runs < 3 || (performance.now() - start < 300 && runs < 1000)) {
    await contender.loaded.run();
    runs++;
  }
  contender.repeats = Math.max(1, Math.ceil((5 * runs) / (performance.now() - start)));
}

async function time({ loaded, repeats }: Contender): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < repeats; i++) await loaded.run();
  return (performance.now() - start) / repeats;
}

function quantile(times: readonly number[], q: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return low + (high - low) * (at - Math.floor(at));
}

function summarize(contender: Contender, all: readonly Contender[], vs: string | undefined): Row {
  const { file, engine, times, difference } = contender;
  const median = quantile(times, 0.5);
  const operations = file.layers.reduce((n, l) => n + flops(l, l.values.length), 0) * (file.inputs[0].shape[0] ?? 1);
  const rival =
    vs === undefined
      ? all.find(c => c.engine.runtime === 'onnxruntime-node')!
      : (all.find(c => c.file.path === vs && c.engine === engine) ?? contender);
  return {
    file: file.path,
    runtime: engine.runtime,
    threads: engine.threads,
    median,
    p10: quantile(times, 0.1),
    p90: quantile(times, 0.9),
    gflops: file.untraced === undefined ? operations / median / 1e6 : null,
    speedup: quantile(rival.times, 0.5) / median,
    difference,
  };
}

const ms = (value: number) => (value < 10 ? value.toPrecision(3) : value.toFixed(1));

function format(rows: readonly Row[], vs: string | undefined): string {
  const heads = ['runtime', 'threads', 'model', 'median ms', 'p10 … p90', 'runs/s', 'GFLOP/s'];
  return table(
    [...heads, vs ? `vs ${basename(vs)}` : 'ratio', 'differs by'],
    rows.map(r => [
      r.runtime,
      String(r.threads),
      basename(r.file),
      ms(r.median),
      `${ms(r.p10)} … ${ms(r.p90)}`,
      quantity(1000 / r.median),
      r.gflops === null ? '–' : r.gflops.toPrecision(3),
      `${r.speedup.toFixed(2)}×`,
      r.difference === null ? '–' : r.difference.toPrecision(1),
    ]),
  );
}

function formatNodes(nodes: readonly NodeReport[]): string {
  const total = nodes.reduce((sum, n) => sum + n.ms!, 0);
  return table(
    ['node', 'operator', 'kernel', 'output', 'density', 'ms', 'share'],
    nodes
      .filter(n => n.kernel !== 'alias')
      .map(n => [
        n.name,
        n.op,
        n.kernel,
        n.outputs.map(shape => shape.join('×')).join(', '),
        n.density === undefined ? '–' : percent(n.density),
        n.ms!.toFixed(3),
        percent(n.ms! / total),
      ]),
  );
}
