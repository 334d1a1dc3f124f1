import {
  arange,
  check,
  gather,
  linear,
  Random,
  rotaryEmbedding,
  scaledDotProductAttention,
  type Tensor,
} from '@gossamer/tensor';
import { type Tokenizer, tokenizerFromJson } from '../data/tokenizers.ts';
import { Embedding } from '../nn/embedding.ts';
import { normalOf, zerosOf } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { RMSNorm } from '../nn/norm.ts';
import { type CachedLanguageModel, type GenerateOptions, generate } from './generate.ts';
import type { CacheShape, KeyValueCache, Past } from './kv-cache.ts';
import {
  completeConfig,
  type FullLlamaConfig,
  type LlamaConfig,
  llamaConfigFromJson,
  rotationTables,
} from './llama-config.ts';
import { initialize, loadPretrained, readJson } from './weights.ts';

export interface LlamaOptions extends LlamaConfig {
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/** Cosines and sines of the positions' angles, each [tokens, headDim / 2]. */
type Rotation = readonly [cos: Tensor, sin: Tensor];

class LlamaAttention extends Module {
  readonly qProj: Linear;
  readonly kProj: Linear;
  readonly vProj: Linear;
  readonly oProj: Linear;
  readonly headDim: number;
  readonly layer: number;

  constructor(config: FullLlamaConfig, layer: number, random: Random) {
    super();
    const { dim, heads, kvHeads, headDim, attentionBias: bias } = config;
    this.qProj = new Linear(dim, heads * headDim, { bias, random: random.fork('q') });
    this.kProj = new Linear(dim, kvHeads * headDim, { bias, random: random.fork('k') });
    this.vProj = new Linear(dim, kvHeads * headDim, { bias, random: random.fork('v') });
    this.oProj = new Linear(heads * headDim, dim, { bias, random: random.fork('o') });
    this.headDim = headDim;
    this.layer = layer;
  }

  override forward(x: Tensor, rotation: Rotation, past?: Past): Tensor {
    const [batch, tokens] = x.shape;
    const heads = (t: Tensor): Tensor => t.reshape([batch, tokens, -1, this.headDim]).transpose([0, 2, 1, 3]);
    const q = rotaryEmbedding(heads(this.qProj.forward(x)), ...rotation);
    let k = rotaryEmbedding(heads(this.kProj.forward(x)), ...rotation);
    let v = heads(this.vProj.forward(x));
    if (past) [k, v] = past.cache.update(this.layer, k, v, past.start);
    const mixed = scaledDotProductAttention(q, k, v, past ? { mask: past.mask } : { causal: true });
    return this.oProj.forward(mixed.transpose([0, 2, 1, 3]).reshape([batch, tokens, -1]));
  }
}

/** SwiGLU (Shazeer 2020, arXiv:2002.05202). */
class LlamaMLP extends Module {
  readonly gateProj: Linear;
  readonly upProj: Linear;
  readonly downProj: Linear;

  constructor({ dim, hidden, mlpBias: bias }: FullLlamaConfig, random: Random) {
    super();
    this.gateProj = new Linear(dim, hidden, { bias, random: random.fork('gate') });
    this.upProj = new Linear(dim, hidden, { bias, random: random.fork('up') });
    this.downProj = new Linear(hidden, dim, { bias, random: random.fork('down') });
  }

  override forward(x: Tensor): Tensor {
    return this.downProj.forward(this.gateProj.forward(x).silu().mul(this.upProj.forward(x)));
  }
}

class LlamaLayer extends Module {
  readonly inputLayernorm: RMSNorm;
  readonly selfAttn: LlamaAttention;
  readonly postAttentionLayernorm: RMSNorm;
  readonly mlp: LlamaMLP;

  constructor(config: FullLlamaConfig, layer: number, random: Random) {
    super();
    this.inputLayernorm = new RMSNorm(config.dim, { eps: config.normEps });
    this.selfAttn = new LlamaAttention(config, layer, random.fork('attention'));
    this.postAttentionLayernorm = new RMSNorm(config.dim, { eps: config.normEps });
    this.mlp = new LlamaMLP(config, random.fork('mlp'));
  }

  override forward(x: Tensor, rotation: Rotation, past?: Past): Tensor {
    const h = x.add(this.selfAttn.forward(this.inputLayernorm.forward(x), rotation, past));
    return h.add(this.mlp.forward(this.postAttentionLayernorm.forward(h)));
  }
}

class LlamaModel extends Module {
  readonly embedTokens: Embedding;
  readonly layers: LlamaLayer[];
  readonly norm: RMSNorm;

