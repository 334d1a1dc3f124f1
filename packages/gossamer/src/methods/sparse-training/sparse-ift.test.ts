import { Random, type Spec, sizeOf, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { ConvNet } from '../../experiments/small-models.ts';
import { GPT } from '../../models/gpt.ts';
import { CifarResNet } from '../../models/resnet-cifar.ts';
import { BatchNorm1d, BatchNorm2d, Conv2d, Linear, MLP, type Module, ReLU, Sequential } from '../../nn/index.ts';
import { SGD } from '../../optim/index.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import {
  auditTable,
  type Balance,
  dopedRank,
  type Family,
  factorizedRank,
  families,
  fold,
  parallelBranches,
  SparseDoped,
  SparseFactorized,
  SparseParallel,
  sparseIFT,
  wideFactor,
  widened,
} from './sparse-ift.ts';
import { IsoFlopTraining } from './sparse-ift-training.ts';

const random = new Random(5);
const floats = (...shape: number[]): Spec => ({ dtype: 'float32', shape });

interface Case {
  readonly build: (k: number) => Module;
  readonly input: Spec;
  readonly balance: Balance;
  readonly exclude?: readonly string[];
}

const cases: Record<string, Case> = {
  perceptron: {
    build: k => new MLP([96, widened(40, k), widened(40, k), 10], { random: new Random(1) }),
    input: floats(1, 96),
    balance: 'layer',
    exclude: ['layers.2.weight'],
  },
  'conv net': {
    build: k =>
      new ConvNet(
        3,
        [8, 16, 32].map(w => widened(w, k)),
        new Random(1),
      ),
    input: floats(1, 3, 16, 16),
    balance: 'network',
  },
  'residual net': {
    build: k => new CifarResNet({ depth: 8, width: widened(8, k), random: new Random(1) }),
    input: floats(1, 3, 16, 16),
    balance: 'network',
  },
  'language model': {
    build: k =>
      new GPT({ vocab: 40, context: 16, layers: 2, heads: 4, dim: 4 * Math.round(8 * k), random: new Random(1) }),
    input: { dtype: 'int32', shape: [1, 16] },
    balance: 'network',
  },
};

/** What the table of a case costs, whatever is excluded elsewhere. */
const transform = ({ build, input, balance, exclude }: Case, family: Family, sparsity: number, own: object = {}) =>
  sparseIFT({
    build,
    input,
    family,
    sparsity,
    ...(family.startsWith('wide') ? { balance } : exclude && { exclude }),
    ...own,
  });

const output = async (model: Module, x: Float32Array, shape: readonly number[]): Promise<Float32Array> =>
  model
    .eval()
    .forward(tensor({ dtype: 'float32', shape, data: x }))
    .data();

const largest = (a: Float32Array, b: Float32Array): number => a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i])), 0);

describe('sizes of the four families', () => {
  it('are those of the paper', () => {
    expect([0.5, 0.75, 0.9].map(s => wideFactor(s).toFixed(3))).toEqual(['1.414', '2.000', '3.162']);
    expect([0, 0.5, 0.75, 0.9].map(parallelBranches)).toEqual([1, 2, 4, 10]);
    expect([0.5, 0.75].map(s => widened(64, wideFactor(s)))).toEqual([90, 128]);
    // D_in·D_out/((1 − s)(D_in + D_out)) and s·D_in·D_out/(D_in + D_out) for 64×64.
    expect(factorizedRank(64, 64, 0.5)).toBe(64);
    expect(factorizedRank(64, 64, 0.75)).toBe(128);
    expect(dopedRank(64, 64, 0.5)).toBe(16);
    // A 3×3 convolution 16 → 32: K²·C_in = 144.
    expect(factorizedRank(144, 32, 0.5)).toBe(Math.ceil((144 * 32) / (0.5 * (144 + 32))));
    expect(factorizedRank(144, 32, 0.5, 'dense')).toBe(Math.ceil((144 * 32) / (0.5 * 144 + 32)));
    expect(dopedRank(144, 32, 0.5)).toBe(Math.floor((0.5 * 144 * 32) / (144 + 32)));
  });

  it('spans the search space of the paper', async () => {
    const net = cases['conv net'];
    const dense = (await transform(net, 'wide', 0)).audit;
    const inner = dense.rows.slice(1, -1).reduce((n, r) => n + r.shape.reduce((a, b) => a * b), 0);
    const maskable = async (family: Family) => (await transform(net, family, 0.75)).audit.maskable;
    expect(await maskable('wide')).toBe(4 * inner);
    expect(await maskable('parallel')).toBe(4 * inner);
    expect(await maskable('doped')).toBe(inner);
    const ranks = dense.rows
      .slice(1, -1)
      .map(({ shape: [o, i, h, w] }) => factorizedRank(i * h * w, o, 0.75) * (i * h * w + o));
    expect(await maskable('factorized')).toBe(ranks.reduce((a, b) => a + b));
  });
});

