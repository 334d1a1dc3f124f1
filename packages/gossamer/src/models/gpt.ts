import { arange, check, gather, linear, Random, scaledDotProductAttention, type Tensor } from '@gossamer/tensor';
import { Dropout } from '../nn/dropout.ts';
import { Embedding } from '../nn/embedding.ts';
import { inEvalMode } from '../nn/export.ts';
import { normalOf, zerosOf } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { LayerNorm } from '../nn/norm.ts';
import { type CachedLanguageModel, type GenerateOptions, generate } from './generate.ts';
import type { CacheShape, KeyValueCache, Past } from './kv-cache.ts';
import { initialize } from './weights.ts';

export interface GPTOptions {
  /** Default 50257, of GPT-2. */
  readonly vocab?: number;
  /** Most tokens; default 1024. */
  readonly context?: number;
  /** Default 12. */
  readonly layers?: number;
  /** Default 12. */
  readonly heads?: number;
  /** Width of the residual stream; default 768. */
  readonly dim?: number;
  /** Of embeddings, attention weights and residual branches; default 0. */
  readonly dropout?: number;
  /** Whether linear layers and normalisations have biases; default true. */
  readonly bias?: boolean;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

type Sizes = Required<Omit<GPTOptions, 'random'>>;

class CausalSelfAttention extends Module {
  readonly cAttn: Linear;
  readonly cProj: Linear;
  readonly attnDropout: Dropout;
  readonly residDropout: Dropout;
  readonly heads: number;
  readonly layer: number;

  constructor({ dim, heads, dropout, bias }: Sizes, layer: number, random: Random) {
    super();
    this.cAttn = new Linear(dim, 3 * dim, { bias, random: random.fork('c_attn') });
    this.cProj = new Linear(dim, dim, { bias, random: random.fork('c_proj') });
    this.attnDropout = new Dropout(dropout, { random: random.fork('attn_dropout') });
    this.residDropout = new Dropout(dropout, { random: random.fork('resid_dropout') });
    this.heads = heads;
    this.layer = layer;
  }

  override forward(x: Tensor, past?: Past): Tensor {
    const [batch, tokens, dim] = x.shape;
    const [q, k, v] = this.cAttn
      .forward(x)
      .split(3, 2)
      .map(t => t.reshape([batch, tokens, this.heads, dim / this.heads]).transpose([0, 2, 1, 3]));
    const weights = (p: Tensor): Tensor => this.attnDropout.forward(p);
    const y = past
      ? scaledDotProductAttention(q, ...past.cache.update(this.layer, k, v, past.start), { mask: past.mask })
      : scaledDotProductAttention(q, k, v, { causal: true, weights });
    return this.residDropout.forward(this.cProj.forward(y.transpose([0, 2, 1, 3]).reshape([batch, tokens, dim])));
  }
}

class GPTMLP extends Module {
  readonly cFc: Linear;
  readonly cProj: Linear;
  readonly dropout: Dropout;

  constructor({ dim, dropout, bias }: Sizes, random: Random) {
    super();
    this.cFc = new Linear(dim, 4 * dim, { bias, random: random.fork('c_fc') });
    this.cProj = new Linear(4 * dim, dim, { bias, random: random.fork('c_proj') });
    this.dropout = new Dropout(dropout, { random: random.fork('dropout') });
  }

  override forward(x: Tensor): Tensor {
    return this.dropout.forward(this.cProj.forward(this.cFc.forward(x).gelu()));
  }
}

class GPTBlock extends Module {
  readonly ln_1: LayerNorm;
  readonly attn: CausalSelfAttention;
  readonly ln_2: LayerNorm;
  readonly mlp: GPTMLP;

  constructor(sizes: Sizes, layer: number, random: Random) {
    super();
    this.ln_1 = new LayerNorm(sizes.dim, { bias: sizes.bias });
    this.attn = new CausalSelfAttention(sizes, layer, random.fork('attn'));
    this.ln_2 = new LayerNorm(sizes.dim, { bias: sizes.bias });
    this.mlp = new GPTMLP(sizes, random.fork('mlp'));
  }

