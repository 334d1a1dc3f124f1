import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NDArray, Random, type Tensor } from '@gossamer/tensor';
import { readOnnx, writeOnnx } from '@gossamer/tensor/onnx';
import { randn } from '@gossamer/tensor/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { writeNpz } from '../../data/npy.ts';
import { CifarResNet } from '../../models/resnet-cifar.ts';
import { exportModel } from '../../nn/export.ts';
import { GraphModule } from '../../nn/graph-module.ts';
import { gossamer, testFolder, writeMLP } from '../testing.ts';

const folder = testFolder();
const resnet = join(folder, 'resnet.onnx');
const mlp = join(folder, 'mlp.onnx');
const npz = join(folder, 'rows.npz');
const out = join(folder, 'small.onnx');

/** Four classes: which of the first four features is the largest. */
function rows(count: number): Record<string, NDArray> {
  const data = new Random(1).normal(count * 8);
  const labels = Int32Array.from({ length: count }, (_, row) => {
    const four = data.subarray(row * 8, row * 8 + 4);
    return four.indexOf(Math.max(...four));
  });
  return {
    inputs: { dtype: 'float32', shape: [count, 8], data },
    labels: { dtype: 'int32', shape: [count], data: labels },
  };
}

describe('gossamer shrink', () => {
  beforeAll(async () => {
    const model = new CifarResNet({ depth: 8, width: 8 });
    await writeOnnx(resnet, await exportModel(model, { image: { shape: [1, 3, 8, 8], dtype: 'float32' } }));
    await writeMLP(mlp);
    writeFileSync(npz, writeNpz(rows(400)));
  });

  it('meets a target of FLOPs, and says what is left of every group', async () => {
    const { code, stdout } = await gossamer(
      'shrink',
      resnet,
      '--flops',
      '50%',
      '--multiple-of',
      '2',
      '--json',
      '-o',
      out,
      '-q',
    );
    expect(code).toBe(0);
    const result = JSON.parse(stdout);
    expect(result.flops.after).toBeLessThanOrEqual(result.flops.before / 2);
    expect(result.milliseconds.after).toBeGreaterThan(0);
    const small = await readOnnx(out);
    for (const { left, channels } of result.groups) {
      expect(left % 2).toBe(0);
      expect(left).toBeLessThanOrEqual(channels);
    }
    const inner = result.groups.find((g: { name: string }) => g.name === 'layer1.0.conv1.weight');
    expect(small.graph.initializers.get('layer1.0.conv1.weight')?.shape[0]).toBe(inner.left);
    expect(result.skipped).toEqual([
      { name: 'linear.weight', count: 10, reason: 'the network gives them out (output)' },
    ]);
  });

  it('tests and fine-tunes on data', async () => {
    const options = ['--parameters', '0.6', '--data', npz, '--finetune-epochs', '2', '--lr', '0.1', '-o', out];
    const { code, stdout, stderr } = await gossamer('shrink', mlp, ...options, '-q');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^accuracy {6}[\d.]+ % → [\d.]+ % smaller → [\d.]+ % fine-tuned$/m);
    expect(stdout).toMatch(/^parameters .* times less\)$/m);
  });

  it('removes what zeros leave dead, and nothing else, without any change of the outputs', async () => {
    const dead = join(folder, 'dead.onnx');
    const network = new CifarResNet({ depth: 8, width: 8 });
    for (const name of ['conv1.weight', 'bn1.bias']) {
      const p = network.stateDict().get(`layer2.0.${name}`)!;
      const width = p.size / p.shape[0];
      p.set((await p.data()).map((v, i) => (Math.floor(i / width) < 5 ? 0 : v)));
    }
    await writeOnnx(dead, await exportModel(network, { image: { shape: [1, 3, 8, 8], dtype: 'float32' } }));
    const { code, stdout, stderr } = await gossamer('shrink', dead, '--zeros', '--json', '-o', out, '-q');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { groups, target } = JSON.parse(stdout);
    expect(target).toBe('zeros');
    const [small, large] = [await readOnnx(out), await readOnnx(dead)];
    for (const { name, channels, left } of groups) {
      expect(left, name).toBe(channels - (name === 'layer2.0.conv1.weight' ? 5 : 0));
    }
    expect(small.graph.initializers.get('layer2.0.conv1.weight')!.shape[0]).toBe(11);
    const x = randn([2, 3, 8, 8]);
    const outputs = [small, large].map(onnx => new GraphModule(onnx).forward(x) as Tensor);
    const [a, b] = await Promise.all(outputs.map(y => y.data()));
    a.forEach((v, i) => {
      expect(v).toBeCloseTo(Number(b[i]), 5);
    });
    const alive = await gossamer('shrink', resnet, '--zeros', '-o', join(folder, 'never.onnx'), '-q');
    expect(alive.code).toBe(1);
    expect(alive.stderr).toContain('no channel is dead');
    expect(await gossamer('shrink', resnet, '--zeros', '--flops', '0.5', '-o', out)).toMatchObject({ code: 2 });
  });

  it('measures a speed-up', async () => {
    const { code, stdout } = await gossamer('shrink', resnet, '--speedup', '1.01', '--json', '-o', out, '-q');
    // A busy machine can hide the little that this small network may gain.
    expect([0, 1]).toContain(code);
    if (code === 0) expect(JSON.parse(stdout).target).toEqual({ speedup: 1.01 });
  });

  it('refuses no target, two, and one that cannot be reached, before anything is written', async () => {
    const none = await gossamer('shrink', resnet, '-o', out);
    expect(none).toMatchObject({ code: 2 });
    expect(none.stderr).toContain('give one target: --flops, --parameters');
    expect(await gossamer('shrink', resnet, '--flops', '0.5', '--bytes', '0.5', '-o', out)).toMatchObject({ code: 2 });
    expect(await gossamer('shrink', resnet, '--flops', '150%', '-o', out)).toMatchObject({ code: 2 });
    const far = await gossamer('shrink', resnet, '--parameters', '5', '-o', join(folder, 'never.onnx'), '-q');
    expect(far.code).toBe(1);
    expect(far.stderr).toContain('5 parameters cannot be reached: with all that may go,');
    await expect(readOnnx(join(folder, 'never.onnx'))).rejects.toThrow();
    const scales = await gossamer('shrink', mlp, '--flops', '0.5', '--score', 'gamma', '-o', out, '-q');
    expect(scales.stderr).toContain('no batch normalisation scales them; try l1');
  });
});
