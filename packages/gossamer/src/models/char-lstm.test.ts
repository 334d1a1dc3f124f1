import { readFileSync } from 'node:fs';
import { concat, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { CharLSTM, charVocabulary } from './char-lstm.ts';
import { checkModel, expectClose, parameterCount, pretrainedFile } from './testing.ts';

const weights = pretrainedFile('charrnn_shakespeare.safetensors');
const vocabulary = pretrainedFile('charrnn_shakespeare.vocab.json');

describe('CharLSTM', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new CharLSTM({ vocab: 9, hidden: 6, random }), { input: [5], output: [5, 9], vocab: 9 }));

  it('continues from a state as if it had read on', async () => {
    const model = new CharLSTM({ vocab: 9, hidden: 6 });
    const ids = tensor(Int32Array.of(1, 2, 3, 4, 5, 6), [1, 6]);
    const [first, state] = model.run(ids.slice(1, 0, 4));
    const [second] = model.run(ids.slice(1, 4), state);
    expectClose(await concat([first, second], 1).data(), await model.forward(ids).data(), 1e-6);
  });

  it('generates greedily what the whole forward pass gives', async () => {
    const model = new CharLSTM({ vocab: 9, hidden: 6 });
    const ids = [3, 1, 4];
    while (ids.length < 9) {
      const last = (await model.forward(tensor(Int32Array.from(ids), [1, ids.length])).data()).subarray(-9);
      ids.push(last.indexOf(Math.max(...last)));
    }
    expect(await model.generate([3, 1, 4], { maxTokens: 6 })).toEqual(ids.slice(3));
  });

  it('puts the letters back that the vocabulary file lost, and refuses gaps', () => {
    expect(charVocabulary({ a: 1, '': 0, '  ': 2, ' ': 3 }).characters).toEqual(['U', 'a', 'u', ' ']);
    expect(() => charVocabulary({ a: 0, b: 2 })).toThrow('indices 0 … 2');
  });

  it.skipIf(!weights || !vocabulary)('predicts Shakespeare with the published weights', async () => {
    const model = await CharLSTM.fromPretrained(weights!);
    expect(parameterCount(model)).toBe(65 * 128 + 2 * (256 * 512 + 512 + 512) + 128 * 65 + 65);
    const tokenizer = charVocabulary(JSON.parse(readFileSync(vocabulary!, 'utf8')));
    const text =
      'First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\nFirst Citizen:\n' +
      'You are all resolved rather to die than to famish?\n\nAll:\nResolved. resolved.\n\nFirst Citizen:\n' +
      "First, you know Caius Marcius is chief enemy to the people.\n\nAll:\nWe know't, we know't.\n";
    const ids = tokenizer.encode(text);
    const log = await model
      .forward(tensor(ids.slice(0, -1), [1, ids.length - 1]))
      .logSoftmax()
      .data();
    let loss = 0;
    for (let t = 1; t < ids.length; t++) loss -= log[(t - 1) * 65 + ids[t]] / (ids.length - 1);
    // Guessing costs log 65 = 4.17 nats, a bigram model about 2.5.
    expect(loss).toBeLessThan(1.7);
  });
});
