import { compile, gradients, Parameter, realize, type Tensor, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { expectNear, wave, waveData } from '../nn/testing.ts';
import { Adam, AdamW, LAMB } from './adam.ts';
import { Optimizer, type Rule } from './optimizer.ts';
import { softThreshold } from './projection.ts';
import { Lion, RMSprop, SGD } from './sgd.ts';

/** Parameters w [2, 3], b [3] after five steps with given gradients; computed by PyTorch 2 (Lion, LAMB: the papers' formulas in float64). */
const trajectories = {
  sgd: [0.35916182, 0.91320866, 1.0377593, 0.67423546, -0.0063918373, -0.68401295, 0.92259192, 0.85010886, 0.37780645],
  momentum: [0.10548308, 0.88776737, 1.2525209, 1.0281942, 0.32029173, -0.53824896, 0.84316587, 0.73223138, 0.2769171],
  nesterov: [0.35260481, 1.1518582, 1.409375, 1.0040404, 0.12649003, -0.81055045, 0.79372513, 0.70263487, 0.28108445],
  adam: [0.24337058, 0.87356031, 1.1590762, 0.81442267, 0.12668771, -0.60137028, 0.84720773, 0.80240268, 0.3545087],
  adamDecay: [
    0.25263557, 0.85664642, 1.1325351, 0.78589165, 0.10756945, -0.59683782, 0.82066643, 0.77756363, 0.34122139,
  ],
  adamw: [0.23746026, 0.85309482, 1.1322836, 0.79554427, 0.12392754, -0.58714694, 0.82517385, 0.78150553, 0.34505332],
  rmsprop: [
    0.35873672, 1.0104723, 1.7660776, 0.99770451, 0.074283481, -0.76438767, 0.29691622, 0.34543502, 0.025040045,
  ],
  rmspropCentered: [
    0.064006031, 0.96330869, 2.28722, 1.5184127, 0.47072941, -0.59628838, 0.0777748, 0.27538618, 0.047207627,
  ],
  lion: [0.27273617, 0.85300968, 1.0014686, 0.68841633, 0.021007155, -0.62568358, 0.93412044, 0.84048009, 0.40312298],
  lamb: [0.31115736, 0.93799662, 1.1610176, 0.78192509, 0.067016172, -0.6712674, 0.84267392, 0.78365726, 0.33351422],
};

const parameter = (shape: number[], phase: number, name = ''): Parameter =>
  new Parameter({ dtype: 'float32', shape, data: waveData(shape, phase) }, { name });
const pair = (): Parameter[] => [parameter([2, 3], 0.3, 'w'), parameter([3], 1.3, 'b')];
const gradsAt = (t: number): [Tensor, Tensor] => [wave([2, 3], t * 1.1 + 2), wave([3], t * 1.7 + 0.5, 0.5)];
const values = async (parameters: readonly Parameter[]): Promise<number[]> =>
  (await Promise.all(parameters.map(async p => [...(await p.data())]))).flat();
const compiledStep = (optimizer: Optimizer) => compile((...grads: Tensor[]) => optimizer.step(grads));

const optimizers: Record<keyof typeof trajectories, (p: Parameter[]) => Optimizer> = {
  sgd: p => new SGD(p, { learningRate: 0.1 }),
  momentum: p => new SGD(p, { learningRate: 0.1, momentum: 0.9, dampening: 0.5, weightDecay: 0.01 }),
  nesterov: p => new SGD(p, { learningRate: 0.1, momentum: 0.9, nesterov: true, weightDecay: 0.01 }),
  adam: p => new Adam(p, { learningRate: 0.05 }),
  adamDecay: p => new Adam(p, { learningRate: 0.05, betas: [0.8, 0.99], eps: 1e-3, weightDecay: 0.1 }),
  adamw: p => new AdamW(p, { learningRate: 0.05, weightDecay: 0.1 }),
  rmsprop: p => new RMSprop(p, { learningRate: 0.05 }),
  rmspropCentered: p =>
    new RMSprop(p, { learningRate: 0.05, alpha: 0.9, momentum: 0.9, centered: true, weightDecay: 0.01 }),
  lion: p => new Lion(p, { learningRate: 0.02, weightDecay: 0.1 }),
  lamb: p => new LAMB(p, { learningRate: 0.05 }),
};

describe('update rules', () => {
  for (const [name, make] of Object.entries(optimizers)) {
    it(`${name} follows the reference, compiled and eager`, async () => {
      const expected = trajectories[name as keyof typeof trajectories];
      const compiled = pair();
      const step = compiledStep(make(compiled));
      for (let t = 0; t < 5; t++) await step(...gradsAt(t));
      await expectNear(await values(compiled), expected);

      const eager = pair();
      const optimizer = make(eager);
      for (let t = 0; t < 5; t++) optimizer.step(gradsAt(t));
      await realize(...eager);
      await expectNear(await values(eager), expected);
      await step.dispose();
    });
  }

  it('keeps Adam’s correction exact while β₂ᵗ is near 1', async () => {
    const [w] = pair();
    const before = await values([w]);
    new Adam([w], { learningRate: 0.01, betas: [0.9, 0.99999] }).step([gradsAt(0)[0]]);
    // The first step of Adam is lr · sign(gradient).
    const grad = await gradsAt(0)[0].data();
    await expectNear(
      await values([w]),
      before.map((v, i) => v - 0.01 * Math.sign(grad[i])),
    );
  });
});

describe('Optimizer', () => {
  it('applies groups: learning rate scale, own decay, no decay on vectors', async () => {
    const [w, b] = pair();
    const start = await values([w, b]);
    const optimizer = new SGD([{ parameters: [w], lrScale: 0.5 }, { parameters: [b] }], {
      learningRate: 0.1,
      weightDecay: 0.2,
      decayVectors: false,
    });
    optimizer.step([tensor(new Float32Array(6).fill(1), [2, 3]), tensor(new Float32Array(3).fill(1))]);
    await expectNear(
      await values([w, b]),
      start.map((v, i) => (i < 6 ? v - 0.05 * (1 + 0.2 * v) : v - 0.1)),
    );
    const [v] = [parameter([3], 0)];
    const before = await values([v]);
    new SGD([{ parameters: [v], weightDecay: 1 }], { learningRate: 0.1, decayVectors: false }).step([
      tensor([0, 0, 0]),
    ]);
    await expectNear(
      await values([v]),
      before.map(x => 0.9 * x),
    );
  });

  it('changes the learning rate without recompiling', async () => {
    const [w] = pair();
    const optimizer = new SGD([w], { learningRate: 1 });
    let traces = 0;
    const step = compile((g: Tensor) => {
      traces++;
      optimizer.step([g]);
    });
    const ones = tensor(new Float32Array(6).fill(1), [2, 3]);
    const start = await values([w]);
    await step(ones);
    const tracesOfFirst = traces;
    optimizer.setLearningRate(0.25);
    await step(ones);
    expect(traces).toBe(tracesOfFirst);
    await expectNear(
      await values([w]),
      start.map(v => v - 1.25),
    );
    expect(await optimizer.count.item()).toBe(2);
    expect(optimizer.initialLearningRate).toBe(1);
  });

  it('resumes with the same bits from its state', async () => {
    const run = async (split: boolean): Promise<number[]> => {
      let parameters = pair();
      let optimizer: Optimizer = new AdamW(parameters, { learningRate: 0.05 });
      let step = compiledStep(optimizer);
      for (let t = 0; t < 6; t++) {
        if (split && t === 3) {
          const saved = new Map<string, Awaited<ReturnType<Tensor['array']>>>();
          for (const [name, p] of optimizer.stateDict()) saved.set(name, await p.array());
          const weights = await Promise.all(parameters.map(p => p.array()));
          parameters = weights.map((v, i) => new Parameter({ ...v, data: v.data.slice() }, { name: ['w', 'b'][i] }));
          optimizer = new AdamW(parameters, { learningRate: 9 }).loadStateDict(saved);
          step = compiledStep(optimizer);
        }
        optimizer.setLearningRate(0.05 / (t + 1));
        await step(...gradsAt(t));
      }
      return values(parameters);
    };
    expect(await run(true)).toEqual(await run(false));
  });

  it('names its state after parameters, or by position where names are absent or repeat', () => {
    const names = (p: Parameter[]) => [...new Adam(p).stateDict().keys()];
    expect(names(pair())).toEqual(['step', 'learning_rate', 'w.exp_avg', 'w.exp_avg_sq', 'b.exp_avg', 'b.exp_avg_sq']);
    expect(names([parameter([1], 0), parameter([1], 0, 'a')])).toContain('0.exp_avg');
    expect(names([parameter([1], 0, 'a'), parameter([1], 0, 'a')])).toEqual(
      expect.arrayContaining(['0.exp_avg', '1.exp_avg']),
    );
  });

  it('hands out the state of a parameter, so that masks can act on it', async () => {
    const [w, b] = pair();
    const optimizer = new SGD([w, b], { learningRate: 0.1, momentum: 0.9 });
    const mask = tensor([1, 0, 1, 0, 1, 0], [2, 3]);
    const step = compile((...grads: Tensor[]) => {
      optimizer.step(grads);
      for (const s of optimizer.stateOf(w)) s.assign(s.mul(mask));
    });
    await step(...gradsAt(0));
    const momentum = await optimizer.stateOf(w)[0].data();
    const grad = await gradsAt(0)[0].data();
    await expectNear([...momentum], [grad[0], 0, grad[2], 0, grad[4], 0]);
    expect(optimizer.stateOf(b)[0].shape).toEqual([3]);
    expect(() => optimizer.stateOf(parameter([1], 0))).toThrow('none of its parameters');
  });

  it('projects after the step, with the step’s learning rate', async () => {
    const [w] = pair();
    const start = await values([w]);
    const optimizer = new SGD([w], {
      learningRate: 0.5,
      projection: (value, { rate }) => softThreshold(value, rate.mul(1.2)),
    });
    optimizer.step([tensor(new Float32Array(6), [2, 3])]);
    await expectNear(
      await values([w]),
      start.map(v => Math.sign(v) * Math.max(0, Math.abs(v) - 0.6)),
    );
  });

  it('minimises a function through gradients in one compiled step', async () => {
    const [w] = pair();
    const optimizer = new Adam([w], { learningRate: 0.1 });
    const step = compile(() => {
      const loss = w.sub(3).square().sum();
      optimizer.step(gradients(loss, optimizer.parameters));
      return loss;
    });
    const first = await (await step()).item();
    for (let t = 0; t < 150; t++) await step();
    expect(await (await step()).item()).toBeLessThan(first * 1e-3);
  });

  it('takes a rule of the caller', async () => {
    const [w] = pair();
    const start = await values([w]);
    const signs: Rule = {
      state: [],
      update: ({ value, grad, rate }) => ({ value: value.sub(grad.sign().mul(rate)), state: [] }),
    };
    new Optimizer([w], signs, { learningRate: 1 }).step([gradsAt(0)[0]]);
    const grad = await gradsAt(0)[0].data();
    await expectNear(
      await values([w]),
      start.map((v, i) => v - Math.sign(grad[i])),
    );
  });

  it('refuses what does not fit', async () => {
    const [w, b] = pair();
    expect(() => new SGD([])).toThrow('no parameters');
    expect(() => new SGD([w, w])).toThrow('twice');
    expect(() => new SGD([w], { learningRate: -1 })).toThrow('learning rate -1');
    expect(() => new SGD([w, b]).step([gradsAt(0)[0]])).toThrow('1 gradients for 2 parameters');
    expect(() => new SGD([w]).step([gradsAt(0)[1]])).toThrow('gradient 0 is [3]');
    const ids = new Parameter({ dtype: 'int32', shape: [1], data: new Int32Array(1) });
    expect(() => new Adam([ids])).toThrow('not float32');
    const state = new Map([...new SGD([w], { momentum: 0.9 }).stateDict()].map(([k, p]) => [k, p.node as never]));
    expect(() => new Adam([w]).loadStateDict(state)).toThrow('no w.exp_avg');
    expect(() => new SGD([w]).loadStateDict(state)).toThrow('w.momentum_buffer has no place');
  });
});