describe('the audit', () => {
  for (const [name, net] of Object.entries(cases)) {
    for (const family of families) {
      // Branches of a language model would normalise sequences.
      if (name === 'language model' && family === 'parallel') continue;
      it(`finds the multiply-adds of the dense ${name} in a ${family} one`, async () => {
        for (const sparsity of family === 'wide+factorized' ? [0.5] : [0.5, 0.75, 0.9]) {
          const { audit } = await transform(net, family, sparsity);
          expect(Math.abs(audit.ratio - 1), auditTable(audit)).toBeLessThan(0.005);
          const { audit: dense } = await transform(net, family, 0);
          expect(audit.dense).toBe(dense.dense);
        }
      });
    }
  }

  it('lists widths that had to be rounded, and factors that are no low rank', async () => {
    const wide = await transform(cases['conv net'], 'wide', 0.5);
    expect(wide.audit.rows[0].note).toBe('width 11.31 → 11');
    const factorized = await transform(cases['conv net'], 'factorized', 0.75);
    expect(factorized.audit.rows[1].note).toContain('linear over-parameterisation, not low rank');
    expect(auditTable(wide.audit)).toContain('of the dense network');
  });

  it('keeps equal multiply-adds in the shape of ERK, which an equal share of weights would not', async () => {
    const { audit } = await transform(cases['residual net'], 'wide', 0.75, { allocation: 'erk' });
    expect(Math.abs(audit.ratio - 1)).toBeLessThan(0.005);
    const densities = new Set(audit.rows.flatMap(r => r.parts.filter(p => p.masked).map(p => p.density.toFixed(3))));
    expect(densities.size).toBeGreaterThan(2);
  });

  it('leaves 1 − s everywhere without a balance, and then says what it costs', async () => {
    const { audit, densities } = await transform(cases['conv net'], 'wide', 0.75, { balance: 'none' });
    expect(new Set(densities.values())).toEqual(new Set([0.25]));
    expect(audit.ratio).toBeGreaterThan(1.01);
  });
});

describe('sparsity 0', () => {
  it.each(families)('gives back the dense network (%s)', async family => {
    const net = cases['residual net'];
    const { model, sparsifier } = await transform(net, family, 0);
    const dense = net.build(1);
    dense.loadStateDict(await Promise.all([...model.stateDict()].map(async ([n, p]) => [n, await p.array()] as const)));
    const x = random.normal(2 * 3 * 256);
    expect(await output(model, x, [2, 3, 16, 16])).toEqual(await output(dense, x, [2, 3, 16, 16]));
    expect(sparsifier()).toBeUndefined();
  });
});

