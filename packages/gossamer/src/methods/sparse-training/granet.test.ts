import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { MLP } from '../../nn/container.ts';
import { ScheduledPruning } from '../../sparsity/index.ts';
import { silent } from '../../train/progress.ts';
import { GraNet, type GraNetOptions } from './granet.ts';
import { RigL } from './rigl.ts';
import { changes, places, type Seen, type Watched, watch } from './testing.ts';

/** Weights of the perceptron of `watch`: 20·24 + 24·16 + 16·4. */
const n = 928;
const common = { interval: 4, window: [0, 0.5] } as const satisfies Partial<GraNetOptions>;
const updates = [0, 4, 8, 12, 16, 20];

const live = (s: Seen, name: string) => [...s.before.get(name).keys()].filter(i => s.before.get(name)[i] === 1);

describe('GraNet', () => {
  it.each([0, 0.5])(
    'from initial sparsity %s keeps ⌊(1 − s)·n⌋ weights after every update, and lands exactly',
    async initial => {
      const granet = new GraNet({ ...common, sparsity: 0.931, initial });
      const { seen } = await watch(granet);
      for (const { step, mask } of seen) {
        const p = Math.min(1, Math.floor(step / 4) / 5);
        const s = initial + (0.931 - initial) * (1 - (1 - p) ** 3);
        expect(mask.kept(), `step ${step}`).toBe(Math.floor((1 - s) * n + 1e-9));
      }
      expect(seen.at(-1)!.mask.kept()).toBe(64);
      expect(granet.log.map(l => l.step)).toEqual([...updates, 24, 28, 32, 36]);
      expect(granet.schedule!.updateSteps()).toEqual(updates);
    },
  );

  it('(a) ranks |w| of what lives over all layers; (b) exchanges ⌈r·K⌉ of each layer by |w| and dense gradient', async () => {
    const { seen } = await watch(new GraNet({ ...common, sparsity: 0.9, initial: 0.3 }));
    for (const s of seen.filter(s => s.step % 4 === 0 && s.step > 0 && s.step < 40)) {
      const p = Math.min(1, s.step / 20);
      const target = 0.3 + 0.6 * (1 - (1 - p) ** 3);
      const all = s.mask.names.flatMap(name =>
        live(s, name).map(i => ({ name, i, w: Math.abs(s.values.get(name)![i]) })),
      );
      all.sort((a, b) => b.w - a.w);
      const left = all.slice(0, Math.floor((1 - target) * n + 1e-9));
      const r = 0.005 + 0.495 * ((1 + Math.cos((Math.PI * s.step) / 40)) / 2);
      for (const name of s.mask.names) {
        // In order of falling |w|.
        const own = left.filter(e => e.name === name).map(e => e.i);
        const count = Math.ceil(r * own.length - 1e-9);
        const stay = own.slice(0, own.length - count);
        const g = s.gradients.get(name)!;
        const dead = [...g.keys()].filter(i => !stay.includes(i)).sort((a, b) => Math.abs(g[b]) - Math.abs(g[a]));
        const expected = [...stay, ...dead.slice(0, count)].sort((a, b) => a - b);
        const found = [...s.mask.get(name).keys()].filter(i => s.mask.get(name)[i] === 1);
        expect(found, `step ${s.step} ${name}`).toEqual(expected);
      }
    }
  });

  it('after the window exchanges as many as it removes: counts by layer stay to the end of the training', async () => {
    const { seen } = await watch(new GraNet({ ...common, sparsity: 0.8 }));
    let moved = 0;
    for (const s of seen.filter(s => s.step > 20)) {
      for (const name of s.mask.names) {
        expect(places(s, name, 0, 1)).toHaveLength(places(s, name, 1, 0).length);
        moved += places(s, name, 0, 1).length;
      }
    }
    expect(moved).toBeGreaterThan(10);
    expect(changes(seen).at(-1)).toBe(36);
  });

  it('newborn weights are 0 without momentum; masked ones are 0 in value and momentum after every step', async () => {
    const { seen } = await watch(new GraNet({ ...common, sparsity: 0.9, initial: 0.5 }));
    let born = 0;
    seen.forEach((s, k) => {
      for (const name of s.mask.names) {
        for (const i of places(s, name, 0, 1)) {
          born++;
          expect(s.weights.get(name)![i]).toBe(0);
          expect(s.momentum.get(name)![i]).toBe(0);
        }
        if (k === 0) continue;
        // `before` is the mask under which the step before this update was made.
        const dead = [...s.before.get(name).keys()].filter(i => s.before.get(name)[i] === 0);
        const left = dead.filter(i => s.values.get(name)![i] !== 0 || s.momentum.get(name)![i] !== 0);
        expect(left).toEqual([]);
      }
    });
    expect(born).toBeGreaterThan(50);
  });

  it('ρ_i = ρ_f is RigL with these exchanges, bit for bit', async () => {
    const granet = await watch(new GraNet({ ...common, sparsity: 0.75, initial: 0.75 }));
    const exchanges = { fraction: 0.5, finalFraction: 0.005, until: 1, rounding: 'ceil', interval: 4 } as const;
    const rigl = await watch(new RigL({ sparsity: 0.75, ...exchanges }));
    expect(changes(granet.seen)).toEqual([4, 8, 12, 16, 20, 24, 28, 32, 36]);
    await same(granet, rigl);
  });

  it.each([0, 0.5])('r ≡ 0 is gradual magnitude pruning, from initial sparsity %s', async initial => {
    const granet = await watch(new GraNet({ ...common, sparsity: 0.9, initial, fraction: 0 }));
    expect(changes(granet.seen)).toEqual(updates.slice(1));
    granet.seen.slice(1).forEach(({ mask, before }) => {
      expect(mask.isWithin(before)).toBe(true);
    });
    if (initial > 0) return;
    const options = {
      sparsity: 0.9,
      end: 20,
      every: 4,
      allocation: 'global',
      rounding: 'ceil',
      regrow: false,
    } as const;
    await same(granet, await watch(new ScheduledPruning({ ...options, stored: 'zero' })));
  });

  it('while a layer is dense, regeneration changes nothing', async () => {
    const granet = await watch(new GraNet({ interval: 4, start: 20, end: 32, sparsity: 0.9 }));
    expect(changes(granet.seen)).toEqual([24, 28, 32, 36]);
    expect(granet.seen.filter(s => s.step <= 20).every(s => s.mask.kept() === n)).toBe(true);
  });

  it('uniform: ranks by layer, and from 80 % on the classifier keeps a fifth while the total stays exact', async () => {
    const { seen } = await watch(new GraNet({ ...common, sparsity: 0.9, allocation: 'uniform' }));
    const { mask } = seen.at(-1)!;
    expect(mask.kept('layers.2.weight')).toBe(Math.floor(0.2 * 64 + 1e-9));
    expect(mask.kept()).toBe(Math.floor(0.1 * n + 1e-9));
    const [a, b] = ['layers.0.weight', 'layers.1.weight'].map(name => mask.density(name));
    expect(Math.abs(a - b)).toBeLessThan(2 / 384);
    const early = seen.find(s => s.step === 4)!;
    const s = 0.9 * (1 - 0.8 ** 3);
    for (const name of early.mask.names) {
      expect(early.mask.kept(name)).toBe(Math.floor((1 - s) * early.mask.size(name) + 1e-9));
    }
  });

  it('uniform, from a sparse start: the classifier keeps what the other layers cannot make up for', async () => {
    for (const initial of [0.5, 0.82, 0.85, 0.88]) {
      const granet = new GraNet({ ...common, sparsity: 0.9, initial, allocation: 'uniform' });
      const { seen } = await watch(granet);
      for (const s of seen) expect(s.mask.kept()).toBeLessThanOrEqual(Math.floor((1 - initial) * n + 1e-9));
      expect(seen.at(-1)!.mask.kept()).toBe(Math.floor(0.1 * n + 1e-9));
      expect(seen.at(-1)!.mask.kept('layers.2.weight')).toBeGreaterThanOrEqual(12);
    }
  });

  it('regrows by random numbers and by the momentum of dense gradients, too, with the same counts', async () => {
    const gradient = await watch(new GraNet({ ...common, sparsity: 0.9, initial: 0.5 }));
    for (const grow of ['random', 'momentum'] as const) {
      const { seen } = await watch(new GraNet({ ...common, sparsity: 0.9, initial: 0.5, grow }));
      expect(seen.map(s => s.mask.kept())).toEqual(gradient.seen.map(s => s.mask.kept()));
      // The first momentum is the gradient.
      const first = (w: Watched) => w.seen.find(s => s.step === 4)!.mask;
      expect(first({ ...gradient, seen }).equals(first(gradient))).toBe(grow === 'momentum');
      expect(seen.at(-1)!.mask.equals(gradient.seen.at(-1)!.mask)).toBe(false);
    }
  });

  it('keeps 2:4 from start to end when it starts there, and ends in it when it starts dense', async () => {
    for (const options of [{ sparsity: 0.5, initial: 0.5 }, { sparsity: 0.5 }, { sparsity: 0.8 }]) {
      const { seen } = await watch(new GraNet({ ...common, ...options, granularity: '2:4' }));
      for (const { step, mask } of seen) {
        const p = Math.min(1, Math.floor(step / 4) / 5);
        const s = (options.initial ?? 0) + (options.sparsity - (options.initial ?? 0)) * (1 - (1 - p) ** 3);
        expect(mask.kept()).toBe(Math.floor((1 - s) * n + 1e-9));
        for (const name of mask.names) {
          const keep = mask.get(name);
          for (let i = 0; i < keep.length; i += 4) {
            const run = keep[i] + keep[i + 1] + keep[i + 2] + keep[i + 3];
            if (s >= 0.5) expect(run).toBeLessThanOrEqual(2);
            else expect(run).toBeGreaterThanOrEqual(2);
          }
        }
      }
    }
  });

  it('tells when a layer has fewer weights than outputs', async () => {
    const lines: string[] = [];
    const progress = { ...silent, log: (line: string) => lines.push(line) };
    const model = new MLP([20, 24, 16, 4], { random: new Random(3) });
    model.layers[0].weight.set((await model.layers[0].weight.data()).map(w => w * 1e-3));
    await watch(new GraNet({ ...common, sparsity: 0.9 }), { model, progress });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^granet: layers\.0\.weight has \d+ weights left for 24 outputs at step \d+; exclude it/);
  });

  it('refuses what no training could follow', async () => {
    const make = (options: Partial<GraNetOptions>) => () => new GraNet({ sparsity: 0.9, ...options });
    expect(make({ initial: 0.95 })).toThrow('final sparsity 0.9 is below the initial 0.95');
    expect(make({ sparsity: 1 })).toThrow('expected 0 ≤ s < 1');
    expect(make({ interval: 0 })).toThrow('interval 0');
    expect(make({ interval: 30, end: 20 })).toThrow('30 steps between updates do not fit into 0…20');
    expect(make({ window: [0.5, 0.5] })).toThrow('window 0.5…0.5');
    expect(make({ fraction: 1.2 })).toThrow('fraction 1.2');
    expect(make({ sparsity: 0.3, granularity: '2:4' })).toThrow('the pattern 2:4 needs at least 0.5');
    expect(make({ grow: 'hessian' as never })).toThrow("grow 'hessian'; expected gradient, momentum, random");
    await expect(watch(new GraNet({ sparsity: 0.9, end: 41, interval: 10 }))).rejects.toThrow(
      'pruning ends at step 41, beyond the 40 training steps',
    );
    await expect(watch(new GraNet({ sparsity: 0.9, interval: 21 }))).rejects.toThrow('do not fit into 0…20');
  });

  it('comes back from its state, with log and momentum', async () => {
    const granet = new GraNet({ ...common, sparsity: 0.9, initial: 0.5, grow: 'momentum' });
    await watch(granet);
    const { arrays, json } = granet.state();
    const other = new GraNet({ ...common, sparsity: 0.9, initial: 0.5, grow: 'momentum' });
    await watch(other, { steps: 20 });
    other.restore({ arrays, json: JSON.parse(JSON.stringify(json)) });
    expect(other.mask!.equals(granet.mask!)).toBe(true);
    expect(other.log).toEqual(granet.log);
    expect(other.state()).toEqual(granet.state());
  });
});

async function same(a: Watched, b: Watched): Promise<void> {
  a.seen.forEach(({ mask }, k) => {
    expect(mask.equals(b.seen[k].mask), `update ${k}`).toBe(true);
  });
  for (const [name, p] of a.model.stateDict()) {
    expect(await p.data(), name).toEqual(await b.model.stateDict().get(name)!.data());
  }
}
