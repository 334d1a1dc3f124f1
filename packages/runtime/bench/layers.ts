// Time of a network's sparse layers alone: each runtime's own profile of the whole network, so that every layer meets the
// layouts and caches that it meets in use. What a runtime fuses into a layer (normalisation, clamp, residual) counts.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, Tensor } from '@gossamer/runtime';
import { type OnnxModel, readOnnx } from '@gossamer/tensor/onnx';
import * as node from 'onnxruntime-node';
import type { Feeds } from './engines.ts';
import { median } from './measure.ts';

/** Runs before those that count; the kernels' code is warm already. */
const WARM_UP = 3;

export interface LayerTimes {
  /** Milliseconds of all layers together, medians over runs. */
  readonly own: number;
  readonly node: number;
}

interface Event {
  readonly name: string;
  readonly cat: string;
  readonly dur: number;
  readonly ts: number;
  readonly args: { readonly op_name?: string };
}

/**
 * Times of the convolutions that read the named weights, on one thread; undefined where a profile does not show every one
 * of them.
 */
export async function layerTimes(
  bytes: Uint8Array,
  weights: ReadonlySet<string>,
  feeds: Feeds,
  runs: number,
): Promise<LayerTimes | undefined> {
  const labels = labelsOf(await readOnnx(bytes), weights);
  const folder = await mkdtemp(join(tmpdir(), 'gossamer-bench-'));
  try {
    const own = await InferenceSession.create(bytes, { threads: 1, profile: true });
    const other = await node.InferenceSession.create(bytes, {
      intraOpNumThreads: 1,
      enableProfiling: true,
      profileFilePrefix: join(folder, 'profile'),
      logSeverityLevel: 3,
    });
    const entries = Object.entries(feeds);
    const inputs = Object.fromEntries(entries.map(([n, f]) => [n, new Tensor(f.dtype, f.data, f.shape)]));
    const others = Object.fromEntries(
      entries.map(([n, f]) => [n, new node.Tensor(f.dtype as 'float32', f.data as Float32Array, f.shape)]),
    );
    const times: number[] = [];
    for (let run = -WARM_UP; run < runs; run++) {
      await own.run(inputs);
      await other.run(others);
      if (run < 0) continue;
      const reports = own.report().nodes.filter(({ name }) => labels.some(l => l.names[0] === name));
      if (reports.length !== labels.length) return undefined;
      times.push(reports.reduce((sum, { ms }) => sum + ms!, 0));
    }
    other.endProfiling();
    await Promise.all([own.release(), other.release()]);
    const [file] = await readdir(folder);
    const events = JSON.parse(await readFile(join(folder, file), 'utf8')) as Event[];
    const measured = profiled(events, labels, runs);
    return measured && { own: median(times), node: median(measured) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Label {
  /** The convolution's name, and the values that its output may be called once the next nodes are fused into it. */
  readonly names: readonly string[];
}

function labelsOf({ graph }: OnnxModel, weights: ReadonlySet<string>): Label[] {
  const users = new Map<string, string[][]>();
  for (const { inputs, outputs } of graph.nodes) {
    for (const name of inputs) users.set(name, [...(users.get(name) ?? []), outputs]);
  }
  return graph.nodes
    .filter(({ opType, inputs }) => opType === 'Conv' && weights.has(inputs[1]))
    .map(({ name, outputs: [output] }) => {
      const names = [name, output];
      for (let next = users.get(output); next?.length === 1 && names.length < 5; next = users.get(names.at(-1)!)) {
        names.push(next[0][0]);
      }
      return { names };
    });
}

/** Milliseconds of the labelled nodes in each of the last `runs` runs that a profile of ONNX Runtime has. */
function profiled(events: readonly Event[], labels: readonly Label[], runs: number): number[] | undefined {
  const known = new Map(labels.flatMap(({ names }, i) => names.map(name => [name, i] as const)));
  const starts = events.filter(e => e.name === 'model_run').map(e => [e.ts, e.ts + e.dur]);
  const sums: number[] = [];
  for (const [from, to] of starts.slice(-runs)) {
    const seen = new Set<number>();
    let sum = 0;
    for (const { name, cat, ts, dur, args } of events) {
      if (
        cat !== 'Node' ||
        ts < from ||
        ts >= to ||
        !name.endsWith('_kernel_time') ||
        !args.op_name?.endsWith('Conv')
      ) {
        continue;
      }
      // `t12_nchwc_kernel_time`: named by the output once its layout is changed.
      const layer = known.get(
        name
          .replace(/_kernel_time$/, '')
          .replace(/_nchwc$/, '')
          .replace(/^fused /, ''),
      );
      if (layer === undefined) continue;
      seen.add(layer);
      sum += dur;
    }
    if (seen.size !== labels.length) return undefined;
    sums.push(sum / 1000);
  }
  return sums.length === runs ? sums : undefined;
}
