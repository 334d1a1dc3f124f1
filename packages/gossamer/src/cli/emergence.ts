import { basename, dirname } from 'node:path';
import { check, formatShape, openSafetensors, type Safetensors, toFloat32, writeFile } from '@gossamer/tensor';
import { type Emergence, emergence, type Jump, type WeightCheckpoint } from '../methods/pruning/emergence.ts';
import { essential, essentialCurve, prunableWeights } from '../methods/pruning/essential-sparsity.ts';
import type { Module } from '../nn/module.ts';
import { lineChart } from '../plot.ts';
import type { Layer } from '../sparsity/layer.ts';
import { percent, table } from '../text.ts';
import { meanOf, perSample } from '../train/per-sample.ts';
import type { Progress } from '../train/progress.ts';
import { type CommonOptions, checkOutput, Output, UsageError } from './command.ts';
import { openPretrained, type Pretrained, type PretrainedFlags } from './pretrained.ts';

export interface EmergenceFlags extends CommonOptions, PretrainedFlags {
  /** Safetensors files or folders. */
  readonly checkpoints: readonly string[];
  readonly nearZero?: number;
  readonly exclude?: readonly string[];
  readonly grid: readonly number[];
  readonly scope: 'global' | 'layer';
  readonly tolerance: number;
  readonly out?: string;
}

/** Near-zero weights along the checkpoints of one training, where they jump, and with data the s* of each. */
export async function reportEmergence(path: string | undefined, flags: EmergenceFlags): Promise<void> {
  const { checkpoints: files, out, nearZero } = flags;
  if (files.length < 3) throw new UsageError(`--checkpoints: ${files.length} given; a change needs 3 or more`);
  if (out !== undefined) checkOutput(out);
  const steps = stepsOf(files);
  const output = new Output(flags);
  const pretrained = await openPretrained(path, flags);
  const { layers } = await prunableWeights(pretrained.model, pretrained.inputs, flags.exclude);
  const read: WeightCheckpoint[] = [];
  for (const { file, step } of steps) read.push({ step, layers: await layersOf(file, layers) });
  const found = emergence(read, { ...(nearZero !== undefined && { share: nearZero }) });
  using progress = await output.progress();
  const stars = pretrained.subject && (await starsOf(steps, pretrained, flags, progress));
  progress.stop();

  const name = path ?? flags.model!;
  if (out !== undefined) await writeFile(out, [new TextEncoder().encode(picture(name, found))]);
  const points = found.points.map((p, i) => ({
    ...p,
    file: steps[i].file,
    ...(stars && { essentialSparsity: stars[i].sparsity, dense: stars[i].dense }),
  }));
  const metric = pretrained.subject?.metric.name;
  output.result(
    {
      model: name,
      ...found,
      points,
      ...(metric && { metric, protocol: 'zero-shot', tolerance: flags.tolerance }),
      files: out === undefined ? [] : [out],
    },
    () => {
      const last = found.points.length - 1;
      const jump = found.points.findIndex(p => p.step === found.jump.step);
      const shown = [...new Set([0, jump - 1, jump, last])];
      return [
        table(
          ['step', 'near zero', 'normalised', ...(stars ? [`s* (${metric}, zero-shot)`, `dense ${metric}`] : [])],
          found.points.map((p, i) => [
            String(p.step),
            percent(p.total, 2),
            percent(p.normalized, 2),
            ...(stars ? [percent(stars[i].sparsity), stars[i].dense.toFixed(4)] : []),
          ]),
        ),
        '',
        table(
          ['layer', ...shown.map(i => `step ${found.points[i].step}`)],
          layers.map(l => [l.name, ...shown.map(i => percent(found.points[i].layers[l.name], 2))]),
        ),
        '',
        `near zero: |w| below ${found.threshold.toPrecision(3)}; normalised: below ${found.normalizedThreshold.toPrecision(3)} of the layer's root mean square`,
        `largest rise: ${described(found.jump)}`,
        `normalised:   ${described(found.normalizedJump)}`,
        ...(out === undefined ? [] : [`written: ${out}`]),
      ].join('\n');
    },
  );
}

