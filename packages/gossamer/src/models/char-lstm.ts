import { check, compile, concat, FormatError, Random, type Tensor, tensor, zeros } from '@gossamer/tensor';
import { CharTokenizer } from '../data/tokenizers.ts';
import { Embedding } from '../nn/embedding.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { LSTM } from '../nn/recurrent.ts';
import { type GenerateOptions, sampleToken } from './generate.ts';
import { fromInOut, loadPretrained, type Stored, storedShapes } from './weights.ts';

export interface CharLSTMOptions {
  /** Different characters; default 65. */
  readonly vocab?: number;
  /** Units of the embedding and of each layer; default 128. */
  readonly hidden?: number;
  /** Default 2. */
  readonly layers?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/** h and c of all layers, each [layers, batch, hidden]. */
export type LSTMState = readonly [h: Tensor, c: Tensor];

/** Our gates are i, f, g, o; TensorFlow's BasicLSTMCell has i, g, f, o along the last axis. */
const gates = (x: Tensor): Tensor[] => {
  const [i, g, f, o] = x.split(4, -1);
  return [i, f, g, o];
};

/** TensorFlow adds 1 to the forget gate when it runs, we keep it in the bias. */
function fromBasicBias(x: Tensor): Tensor {
  const [i, f, g, o] = gates(x);
  return concat([i, f.add(1), g, o], -1);
}

/** Names of TensorFlow's `rnnlm` graph: input and hidden weights lie in one matrix, and there is one bias. */
function tensorflowName(name: string): Stored {
  if (name === 'embedding.weight') return { name: 'embedding' };
  if (name === 'head.weight') return { name: 'rnnlm/softmax_w', convert: fromInOut };
  if (name === 'head.bias') return { name: 'rnnlm/softmax_b' };
  const [, kind, which, layer] = /^lstm\.(weight|bias)_(ih|hh)_l(\d+)$/.exec(name)!;
  const cell = `rnnlm/multi_rnn_cell/cell_${layer}/basic_lstm_cell`;
  if (kind === 'bias') return { name: `${cell}/biases`, convert: which === 'ih' ? fromBasicBias : x => x.mul(0) };
  const half = which === 'ih' ? 0 : 1;
  return { name: `${cell}/weights`, convert: x => concat(gates(x.split(2)[half]), -1).transpose() };
}

/**
 * Character-level language model of stacked LSTM layers (Karpathy 2015, "The unreasonable effectiveness of recurrent
 * neural networks").
 */
export class CharLSTM extends Module {
  readonly embedding: Embedding;
  readonly lstm: LSTM;
  readonly head: Linear;

  constructor({ vocab = 65, hidden = 128, layers = 2, random = new Random(0) }: CharLSTMOptions = {}) {
    super();
    this.embedding = new Embedding(vocab, hidden, { random: random.fork('embedding') });
    this.lstm = new LSTM(hidden, hidden, { layers, batchFirst: true, random: random.fork('lstm') });
    this.head = new Linear(hidden, vocab, { random: random.fork('head') });
  }

  /** Loads a safetensors file with the names of TensorFlow's BasicLSTMCell; sizes are read off its tensors. */
  static async fromPretrained(path: string | URL): Promise<CharLSTM> {
    const shapes = await storedShapes(path);
    const embedding = shapes.get('embedding');
    const layers = [...shapes.keys()].filter(name => name.endsWith('basic_lstm_cell/weights')).length;
    check(
      embedding?.length === 2 && layers > 0,
      () => `${path}: expected tensors embedding, rnnlm/multi_rnn_cell/cell_0/…`,
    );
    const [vocab, hidden] = embedding;
    // `Variable` counts the steps of training.
    const ignore = (name: string): boolean => name === 'Variable';
    return loadPretrained(new CharLSTM({ vocab, hidden, layers }), path, { stored: tensorflowName, ignore });
  }

  /** @param ids int32 [batch, time]; returns logits [batch, time, vocab], from a zero state */
  override forward(ids: Tensor): Tensor {
    return this.run(ids)[0];
  }

  /** Logits [batch, time, vocab] and the state to continue from. */
  run(ids: Tensor, state?: LSTMState): [logits: Tensor, state: LSTMState] {
    const [h, next] = this.lstm.forward(this.embedding.forward(ids), state);
    return [this.head.forward(h), next];
  }

  /** The characters that follow `prompt`. */
  async generate(prompt: ArrayLike<number>, options: GenerateOptions = {}): Promise<number[]> {
    const { maxTokens = 100, seed = 0, stop = [], onToken, ...sampling } = options;
    check(prompt.length > 0, 'generate: the prompt is empty');
    const step = compile((ids: Tensor, h: Tensor, c: Tensor) => this.run(ids, [h, c]));
    const shape = [this.lstm.layers, 1, this.lstm.hiddenSize];
    let state: LSTMState = [zeros(shape), zeros(shape)];
    const random = new Random(seed);
    const ids = Array.from(prompt);
    try {
      for (let i = 0; i < prompt.length + maxTokens - 1; i++) {
        const [logits, next] = await step(tensor(Int32Array.of(ids[i]), [1, 1]), ...state);
        state = next;
        if (i < prompt.length - 1) continue;
        ids.push(sampleToken(await logits.data(), random, sampling));
        onToken?.(ids.at(-1)!);
        if (stop.includes(ids.at(-1)!)) break;
      }
    } finally {
      await step.dispose();
    }
    return ids.slice(prompt.length);
  }
}

/**
 * The characters of a vocabulary file `{ character: index }`. The Shakespeare model's file on the web lost the letters u
 * and U, which read "  " and "" there: they are put back.
 */
export function charVocabulary(json: Readonly<Record<string, number>>): CharTokenizer {
  const characters: string[] = [];
  for (const [key, index] of Object.entries(json)) characters[index] = key === '' ? 'U' : key === '  ' ? 'u' : key;
  if (Object.keys(characters).length !== characters.length) {
    throw new FormatError(
      `vocabulary: ${Object.keys(json).length} characters do not have the indices 0 … ${characters.length - 1}`,
    );
  }
  return new CharTokenizer(characters);
}
