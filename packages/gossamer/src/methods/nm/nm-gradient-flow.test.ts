import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ViT } from '../../models/vit.ts';
import { GradientNoise, parseGranularity, trainingFlops } from '../../sparsity/index.ts';
import { modelLayers } from '../../sparsity/model.ts';
import { NMGradientFlow, recipes } from './nm-gradient-flow.ts';
import { SRSTE } from './sr-ste.ts';
import { STE } from './ste.ts';
import { adam, largestOfEach, Net, watch } from './testing.ts';

const ff = ['h.0.mlp.fc1.weight', 'h.0.mlp.fc2.weight'];
const count = (keep: Uint8Array) => keep.reduce((a, b) => a + b, 0);

describe('NMGradientFlow', () => {
  it('every recipe ends with exactly n of every m in the feed-forward weights, and leaves the others dense', async () => {
    for (const recipe of recipes.filter(r => r !== 'dense')) {
      const { weights, seen } = await watch(new NMGradientFlow({ recipe, granularity: '1:8' }), { optimizer: adam });
      expect([...seen[0].keep.keys()]).toEqual(ff);
      for (const name of ff) {
        const keep = weights.get(name)!.map(w => (w === 0 ? 0 : 1));
        for (let g = 0; g < keep.length; g += 8) expect(keep.subarray(g, g + 8).reduce((a, b) => a + b)).toBe(1);
        // The binary mask, not what D left over.
        const { values } = seen.at(-1)!;
        const m = largestOfEach(values.get(name)!, 1, 8);
        expect(weights.get(name)).toEqual(values.get(name)!.map((w, i) => (m[i] ? w : 0)));
      }
      expect(weights.get('head.weight')!.every(w => w !== 0)).toBe(true);
    }
  });

  it('the mask follows the present dense weights through the decay', async () => {
    const { seen } = await watch(new NMGradientFlow({ granularity: '1:4', fineTune: 0.25 }), { optimizer: adam });
    let changed = 0;
    for (const [i, { step, values, keep }] of seen.entries()) {
      for (const name of ff) {
        if (step <= 1) expect(count(keep.get(name)!)).toBe(keep.get(name)!.length);
        else expect(keep.get(name)!.join('')).toBe(largestOfEach(values.get(name)!, 1, 4).join(''));
        if (step > 2)
          changed += keep.get(name)!.reduce((n, k, j) => n + Math.abs(k - seen[i - 1].keep.get(name)![j]), 0);
      }
    }
    expect(changed).toBeGreaterThan(0);
  });

  it('is the dense run bit for bit as long as D = 1', async () => {
    const dense = await watch(new NMGradientFlow({ recipe: 'dense', granularity: '1:8' }), { steps: 12 });
    const late = await watch(new NMGradientFlow({ granularity: '1:8', dense: 0.9, fineTune: 0 }), { steps: 12 });
    const { values } = late.seen[11];
    for (const name of ff) expect(values.get(name)).toEqual(dense.seen[11].values.get(name));
    const plain = await watch(new STE({ sparsity: 0 }), { steps: 12 });
    expect(dense.weights).toEqual(plain.weights);
  });

  it('as ste and sr-ste it is those methods', async () => {
    const exclude = ['h.0.qkv.weight', 'head.weight'];
    for (const [recipe, other] of [
      ['ste', new STE({ granularity: '2:4', exclude })],
      ['sr-ste', new SRSTE({ granularity: '2:4', exclude, lambda: 0.1 })],
    ] as const) {
      const own = recipe === 'sr-ste' ? { lambda: 0.1 } : {};
      const a = await watch(new NMGradientFlow({ recipe, granularity: '2:4', ...own }), { steps: 10 });
      const b = await watch(other, { steps: 10 });
      expect(a.weights).toEqual(b.weights);
    }
  });

  it('SDGF goes through its patterns', async () => {
    const step = new NMGradientFlow({ recipe: 'sdgf-stepwise', granularity: '1:8', dense: 0.1, fineTune: 0.1 });
    const { seen } = await watch(step);
    expect(step.phases).toEqual({ from: 4, to: 36 });
    for (const { step, keep } of seen) {
      const n = step < 4 ? 8 : [7, 4, 2, 1][Math.min(3, Math.floor((step - 4) / 8))];
      for (const name of ff) expect(count(keep.get(name)!)).toBe((keep.get(name)!.length * n) / 8);
    }
    const geometric = new NMGradientFlow({ recipe: 'sdgf-geometric', granularity: '1:8', layers: 'ff' });
    await watch(geometric);
    expect([...geometric.frames.values()].map(f => f.length)).toEqual([3, 4]);
  });

  it('prunes projections inside a fused weight, each with its pattern, and whole tensors without one', async () => {
    const parts = new NMGradientFlow({ granularity: '1:4', layers: 'q=2:4,v,ff=1:16', fineTune: 0.2 });
    const { weights } = await watch(parts);
    const qkv = weights.get('h.0.qkv.weight')!;
    const zeros = (from: number, to: number) =>
      qkv.subarray(from * 32, to * 32).filter(w => w === 0).length / (32 * 32);
    expect([zeros(0, 32), zeros(32, 64), zeros(64, 96)]).toEqual([0.5, 0, 0.75]);
    expect(weights.get(ff[0])!.filter(w => w !== 0)).toHaveLength(2048 / 16);
    const whole = await watch(new NMGradientFlow({ sparsity: 0.9, recipe: 'mdgf-linear', layers: ['blocks'] }));
    expect(whole.weights.get('h.0.qkv.weight')!.filter(w => w !== 0)).toHaveLength(Math.round(0.1 * 96 * 32));
  });

  it('goes on after an interruption where it stood, in the middle of the decay', async () => {
    const out = await mkdtemp(join(tmpdir(), 'gossamer-flow-'));
    try {
      const make = () => new NMGradientFlow({ granularity: '1:8' });
      const whole = await watch(make());
      const stopped = make();
      const update = stopped.update.bind(stopped);
      stopped.update = async training => {
        if (training.step === 22) throw new Error('power cut');
        await update(training);
      };
      await expect(watch(stopped, { out })).rejects.toThrow('power cut');
      expect((await readdir(out)).join()).toContain('20');
      const { seen, weights } = await watch(make(), { out, model: new Net(99) });
      expect(seen[0].step).toBe(20);
      expect(weights).toEqual(whole.weights);
    } finally {
      await rm(out, { recursive: true });
    }
  });

  it('counts training FLOPs: SDGF saves in every stage, MDGF only once D is 0', async () => {
    const layers = (await modelLayers(new Net(), [{ dtype: 'float32', shape: [1, 32] }])).layers;
    const flops = async (recipe: (typeof recipes)[number]) => {
      const s = new NMGradientFlow({ recipe, granularity: '1:8', dense: 0.1, fineTune: 0.2 });
      await watch(s);
      const sparse = (name: string) => s.frames.has(name);
      const density = (l: { name: string }, step: number) => (sparse(l.name) ? s.densityAt(l.name, step) : 1);
      return trainingFlops(layers, { steps: 40, samples: 16 }, density) / (16 * 2);
    };
    const dense = 40 * 3 * (96 * 32 + 2 * 64 * 32 + 4 * 32);
    const forward = 2 * 64 * 32;
    expect(await flops('dense')).toBe(dense);
    expect(await flops('sr-ste')).toBe(dense - 40 * (7 / 8) * forward);
    // 4 dense steps, 28 of decay, 8 binary ones.
    expect(await flops('mdgf-exponential')).toBe(dense - 8 * (7 / 8) * forward);
    expect(await flops('sdgf-stepwise')).toBe(dense - (7 * (1 / 8 + 4 / 8 + 6 / 8 + 7 / 8) + 8 * (7 / 8)) * forward);
  });

  it('lets an observer see the noise of kept and pruned weights', async () => {
    const flow = new NMGradientFlow({ granularity: '1:8' });
    const noise = new GradientNoise(flow, { window: 10 });
    await watch(flow, { optimizer: adam, behind: [noise] });
    expect(noise.log).toHaveLength(8);
    const [last] = noise.log.slice(-1);
    // Pruned weights get nothing in the last phase but keep their history in Adam.
    expect(last.pruned.magnitude).toBeLessThan(last.kept.magnitude);
    expect(last.pruned.secondMoment!).toBeGreaterThan(0);
  });

  it('takes the feed-forward part of a ViT, and the blocks of a network that has none', async () => {
    const model = new ViT({
      imageSize: 14,
      patchSize: 7,
      channels: 1,
      dim: 32,
      depth: 1,
      heads: 2,
      random: new Random(0),
    });
    const { layers, parameters } = await modelLayers(model, [{ dtype: 'float32', shape: [1, 1, 14, 14] }]);
    const flow = new NMGradientFlow({ granularity: parseGranularity('1:32') });
    await flow.prepare({ layers: { layers, parameters }, steps: 100 } as never);
    expect([...flow.frames.keys()]).toEqual(['blocks.0.mlp.fc1.weight', 'blocks.0.mlp.fc2.weight']);
    const rest = layers.filter(l => !l.name.includes('mlp'));
    await flow.prepare({ layers: { layers: rest, parameters }, steps: 100 } as never);
    expect([...flow.frames.keys()]).toEqual(['blocks.0.attn.qkv.weight', 'blocks.0.attn.proj.weight']);
  });

  it('refuses impossible patterns, phases and options', async () => {
    const refused = (options: ConstructorParameters<typeof NMGradientFlow>[0], message: string) =>
      expect(() => new NMGradientFlow(options)).toThrow(message);
    refused({ granularity: '4:4' }, 'expected whole numbers with 1 ≤ n < m');
    refused({ granularity: '0:4' }, 'expected whole numbers with 1 ≤ n < m');
    refused({ granularity: 'filter' }, 'pattern filter; expected n:m');
    refused({}, 'give a pattern');
    refused({ granularity: '1:4', sparsity: 0.5 }, 'a pattern has its own sparsity');
    refused({ sparsity: 1 }, 'sparsity 1; expected 0 < s < 1');
    refused({ granularity: '1:4', recipe: 'magic' as never }, "recipe 'magic'; there are mdgf-linear");
    refused({ granularity: '1:4', dense: 1 }, 'dense 1; expected a share');
    refused({ granularity: '1:4', coefficient: 0 }, 'coefficient 0');
    refused({ granularity: '1:4', lambda: -1 }, 'lambda -1');
    refused({ granularity: '1:4', blocks: [4, 2] }, 'blocks 4, 2; expected falling whole numbers that end with 1');
    refused({ granularity: '1:4', lambda: 0.1 }, 'lambda belongs to sr-ste; mdgf-exponential has none');
    refused({ granularity: '1:4', recipe: 'sdgf-stepwise', coefficient: 0.1 }, 'coefficient belongs to mdgf-linear');
    refused({ granularity: '1:4', recipe: 'sdgf-stepwise', blocks: [2, 1] }, 'blocks belongs to sdgf-geometric');
    const late = (options: ConstructorParameters<typeof NMGradientFlow>[0], steps = 40) =>
      expect(watch(new NMGradientFlow(options), { steps })).rejects;
    await late({ granularity: '1:5' }).toThrow('are not a multiple of 5');
    await late({ granularity: '3:8', recipe: 'sdgf-stepwise' }).toThrow('no power of two');
    await late({ granularity: '1:16', recipe: 'sdgf-stepwise' }, 5).toThrow('too few for the 5 stages');
    await late({ granularity: '1:4', dense: 0.5, fineTune: 0.5 }).toThrow('leave no decay');
    await late({ granularity: '1:4', exclude: ['*.mlp.*'] }).toThrow('leaves no layer to prune');
  });
});
