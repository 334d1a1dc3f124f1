import { Parameter, type Tensor, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { Module } from '../nn/module.ts';
import { classification, languageModelling, regression, toTensors } from './task.ts';

/** Logits of token t are row t of the table. */
class Table extends Module {
  readonly weight = new Parameter(
    tensor([
      [0, 0, 0],
      [0, Math.log(2), 0],
      [9, 0, 0],
    ]),
  );
  override forward(ids: Tensor): Tensor {
    return this.weight.gather(ids);
  }
}

class Twice extends Module {
  override forward(x: Tensor): Tensor {
    return x.mul(2);
  }
}

describe('tasks', () => {
  it('classification: cross entropy in nats, and accuracy', async () => {
    const batch = toTensors({
      inputs: { dtype: 'float32', shape: [2, 2], data: Float32Array.of(0, Math.log(3) / 2, 0, 0) },
      labels: { dtype: 'uint8', shape: [2], data: Uint8Array.of(1, 1) },
    });
    const { loss, accuracy } = classification()(new Twice(), batch);
    expect(await loss.item()).toBeCloseTo((Math.log(4 / 3) + Math.log(2)) / 2, 6);
    expect(await accuracy.item()).toBe(0.5);
    const smooth = classification({ labelSmoothing: 0.5 })(new Twice(), batch);
    expect(await smooth.loss.item()).toBeCloseTo((Math.log(4) - 0.75 * Math.log(3) + Math.log(2)) / 2, 6);
  });

  it('regression: mean squared error', async () => {
    const { loss } = regression()(new Twice(), { inputs: tensor([1, 2]), targets: tensor([2, 1]) });
    expect(await loss.item()).toBe(4.5);
  });

  it('language modelling: mean over all tokens, nats', async () => {
    const inputs = tensor(Uint8Array.of(0, 1, 1, 0), [2, 2]);
    const targets = tensor(Uint8Array.of(2, 1, 0, 0), [2, 2]);
    const { loss } = languageModelling()(new Table(), { inputs, targets });
    expect(await loss.item()).toBeCloseTo((2 * Math.log(3) + Math.log(2) + Math.log(4)) / 4, 6);
  });
});
