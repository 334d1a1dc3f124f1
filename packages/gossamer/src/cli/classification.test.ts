import { Random, tensor } from '@gossamer/tensor';
import { onnxModel, onnxNode, onnxValue } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { Lambda } from '../nn/module.ts';
import { classifierTask, endsInSoftmax } from './classification.ts';

const model = (...operators: string[]) =>
  onnxModel({
    name: 'chain',
    inputs: [onnxValue('v0', 'float32', ['n', 4])],
    outputs: [onnxValue(`v${operators.length}`, 'float32', ['n', 4])],
    initializers: new Map(),
    nodes: operators.map((op, i) => onnxNode(op, [`v${i}`], [`v${i + 1}`])),
  });

describe('imported classifiers', () => {
  it('are known to give probabilities by a softmax at their end', () => {
    expect(endsInSoftmax(model('Relu', 'Softmax'))).toBe(true);
    expect(endsInSoftmax(model('Softmax', 'Flatten', 'Identity'))).toBe(true);
    expect(endsInSoftmax(model('Softmax', 'Relu'))).toBe(false);
    expect(endsInSoftmax(model())).toBe(false);
  });

  it('have the same loss and accuracy, whether they give logits or probabilities', async () => {
    const logits = tensor(new Random(1).normal(20), [5, 4, 1, 1]);
    const batch = { inputs: logits, labels: tensor(Int32Array.of(0, 1, 2, 3, 0)) };
    const a = classifierTask(model('Relu'))(new Lambda(x => x), batch);
    const b = classifierTask(model('Softmax'))(new Lambda(x => x.softmax(1)), batch);
    expect(await b.loss.item()).toBeCloseTo(await a.loss.item(), 5);
    expect(await b.accuracy.item()).toBe(await a.accuracy.item());
    const scores = (await logits.tolist()) as number[][][][];
    const right = scores.filter((row, i) => {
      const flat = row.flat(2);
      return flat.indexOf(Math.max(...flat)) === [0, 1, 2, 3, 0][i];
    });
    expect(await a.accuracy.item()).toBeCloseTo(right.length / 5, 6);
  });
});
