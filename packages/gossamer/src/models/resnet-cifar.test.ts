import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random, tensor, writeSafetensors } from '@gossamer/tensor';
import { randn } from '@gossamer/tensor/testing';
import { describe, expect, it } from 'vitest';
import { gunzip } from '../data/archive.ts';
import { readCifar } from '../data/cifar.ts';
import { CifarResNet } from './resnet-cifar.ts';
import { checkModel, expectClose, parameterCount, pretrainedFile, shapesOf } from './testing.ts';

describe('CifarResNet', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new CifarResNet({ depth: 8, width: 2, random }), { input: [3, 16, 16], output: [10] }));

  it('has the published number of parameters', () => {
    expect([20, 32, 44, 56].map(depth => parameterCount(new CifarResNet({ depth })))).toEqual([
      269_722, 464_154, 658_586, 853_018,
    ]);
    expect(() => new CifarResNet({ depth: 18 })).toThrow('depth 18: expected 6n + 2');
  });

  it('has the names of the checkpoints', () => {
    const shapes = shapesOf(new CifarResNet({ depth: 8 }));
    expect(Object.keys(shapes).slice(0, 6)).toEqual([
      'conv1.weight',
      'bn1.weight',
      'bn1.bias',
      'bn1.running_mean',
      'bn1.running_var',
      'layer1.0.conv1.weight',
    ]);
    expect(shapes['layer2.0.conv1.weight']).toBe('32×16×3×3');
    expect(shapes['layer3.0.bn2.running_var']).toBe('64');
    expect(shapes['linear.weight']).toBe('10×64');
  });

  it('shortcuts by every second pixel and zeros around the old channels', async () => {
    const model = new CifarResNet({ depth: 8, width: 4 }).eval();
    const block = model.layer2[0] as unknown as { bn2: { weight: { set(data: Float32Array): void } } } & typeof model;
    block.bn2.weight.set(new Float32Array(8));
    const x = randn([1, 4, 6, 6]).relu();
    const y = await block.forward(x).data();
    const values = await x.data();
    const expected = new Float32Array(8 * 9);
    for (let c = 0; c < 4; c++) {
      for (let i = 0; i < 9; i++) {
        expected[(c + 2) * 9 + i] = values[c * 36 + 2 * Math.floor(i / 3) * 6 + 2 * (i % 3)];
      }
    }
    expectClose(y, expected, 1e-6);
  });

  it('loads its own file, sizes read off it, and names what is wrong with another', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'resnet-'));
    try {
      const model = new CifarResNet({ depth: 8, width: 2, classes: 3, random: new Random(7) }).eval();
      const arrays = new Map(
        await Promise.all([...model.stateDict()].map(async ([n, p]) => [n, await p.array()] as const)),
      );
      const path = join(folder, 'model.safetensors');
      await writeSafetensors(path, arrays);
      const x = randn([2, 3, 8, 8]);
      const loaded = await CifarResNet.fromPretrained(path);
      expect(await loaded.forward(x).data()).toEqual(await model.forward(x).data());
      arrays.delete('bn1.bias');
      arrays.set('surplus', { dtype: 'float32', shape: [1], data: new Float32Array(1) });
      await writeSafetensors(path, arrays);
      await expect(CifarResNet.fromPretrained(path)).rejects.toThrow('missing bn1.bias; not in CifarResNet: surplus');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  const weights = pretrainedFile('resnet20_cifar10.safetensors');
  const sample = `${process.env.GOSSAMER_DATA}/cifar-10/lossless_train_100.bin.gz`;
  if (!existsSync(sample))
    console.log('resnet-cifar: accuracy test skipped: GOSSAMER_DATA has no cifar-10/lossless_train_100');
  it.skipIf(!weights || !existsSync(sample))(
    'classifies all 100 lossless images with the published weights',
    async () => {
      const model = await CifarResNet.fromPretrained(weights!);
      const { inputs, labels } = readCifar(await gunzip(readFileSync(sample)));
      const [mean, std] = [
        [0.485, 0.456, 0.406],
        [0.229, 0.224, 0.225],
      ];
      const x = Float32Array.from(inputs.data, (v, i) => (v / 255 - mean[(i >> 10) % 3]) / std[(i >> 10) % 3]);
      const logits = await model.forward(tensor(x, [100, 3, 32, 32])).data();
      const right = labels.data.filter((label, i) => {
        const row = logits.subarray(i * 10, i * 10 + 10);
        return row.indexOf(Math.max(...row)) === label;
      });
      expect(right).toHaveLength(100);
    },
  );
});
