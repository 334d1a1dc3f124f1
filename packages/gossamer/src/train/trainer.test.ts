import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random, type Tensor } from '@gossamer/tensor';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { GradualMagnitudePruning } from '../methods/pruning/gradual-magnitude-pruning.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { SGD } from '../optim/index.ts';
import { latestCheckpoint, loadCheckpoint } from './checkpoint.ts';
import { readMetrics } from './metrics-log.ts';
import { classification } from './task.ts';
import { Trainer, type TrainerOptions } from './trainer.ts';

class Net extends Module {
  readonly fc1 = new Linear(8, 16, { random: new Random(1) });
  readonly fc2 = new Linear(16, 4, { random: new Random(2) });
  override forward(x: Tensor): Tensor {
    return this.fc2.forward(this.fc1.forward(x).relu());
  }
}

/** Four classes that a linear map of 8 inputs decides. */
function samples(n: number, seed: number): ArrayDataset {
  const inputs = new Random(seed).normal(n * 8);
  const labels = Int32Array.from({ length: n }, (_, i) => {
    const row = inputs.subarray(i * 8, i * 8 + 4);
    return row.indexOf(Math.max(...row));
  });
  return new ArrayDataset({
    inputs: { dtype: 'float32', shape: [n, 8], data: inputs },
    labels: { dtype: 'int32', shape: [n], data: labels },
  });
}

function setup(options: Partial<TrainerOptions> = {}) {
  const model = new Net();
  const train = new DataLoader(samples(256, 0), { batchSize: 32, shuffle: true });
  const validation = new DataLoader(samples(128, 1), { batchSize: 50 });
  const optimizer = new SGD(model.parameters(), { learningRate: 0.2, momentum: 0.9 });
  const length = options.steps === undefined ? { epochs: 6 } : {};
  return {
    model,
    trainer: new Trainer({ model, train, validation, optimizer, task: classification(), ...length, ...options }),
  };
}

describe('Trainer', () => {
  it('learns, evaluates every epoch, and reports where the time went', async () => {
    const { trainer } = setup();
    const { metrics, history, steps, spent } = await trainer.run();
    expect(steps).toBe(48);
    expect(history).toHaveLength(6);
    expect(metrics.accuracy).toBeGreaterThan(0.85);
    expect(metrics.loss).toBeLessThan(history[0].loss);
    expect(spent.calls).toBe(48);
    expect(spent.runtime).toBeLessThan(spent.total);
  });

  it('leaves exact zeros (not −0) where weights are masked, in the sparsity asked for', async () => {
    const sparsifier = new GradualMagnitudePruning({ sparsity: 0.75, interval: 4 });
    const { model, trainer } = setup({ sparsifiers: [sparsifier] });
    await trainer.run();
    for (const layer of [model.fc1, model.fc2]) {
      const w = await layer.weight.data();
      expect(w.filter(v => Object.is(v, 0))).toHaveLength(w.length * 0.75);
      expect(w.some(v => Object.is(v, -0))).toBe(false);
    }
  });

  it('a sparsity of 0 gives the dense run bit for bit', async () => {
    const dense = setup();
    await dense.trainer.run();
    const sparse = setup({ sparsifiers: [new GradualMagnitudePruning({ sparsity: 0 })] });
    await sparse.trainer.run();
    expect(await sparse.model.fc1.weight.data()).toEqual(await dense.model.fc1.weight.data());
  });

  it('masked weights keep their bits while they are masked', async () => {
    const { model, trainer } = setup({ steps: 20, sparsifiers: [] });
    await trainer.run();
    const seen: Float32Array[] = [];
    class Watched extends GradualMagnitudePruning {
      override async update(training: Parameters<GradualMagnitudePruning['update']>[0]): Promise<void> {
        await super.update(training);
        seen.push((await training.layers.parameters.get('fc1.weight')!.data()).slice());
      }
    }
    const watched = new Watched({ sparsity: 0.5, end: 1, interval: 1 });
    const optimizer = new SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9, weightDecay: 0.01 });
    const train = new DataLoader(samples(256, 0), { batchSize: 32 });
    await new Trainer({ model, train, optimizer, task: classification(), steps: 12, sparsifiers: [watched] }).run();
    const keep = watched.mask!.get('fc1.weight');
    expect(watched.mask!.sparsity('fc1.weight')).toBe(0.5);
    for (let i = 0; i < keep.length; i++) {
      if (keep[i] === 0) expect(seen[11][i]).toBe(seen[2][i]);
    }
    expect(keep.some((k, i) => k === 1 && seen[11][i] !== seen[2][i])).toBe(true);
  });

  it('stops early when the watched metric stalls', async () => {
    const { trainer } = setup({ epochs: 40, earlyStop: { metric: 'accuracy', patience: 2, mode: 'max' } });
    const { stoppedEarly, history } = await trainer.run();
    expect(stoppedEarly).toBe(true);
    expect(history.length).toBeLessThan(40);
  });

  it('refuses impossible settings and a diverging loss by name', async () => {
    expect(() => setup({ steps: 3, epochs: 2 })).toThrow(/give one of them/);
    const stop = { metric: 'loss', patience: 1, mode: 'min' } as const;
    expect(() => setup({ earlyStop: stop, validation: undefined as never })).toThrow(/there is no validation data/);
    const { trainer } = setup({ earlyStop: { metric: 'f1', patience: 1, mode: 'max' } });
    await expect(trainer.run()).rejects.toThrow(/'f1', but the validation gives loss, accuracy/);
    const model = new Net();
    model.fc1.weight.set(new Float32Array(128).fill(Number.NaN));
    const train = new DataLoader(samples(64, 0), { batchSize: 32 });
    const optimizer = new SGD(model.parameters(), { learningRate: 1 });
    await expect(new Trainer({ model, train, optimizer, task: classification(), steps: 2 }).run()).rejects.toThrow(
      /the loss is NaN at step 1/,
    );
  });
});