const described = ({ step, size, ratio }: Jump): string =>
  size > 0
    ? `${percent(size, 2)} up to step ${step}, ${Number.isFinite(ratio) ? `${ratio.toFixed(1)} times the median change` : 'where half of the changes are 0'}`
    : 'none';

interface Step {
  readonly file: string;
  readonly step: number;
}

/** The last number in each file's name, or in its folder's, ascending; without numbers the files count from 1. */
function stepsOf(files: readonly string[]): Step[] {
  const last = (text: string): number | undefined => {
    const numbers = text.replace(/\.safetensors(\.index\.json)?$/, '').match(/\d+/g);
    return numbers ? Number(numbers.at(-1)) : undefined;
  };
  const numbers = files.map(file => last(basename(file)) ?? last(basename(dirname(file))));
  if (numbers.some(n => n === undefined)) return files.map((file, i) => ({ file, step: i + 1 }));
  const steps = files.map((file, i) => ({ file, step: numbers[i]! })).sort((a, b) => a.step - b.step);
  const twice = steps.findIndex((s, i) => i > 0 && s.step === steps[i - 1].step);
  if (twice > 0) {
    const [a, b] = [steps[twice - 1], steps[twice]];
    throw new UsageError(`--checkpoints: ${a.file} and ${b.file} are both of step ${b.step}, by their names`);
  }
  return steps;
}

/** A checkpoint of a training keeps the model apart from the optimizer's state. */
const placeOf = (file: Safetensors, name: string): string => (file.has(`model/${name}`) ? `model/${name}` : name);

async function layersOf(path: string, layers: readonly Layer[]): Promise<Layer[]> {
  await using file = await openSafetensors(path);
  const found: Layer[] = [];
  for (const l of layers) {
    const name = placeOf(file, l.name);
    check(file.has(name), () => `${path}: has no weight ${l.name}, which the model has`);
    const { shape } = file.info(name);
    check(
      formatShape(shape) === formatShape(l.shape),
      () => `${path}: ${l.name} is ${formatShape(shape)}, in the model ${formatShape(l.shape)}`,
    );
    found.push({ ...l, values: toFloat32(await file.read(name)).data });
  }
  return found;
}

async function load(path: string, model: Module): Promise<void> {
  await using file = await openSafetensors(path);
  const names = [...model.stateDict().keys()].map(name => [name, placeOf(file, name)] as const);
  const missing = names.filter(([, place]) => !file.has(place)).map(([name]) => name);
  check(missing.length === 0, () => `${path}: has no ${missing.join(', ')}, which the model has`);
  model.loadStateDict(await Promise.all(names.map(async ([name, place]) => [name, await file.read(place)] as const)));
}

/** s* of each checkpoint, on the grid alone, zero-shot. */
async function starsOf(
  steps: readonly Step[],
  { model, inputs, subject }: Pretrained,
  { grid, scope, exclude, tolerance }: EmergenceFlags,
  progress: Progress,
): Promise<{ sparsity: number; dense: number }[]> {
  const { metric, measure, test } = subject!;
  const evaluate = async (m: Module) => {
    const samples = await perSample(m, measure, test);
    return { value: metric.log ? Math.exp(meanOf(samples)) : meanOf(samples), samples };
  };
  const found: { sparsity: number; dense: number }[] = [];
  for (const { file } of steps) {
    await load(file, model);
    const { points } = await essentialCurve({
      ...{ model, inputs, grid, metric, evaluate, scope, exclude, progress },
      refine: 0,
    });
    found.push({ sparsity: essential(points, metric, tolerance).sparsity, dense: points[0].value });
  }
  return found;
}

function picture(model: string, { points, jump }: Emergence): string {
  const series = (name: string, of: (p: Emergence['points'][number]) => number) => ({
    name,
    points: points.map(p => ({ x: p.step, mean: 100 * of(p) })),
  });
  return lineChart({
    title: `Near-zero weights during training: ${model}`,
    subtitle: `Largest rise: ${described(jump)}`,
    x: { label: 'step' },
    y: { label: 'near-zero weights, %' },
    series: [
      series('below a fixed magnitude', p => p.total),
      series("below a share of each layer's root mean square", p => p.normalized),
    ],
  });
}