describe('layers', () => {
  const [linear, conv] = [
    () => new Linear(12, 9, { random }),
    () => new Conv2d(4, 6, 3, { padding: 1, stride: 2, random }),
  ];
  it.each([
    ['linear', linear, [5, 12]],
    ['convolution', conv, [2, 4, 7, 7]],
  ] as const)('fold into one weight: %s', async (_, make, shape) => {
    const x = tensor({ dtype: 'float32', shape, data: random.normal(sizeOf(shape)) });
    for (const layer of [new SparseFactorized(make(), 7, 'linear', random), new SparseDoped(make(), 3, random)]) {
      const single = make();
      const bias = layer instanceof SparseDoped ? layer.sparse.bias! : layer.v.bias!;
      single.weight.set(await layer.folded().data());
      single.bias!.set(await bias.data());
      expect(largest(await layer.forward(x).data(), await single.forward(x).data())).toBeLessThan(1e-5);
    }
  });

  it('draw factors He normal by fan-out', async () => {
    const { u, v } = new SparseFactorized(new Conv2d(20, 30, 3, { random }), 40, 'bn', random);
    const rms = async (w: Linear['weight']) => Math.sqrt((await w.data()).reduce((s, x) => s + x * x, 0) / w.size);
    expect(await rms(u.weight)).toBeCloseTo(Math.sqrt(2 / (40 * 9)), 2);
    expect(await rms(v.weight)).toBeCloseTo(Math.sqrt(2 / 30), 1);
  });

  it('of one branch are the layer with its batch norm', async () => {
    const dense = new Conv2d(3, 4, 3, { bias: false, random });
    const norm = new BatchNorm2d(4);
    const parallel = new SparseParallel(dense, 1, 1, random);
    parallel.branches[0].weight.set(await dense.weight.data());
    const x = tensor({ dtype: 'float32', shape: [3, 3, 6, 6], data: random.normal(324) });
    for (const m of [norm, parallel]) m.eval();
    expect(await parallel.forward(x).data()).toEqual(await norm.forward(dense.forward(x)).data());
  });

  it('refuse to fold what is not linear between the factors', () => {
    expect(() => new SparseFactorized(linear(), 4, 'bn+relu', random).folded()).toThrow('bn+relu between the factors');
  });
});

describe('parallel branches', () => {
  it('take the place of a layer and of the batch norm behind it, and of nothing else', async () => {
    const { model } = await transform(cases['residual net'], 'parallel', 0.5);
    const names = [...model.stateDict().keys()];
    expect(names).toContain('layer1.0.conv1.branches.1.weight');
    expect(names).toContain('layer1.0.conv1.norms.0.running_mean');
    expect(names.filter(n => /^layer.*\.bn\d/.test(n))).toEqual([]);
    expect(names).toContain('bn1.weight');
    expect(names).toContain('linear.weight');
  });

  it('keep a norm that does not follow the layer directly', async () => {
    const build = () =>
      new Sequential(new Linear(8, 8), new ReLU(), new Linear(8, 8), new ReLU(), new BatchNorm1d(8), new Linear(8, 2));
    const { model } = await sparseIFT({ build, input: floats(1, 8), family: 'parallel', sparsity: 0.5 });
    expect([...model.stateDict().keys()].filter(n => n.startsWith('4.'))).toHaveLength(4);
  });
});

describe('training', () => {
  const data = new ArrayDataset({
    inputs: { dtype: 'float32', shape: [64, 20], data: random.normal(1280) },
    labels: { dtype: 'int32', shape: [64], data: random.integers(64, 0, 4) },
  });
  const build = (k: number) => new MLP([20, widened(16, k), widened(16, k), 4], { random: new Random(3) });
  const train = async (maskOptimizer: 'rigl' | 'set' | 'static') => {
    const ift = await sparseIFT({ build, input: floats(1, 20), family: 'wide', sparsity: 0.75, balance: 'layer' });
    const sparsifier = ift.sparsifier({ maskOptimizer, interval: 4 })!;
    const kept: (readonly number[])[] = [];
    const masks: string[] = [];
    const update = sparsifier.update.bind(sparsifier);
    sparsifier.update = async training => {
      await update(training);
      kept.push(sparsifier.mask!.names.map(n => sparsifier.mask!.kept(n)));
      masks.push(sparsifier.mask!.names.map(n => sparsifier.mask!.get(n).join('')).join());
    };
    const optimizer = new SGD(ift.model.parameters(), { learningRate: 0.1, momentum: 0.9 });
    const loader = new DataLoader(data, { batchSize: 16, shuffle: true });
    await new Trainer({
      model: ift.model,
      task: classification(),
      train: loader,
      optimizer,
      steps: 40,
      sparsifiers: [sparsifier],
    }).run();
    return { ift, kept, masks, changes: masks.flatMap((m, i) => (i > 0 && m !== masks[i - 1] ? [i] : [])) };
  };

  it('keeps round((1 − s)·numel) weights of each layer through every update', async () => {
    const { ift, kept, changes } = await train('rigl');
    const wanted = ift.audit.rows.flatMap(r => r.parts.map(p => p.nonzeros));
    // 20·32·½, 32·32·¼, 32·4·½
    expect(wanted).toEqual([320, 256, 64]);
    for (const counts of kept) expect(counts).toEqual(wanted);
    // ΔT = 4, until 80 % of 40 steps, where the fraction is 0.
    expect(changes).toEqual([4, 8, 12, 16, 20, 24, 28]);
  });

  it('moves masks at random under SET and not at all when static', async () => {
    expect((await train('set')).changes).toHaveLength(7);
    expect((await train('static')).changes).toEqual([]);
  });

  it('takes the weight decay of a pair on its masked product', async () => {
    const ift = await sparseIFT({
      build,
      input: floats(1, 20),
      family: 'factorized',
      sparsity: 0.5,
      exclude: ['layers.0.weight', 'layers.2.weight'],
    });
    const sparsifier = ift.sparsifier({ weightDecay: 0.1 })!;
    const loader = new DataLoader(data, { batchSize: 16 });
    // One of four layers' U and V have no decay of their own.
    expect(ift.groups().map(g => [g.parameters.length, g.weightDecay])).toEqual([
      [5, undefined],
      [2, 0],
    ]);
    const optimizer = new SGD(ift.groups(), { learningRate: 0, weightDecay: 0.1 });
    await new Trainer({
      model: ift.model,
      task: classification(),
      train: loader,
      optimizer,
      steps: 1,
      sparsifiers: [sparsifier],
    }).run();
    const [{ u, v }] = ift.folded;
    // After training, masked weights are zero in the parameters themselves.
    const w = await fold(u, v).data();
    const expected = 0.05 * w.reduce((s, x) => s + x * x, 0);
    expect(expected).toBeGreaterThan(0);
    expect(await sparsifier.penalty().item()).toBeCloseTo(expected, 5);
  });
});

