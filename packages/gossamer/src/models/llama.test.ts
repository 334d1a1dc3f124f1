import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeSafetensors, type NDArray, Random, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { gunzip } from '../data/archive.ts';
import { Llama } from './llama.ts';
import { completeConfig, llamaConfigFromJson, rotationTables } from './llama-config.ts';
import { checkModel, expectClose, parameterCount, pretrainedFile, shapesOf } from './testing.ts';

const tiny = { vocab: 11, dim: 16, hidden: 24, layers: 2, heads: 4, kvHeads: 2, context: 48 };

describe('Llama', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new Llama({ ...tiny, random }), { input: [6], output: [6, 11], vocab: 11 }));

  it('has the names and shapes of Hugging Face', () => {
    const shapes = shapesOf(new Llama({ ...tiny, layers: 1, tieEmbeddings: false, attentionBias: true }));
    expect(shapes).toEqual({
      'model.embed_tokens.weight': '11×16',
      'model.layers.0.input_layernorm.weight': '16',
      'model.layers.0.self_attn.q_proj.weight': '16×16',
      'model.layers.0.self_attn.q_proj.bias': '16',
      'model.layers.0.self_attn.k_proj.weight': '8×16',
      'model.layers.0.self_attn.k_proj.bias': '8',
      'model.layers.0.self_attn.v_proj.weight': '8×16',
      'model.layers.0.self_attn.v_proj.bias': '8',
      'model.layers.0.self_attn.o_proj.weight': '16×16',
      'model.layers.0.self_attn.o_proj.bias': '16',
      'model.layers.0.post_attention_layernorm.weight': '16',
      'model.layers.0.mlp.gate_proj.weight': '24×16',
      'model.layers.0.mlp.up_proj.weight': '24×16',
      'model.layers.0.mlp.down_proj.weight': '16×24',
      'model.norm.weight': '16',
      'lm_head.weight': '11×16',
    });
  });

  it('sees no later token', async () => {
    const model = new Llama(tiny).eval();
    const a = await model.forward(tensor(Int32Array.of(1, 2, 3, 4, 5), [1, 5])).data();
    const b = await model.forward(tensor(Int32Array.of(1, 2, 3, 9, 9), [1, 5])).data();
    expectClose(a.subarray(0, 33), b.subarray(0, 33), 1e-6);
    expect(a.subarray(33)).not.toEqual(b.subarray(33));
  });

  it('rotates by relative position: scores of a pair depend on its distance alone', async () => {
    const config = completeConfig({ ...tiny, headDim: 4 });
    const [cos, sin] = await Promise.all(rotationTables(config).map(t => t.data()));
    const q = [0.3, -1.2, 0.7, 0.4];
    const k = [1.1, 0.2, -0.5, 0.9];
    const rotate = (x: number[], p: number) =>
      [0, 1].flatMap(i => {
        const [c, s] = [cos[p * 2 + i], sin[p * 2 + i]];
        return [x[i] * c - x[i + 2] * s, x[i + 2] * c + x[i] * s];
      });
    const score = (i: number, j: number) => {
      const [a, b] = [rotate(q, i), rotate(k, j)];
      return a.reduce((sum, v, n) => sum + v * b[n], 0);
    };
    for (const p of [1, 7, 30]) expect(score(p + 3, p)).toBeCloseTo(score(3, 0), 5);
  });

  it('scales frequencies as Llama 3.1: long wavelengths by the factor, short ones not', async () => {
    const ropeScaling = {
      type: 'llama3',
      factor: 8,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalContext: 8192,
    } as const;
    const base = { dim: 128, heads: 1, ropeTheta: 500000, context: 2 };
    const plain = await rotationTables(completeConfig(base))[1].data();
    const scaled = await rotationTables(completeConfig({ ...base, ropeScaling }))[1].data();
    expect(scaled[64]).toBe(plain[64]);
    expect(Math.asin(plain[127]) / Math.asin(scaled[127])).toBeCloseTo(8, 4);
    // Between them (Hugging Face's formula): wavelength λ with 1024 > λ... blends by (8192 / λ − 1) / 3.
    const frequency = 500000 ** (-34 / 64);
    const smooth = ((8192 * frequency) / (2 * Math.PI) - 1) / 3;
    expect(smooth).toBeGreaterThan(0);
    expect(smooth).toBeLessThan(1);
    expect(Math.asin(scaled[64 + 34])).toBeCloseTo((1 - smooth) * (frequency / 8) + smooth * frequency, 7);
  });

  it('generates greedily with its cache what the whole forward pass gives, chunks included', async () => {
    const model = new Llama({ ...tiny, context: 64, random: new Random(5) }).eval();
    for (const length of [1, 2, 40]) {
      const prompt = Array.from(new Random(length).integers(length, 0, 11));
      const ids = [...prompt];
      while (ids.length < length + 6) {
        const logits = await model.forward(tensor(Int32Array.from(ids), [1, ids.length])).data();
        const last = logits.subarray(-11);
        ids.push(last.indexOf(Math.max(...last)));
      }
      expect(await model.generate(prompt, { maxTokens: 6, stop: [] })).toEqual(ids.slice(length));
    }
  });

  it('refuses more tokens than its context', async () => {
    const model = new Llama(tiny);
    expect(() => model.forward(tensor(new Int32Array(49), [1, 49]))).toThrow('49 tokens exceed the context of 48');
    await expect(model.generate([1], { maxTokens: 48 })).rejects.toThrow('context of 48');
  });

  it('reads a folder with shards, and says what is missing or too much', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'llama-'));
    try {
      const model = new Llama({ ...tiny, random: new Random(3) });
      const config = {
        model_type: 'llama',
        vocab_size: 11,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
      };
      await writeFile(
        join(folder, 'config.json'),
        JSON.stringify({
          ...config,
          ...{ num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 48, tie_word_embeddings: true },
          rms_norm_eps: 1e-5,
        }),
      );
      const entries = [...model.stateDict()];
      const files = { 'a.safetensors': entries.slice(0, 5), 'b.safetensors': entries.slice(5) };
      const write = async (drop?: string) => {
        const map: Record<string, string> = {};
        for (const [file, list] of Object.entries(files)) {
          const arrays: [string, NDArray][] = [];
          for (const [name, p] of list) {
            if (name === drop) continue;
            map[name] = file;
            arrays.push([name, await p.array()]);
          }
          await writeFile(join(folder, file), encodeSafetensors(new Map(arrays)));
        }
        await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: map }));
      };
      await write();
      const loaded = await Llama.fromPretrained(folder);
      const ids = tensor(Int32Array.of(1, 2, 3), [1, 3]);
      expect(await loaded.forward(ids).data()).toEqual(await model.forward(ids).data());
      expect(loaded.tokenizer).toBeUndefined();
      await write('model.norm.weight');
      await expect(Llama.fromPretrained(folder)).rejects.toThrow('missing model.norm.weight; not in Llama: nothing');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('refuses other architectures by name', () => {
    expect(() => llamaConfigFromJson({ model_type: 'gpt2' }, 'x/config.json')).toThrow(
      'x/config.json: model_type is "gpt2"',
    );
    expect(() => llamaConfigFromJson({ model_type: 'llama', hidden_size: 8, num_attention_heads: 2 })).toThrow(
      'vocab_size',
    );
  });

  const stories = pretrainedFile('stories260K');
  it.skipIf(!stories)('tells the published story, and scores real ones as published', async () => {
    const llama = await Llama.fromPretrained(stories!);
    expect(parameterCount(llama)).toBe(260_032);
    const text = llama.tokenizer!.decode(await llama.generate([llama.config.bos], { maxTokens: 100 }));
    expect(text).toContain(
      'Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a ' +
        'big, red ball. She wanted to play with it, but it was too high.\nLily\'s mom said, "Lily, let\'s go to the park."',
    );
    const loss = async (texts: string[]): Promise<number> => {
      let [sum, count] = [0, 0];
      for (const story of texts) {
        const ids = Int32Array.of(llama.config.bos, ...llama.tokenizer!.encode(story));
        const log = await llama
          .forward(tensor(ids.slice(0, -1), [1, ids.length - 1]))
          .logSoftmax()
          .data();
        for (let t = 1; t < ids.length; t++) sum -= log[(t - 1) * 512 + ids[t]];
        count += ids.length - 1;
      }
      return sum / count;
    };
    expect(await loss(['Once upon a time, there was a little girl named Lily.'])).toBeCloseTo(0.1, 3);
    const file = `${process.env.GOSSAMER_DATA}/text/tinystories_1600k.txt.gz`;
    if (!process.env.GOSSAMER_DATA) return console.log('llama: loss on TinyStories skipped: no GOSSAMER_DATA');
    const all = new TextDecoder().decode(await gunzip(readFileSync(file))).split('<|endoftext|>');
    expect(await loss(all.slice(0, 12).map(story => story.trim().slice(0, 900)))).toBeCloseTo(1.333, 3);
  });
});