  constructor(config: FullLlamaConfig, random: Random) {
    super();
    this.embedTokens = new Embedding(config.vocab, config.dim, { random: random.fork('embed_tokens') });
    this.layers = Array.from(
      { length: config.layers },
      (_, i) => new LlamaLayer(config, i, random.fork(`layers.${i}`)),
    );
    this.norm = new RMSNorm(config.dim, { eps: config.normEps });
  }

  override forward(ids: Tensor, rotation: Rotation, past?: Past): Tensor {
    let h = this.embedTokens.forward(ids);
    for (const layer of this.layers) h = layer.forward(h, rotation, past);
    return this.norm.forward(h);
  }
}

/**
 * LLaMA (Touvron et al. 2023, arXiv:2302.13971; grouped-query attention as in Llama 2 and 3): pre-normalisation with
 * RMSNorm, rotary positions, SwiGLU. Hugging Face's names, so its checkpoints load:
 *
 * ```ts
 * const llama = await Llama.fromPretrained('stories260K');
 * const ids = await llama.generate([llama.config.bos], { maxTokens: 200 });
 * console.log(llama.tokenizer!.decode(ids));
 * ```
 */
export class Llama extends Module implements CachedLanguageModel {
  readonly model: LlamaModel;
  /** Absent where the embedding serves as the output layer. */
  readonly lmHead: Linear | undefined;
  readonly config: FullLlamaConfig;
  /** Set by `fromPretrained` where the folder has a `tokenizer.json`. */
  tokenizer: Tokenizer | undefined;
  readonly #rotation: Rotation;

  constructor({ random = new Random(0), ...config }: LlamaOptions = {}) {
    super();
    this.config = completeConfig(config);
    const { dim, vocab, tieEmbeddings } = this.config;
    this.model = new LlamaModel(this.config, random.fork('model'));
    this.lmHead = tieEmbeddings ? undefined : new Linear(dim, vocab, { bias: false, random: random.fork('lm_head') });
    this.#rotation = rotationTables(this.config);
    initialize(this, random, (name, shape, r) =>
      name.endsWith('bias') ? zerosOf(shape) : shape.length === 2 ? normalOf(r, shape, 0, 0.02) : undefined,
    );
  }

  /**
   * Loads a Hugging Face folder: `config.json`, `model.safetensors` or its shards, and `tokenizer.json` if there is one.
   * Half-precision weights become float32.
   */
  static async fromPretrained(folder: string | URL): Promise<Llama> {
    const config = await readJson(folder, 'config.json');
    const llama = new Llama(llamaConfigFromJson(config, `${folder}/config.json`));
    const tied = llama.config.tieEmbeddings;
    // Some tied checkpoints store the output layer all the same; older ones also the rotations.
    await loadPretrained(llama, folder, {
      ignore: name => (tied && name === 'lm_head.weight') || name.endsWith('rotary_emb.inv_freq'),
    });
    const tokenizer = await readJson(folder, 'tokenizer.json', { optional: true });
    if (tokenizer !== undefined) llama.tokenizer = tokenizerFromJson(tokenizer);
    return llama;
  }

  /** @param ids int32 [batch, tokens]; returns logits [batch, tokens, vocab] */
  override forward(ids: Tensor): Tensor {
    const [cos, sin] = this.#rotation;
    const tokens = ids.shape[1];
    this.#checkLength(tokens);
    return this.logits(this.model.forward(ids, [cos.slice(0, 0, tokens), sin.slice(0, 0, tokens)]));
  }

  /** The tokens that follow `prompt`; ends with the config's `eos`, unless `stop` names other tokens. */
  generate(prompt: ArrayLike<number>, options: GenerateOptions = {}): Promise<number[]> {
    return generate(this, prompt, { stop: this.config.eos, ...options });
  }

  get context(): number {
    return this.config.context;
  }

  get cacheShape(): CacheShape {
    const { layers, kvHeads: heads, headDim } = this.config;
    return { layers, heads, headDim };
  }

  continueFrom(ids: Tensor, start: Tensor, cache: KeyValueCache): Tensor {
    const tokens = ids.shape[1];
    const at = arange(tokens).add(start);
    // A chunk may reach beyond the last position, where its padding lies.
    const rows = at.clamp(0, this.config.context - 1);
    const [cos, sin] = this.#rotation;
    return this.model.forward(ids, [gather(cos, rows), gather(sin, rows)], {
      start,
      mask: cache.mask(tokens, start),
      cache,
    });
  }

  logits(hidden: Tensor): Tensor {
    return this.lmHead ? this.lmHead.forward(hidden) : linear(hidden, this.model.embedTokens.weight);
  }

  #checkLength(tokens: number): void {
    const { context } = this.config;
    check(tokens <= context, () => `Llama: ${tokens} tokens exceed the context of ${context}`);
  }
}