  override forward(x: Tensor, past?: Past): Tensor {
    const h = x.add(this.attn.forward(this.ln_1.forward(x), past));
    return h.add(this.mlp.forward(this.ln_2.forward(h)));
  }
}

class Transformer extends Module {
  readonly wte: Embedding;
  readonly wpe: Embedding;
  readonly drop: Dropout;
  readonly h: GPTBlock[];
  readonly lnF: LayerNorm;

  constructor(sizes: Sizes, random: Random) {
    super();
    const { vocab, context, dim, layers, dropout, bias } = sizes;
    this.wte = new Embedding(vocab, dim, { random: random.fork('wte') });
    this.wpe = new Embedding(context, dim, { random: random.fork('wpe') });
    this.drop = new Dropout(dropout, { random: random.fork('drop') });
    this.h = Array.from({ length: layers }, (_, i) => new GPTBlock(sizes, i, random.fork(`h.${i}`)));
    this.lnF = new LayerNorm(dim, { bias });
  }

  /** @param places position embeddings [tokens, dim] */
  override forward(ids: Tensor, places: Tensor, past?: Past): Tensor {
    let x = this.drop.forward(this.wte.forward(ids).add(places));
    for (const block of this.h) x = block.forward(x, past);
    return this.lnF.forward(x);
  }
}

/**
 * GPT-2 (Radford et al. 2019) as nanoGPT writes it, with its names (`transformer.h.0.attn.c_attn.weight`): learned
 * positions, pre-normalisation, GELU, output layer tied to the embedding. The defaults are GPT-2 small, 124,439,808
 * parameters.
 */
export class GPT extends Module implements CachedLanguageModel {
  readonly transformer: Transformer;
  readonly context: number;
  readonly cacheShape: CacheShape;

  constructor(options: GPTOptions = {}) {
    super();
    const { vocab = 50257, context = 1024, layers = 12, heads = 12, dim = 768, dropout = 0, bias = true } = options;
    const { random = new Random(0) } = options;
    check(dim % heads === 0, () => `GPT: dim ${dim} is not a multiple of ${heads} heads`);
    this.transformer = new Transformer(
      { vocab, context, layers, heads, dim, dropout, bias },
      random.fork('transformer'),
    );
    this.context = context;
    this.cacheShape = { layers, heads, headDim: dim / heads };
    // The branches' last layers are scaled down so that the residual stream keeps its variance over depth.
    const last = 0.02 / Math.sqrt(2 * layers);
    initialize(this, random, (name, shape, r) => {
      if (shape.length === 2) return normalOf(r, shape, 0, name.endsWith('c_proj.weight') ? last : 0.02);
      return name.endsWith('bias') ? zerosOf(shape) : undefined;
    });
  }

  /** @param ids int32 [batch, tokens]; returns logits [batch, tokens, vocab] */
  override forward(ids: Tensor): Tensor {
    const tokens = ids.shape[1];
    check(tokens <= this.context, () => `GPT: ${tokens} tokens exceed the context of ${this.context}`);
    return this.logits(this.transformer.forward(ids, this.transformer.wpe.weight.slice(0, 0, tokens)));
  }

  /** The tokens that follow `prompt`; dropout is off meanwhile. */
  generate(prompt: ArrayLike<number>, options: GenerateOptions = {}): Promise<number[]> {
    return inEvalMode(this, () => generate(this, prompt, options));
  }

  continueFrom(ids: Tensor, start: Tensor, cache: KeyValueCache): Tensor {
    const tokens = ids.shape[1];
    // A chunk may reach beyond the last position, where its padding lies.
    const at = arange(tokens)
      .add(start)
      .clamp(0, this.context - 1);
    const places = gather(this.transformer.wpe.weight, at);
    return this.transformer.forward(ids, places, { start, mask: cache.mask(tokens, start), cache });
  }

  logits(hidden: Tensor): Tensor {
    return linear(hidden, this.transformer.wte.weight);
  }
}