describe('resume', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gossamer-trainer-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const script = new URL('killable.ts', import.meta.url).pathname;
  const run = (out: string, killAfterStep?: number) =>
    new Promise<{ output: string; killed: boolean }>((resolve, reject) => {
      const child = spawn(process.execPath, [script, out, '30'], { stdio: ['ignore', 'pipe', 'inherit'] });
      let output = '';
      child.stdout.on('data', chunk => {
        output += chunk;
      });
      const watch =
        killAfterStep === undefined
          ? undefined
          : setInterval(async () => {
              const lines = (await readFile(join(out, 'metrics.jsonl'), 'utf8').catch(() => '')).split('\n').length;
              if (lines > killAfterStep) child.kill('SIGKILL');
            }, 2);
      child.on('error', reject);
      child.on('exit', (code, signal) => {
        clearInterval(watch);
        if (code === 0 || signal === 'SIGKILL') resolve({ output, killed: signal === 'SIGKILL' });
        else reject(new Error(`exit ${code}`));
      });
    });

  it('a run that had stopped early does not go on', async () => {
    const options = { epochs: 40, earlyStop: { metric: 'accuracy', patience: 2, mode: 'max' }, out: folder } as const;
    const first = setup(options);
    const { steps, history } = await first.trainer.run();
    const second = setup(options);
    expect(await second.trainer.run()).toMatchObject({ steps, history, stoppedEarly: true });
    expect(await second.model.fc1.weight.data()).toEqual(await first.model.fc1.weight.data());
  });

  it('a run killed with SIGKILL twice ends with the same bits, history and log', async () => {
    const whole = await run(join(folder, 'whole'));
    const out = join(folder, 'killed');
    expect((await run(out, 4)).killed).toBe(true);
    expect((await run(out, 17)).killed).toBe(true);
    const resumed = await run(out);
    expect(JSON.parse(resumed.output)).toEqual(JSON.parse(whole.output));
    const { arrays } = await loadCheckpoint((await latestCheckpoint(out))!);
    const zeros = (name: string) => (arrays[name].data as Float32Array).filter(v => Object.is(v, 0)).length;
    expect(zeros('model/fc1.weight')).toBe(Math.round(0.8 * 784 * 32));
    expect(zeros('stored/fc1.weight')).toBeLessThan(1000);
    const logs = await Promise.all(['whole', 'killed'].map(n => readMetrics(join(folder, n, 'metrics.jsonl'))));
    expect(logs[1]).toEqual(logs[0]);
  });
});