describe('refuses', () => {
  const net = cases['conv net'];
  it('sparsities that make no network', async () => {
    for (const s of [-0.1, 1, Number.NaN])
      await expect(transform(net, 'wide', s)).rejects.toThrow('expected 0 ≤ s < 1');
    expect(() => parallelBranches(0.6)).toThrow(
      '2.500 parallel branches; the nearest are 0.5 (2 branches) and 0.6667 (3 branches)',
    );
    await expect(transform(net, 'parallel', 0.6)).rejects.toThrow('parallel branches');
    expect(() => dopedRank(10, 10, 0.1)).toThrow('rank 1; raise the sparsity above 0.2000');
  });

  it('a widened network whose dense ends leave nothing for the rest', async () => {
    const { build, input } = cases.perceptron;
    await expect(sparseIFT({ build, input, family: 'wide', sparsity: 0.75 })).rejects.toThrow(
      "nothing is left for the sparse layers; mask these, too, with balance 'layer'",
    );
  });

  it('grouped convolutions whose groups do not grow with the width', async () => {
    const build = (k: number) =>
      new Sequential(
        new Conv2d(2, 4 * Math.round(2 * k), 3),
        new Conv2d(4 * Math.round(2 * k), 4 * Math.round(2 * k), 3, { groups: 4 }),
      );
    await expect(sparseIFT({ build, input: floats(1, 2, 8, 8), family: 'wide', sparsity: 0.75 })).rejects.toThrow(
      '1.weight has 4 groups at any width',
    );
  });

  it('unknown names and layers, builders without a width, and nothing to mask', async () => {
    await expect(transform(net, 'tall' as Family, 0.5)).rejects.toThrow("no family 'tall'");
    await expect(transform(net, 'doped', 0.5, { exclude: ['stem'] })).rejects.toThrow("exclude 'stem': no such weight");
    await expect(
      sparseIFT({ build: () => net.build(1), input: net.input, family: 'wide', sparsity: 0.5 }),
    ).rejects.toThrow('does build use the width');
    const build = () => new MLP([4, 4]);
    await expect(sparseIFT({ build, input: floats(1, 4), family: 'doped', sparsity: 0.5 })).rejects.toThrow(
      'none is left',
    );
    await expect(transform(net, 'factorized', 0.5, { balance: 'layer', allocation: 'erk' })).rejects.toThrow(
      'balance network',
    );
    expect(() => new IsoFlopTraining({ densities: new Map() })).toThrow('no layer is masked');
    await expect(transform(net, 'wide+factorized', 0.5, { balance: 'none' })).rejects.toThrow('dense up to rounding');
    await expect(transform(cases['language model'], 'parallel', 0.5)).rejects.toThrow('maps sequences');
  });
});
