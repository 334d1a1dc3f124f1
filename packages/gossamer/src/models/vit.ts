import { check, concat, Parameter, Random, scaledDotProductAttention, type Tensor } from '@gossamer/tensor';
import { Sequential } from '../nn/container.ts';
import { Conv2d } from '../nn/conv.ts';
import { Dropout } from '../nn/dropout.ts';
import { truncatedNormalOf, zerosOf } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { LayerNorm } from '../nn/norm.ts';
import { initialize, loadPretrained } from './weights.ts';

export interface ViTOptions {
  /** Height and width of the images; default 224. */
  readonly imageSize?: number;
  /** Height and width of a patch, a divisor of `imageSize`; default 16. */
  readonly patchSize?: number;
  /** Input channels; default 3. */
  readonly channels?: number;
  /** Default 1000. */
  readonly classes?: number;
  /** Width of the residual stream; default 192. */
  readonly dim?: number;
  /** Default 12. */
  readonly depth?: number;
  /** Default 3. */
  readonly heads?: number;
  /** Hidden units of the MLP for each unit of `dim`; default 4. */
  readonly mlpRatio?: number;
  /** Dropout behind the embedding and every residual branch; default 0. */
  readonly dropout?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

class PatchEmbedding extends Module {
  readonly proj: Conv2d;

  constructor(channels: number, dim: number, patch: number, random: Random) {
    super();
    this.proj = new Conv2d(channels, dim, patch, { stride: patch, random });
  }

  /** [batch, channels, height, width] → [batch, patches, dim]. */
  override forward(x: Tensor): Tensor {
    return this.proj.forward(x).flatten(2).transpose();
  }
}

class SelfAttention extends Module {
  readonly heads: number;
  readonly qkv: Linear;
  readonly proj: Linear;

  constructor(dim: number, heads: number, random: Random) {
    super();
    this.heads = heads;
    this.qkv = new Linear(dim, 3 * dim, { random: random.fork('qkv') });
    this.proj = new Linear(dim, dim, { random: random.fork('proj') });
  }

  override forward(x: Tensor): Tensor {
    const [batch, tokens, dim] = x.shape;
    const [q, k, v] = this.qkv
      .forward(x)
      .reshape([batch, tokens, 3, this.heads, dim / this.heads])
      .transpose([2, 0, 3, 1, 4])
      .split(3)
      .map(t => t.squeeze(0));
    return this.proj.forward(scaledDotProductAttention(q, k, v).transpose([0, 2, 1, 3]).reshape([batch, tokens, dim]));
  }
}

class Mlp extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;

  constructor(dim: number, hidden: number, random: Random) {
    super();
    this.fc1 = new Linear(dim, hidden, { random: random.fork('fc1') });
    this.fc2 = new Linear(hidden, dim, { random: random.fork('fc2') });
  }

  override forward(x: Tensor): Tensor {
    return this.fc2.forward(this.fc1.forward(x).gelu());
  }
}

class Block extends Module {
  readonly norm1: LayerNorm;
  readonly attn: SelfAttention;
  readonly norm2: LayerNorm;
  readonly mlp: Mlp;
  readonly drop1: Dropout;
  readonly drop2: Dropout;

  constructor(dim: number, heads: number, hidden: number, dropout: number, random: Random) {
    super();
    this.norm1 = new LayerNorm(dim, { eps: 1e-6 });
    this.attn = new SelfAttention(dim, heads, random.fork('attn'));
    this.norm2 = new LayerNorm(dim, { eps: 1e-6 });
    this.mlp = new Mlp(dim, hidden, random.fork('mlp'));
    this.drop1 = new Dropout(dropout, { random: random.fork('drop1') });
    this.drop2 = new Dropout(dropout, { random: random.fork('drop2') });
  }

  override forward(x: Tensor): Tensor {
    const h = x.add(this.drop1.forward(this.attn.forward(this.norm1.forward(x))));
    return h.add(this.drop2.forward(this.mlp.forward(this.norm2.forward(h))));
  }
}

/**
 * Vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), classified by its class token. The defaults are ViT-Ti/16
 * (Touvron et al. 2021, arXiv:2012.12877): 5,717,416 parameters. timm's names, so its weights load.
 */
export class ViT extends Module {
  readonly clsToken: Parameter;
  readonly posEmbed: Parameter;
  readonly patchEmbed: PatchEmbedding;
  readonly blocks: Sequential;
  readonly norm: LayerNorm;
  readonly head: Linear;
  readonly drop: Dropout;

  constructor(options: ViTOptions = {}) {
    super();
    const { imageSize = 224, patchSize = 16, channels = 3, classes = 1000, random = new Random(0) } = options;
    const { dim = 192, depth = 12, heads = 3, mlpRatio = 4, dropout = 0 } = options;
    check(imageSize % patchSize === 0, () => `ViT: patches of ${patchSize} do not tile images of ${imageSize}`);
    check(dim % heads === 0, () => `ViT: dim ${dim} is not a multiple of ${heads} heads`);
    const tokens = (imageSize / patchSize) ** 2 + 1;
    this.clsToken = new Parameter(zerosOf([1, 1, dim]));
    this.posEmbed = new Parameter(zerosOf([1, tokens, dim]));
    this.patchEmbed = new PatchEmbedding(channels, dim, patchSize, random.fork('patch_embed'));
    this.blocks = new Sequential(
      ...Array.from(
        { length: depth },
        (_, i) => new Block(dim, heads, Math.round(dim * mlpRatio), dropout, random.fork(`blocks.${i}`)),
      ),
    );
    this.norm = new LayerNorm(dim, { eps: 1e-6 });
    this.head = new Linear(dim, classes, { random: random.fork('head') });
    this.drop = new Dropout(dropout, { random: random.fork('drop') });
    initialize(this, random, (name, shape, r) => {
      if (name.includes('patch_embed') || name.includes('norm')) return undefined;
      return name.endsWith('bias') ? zerosOf(shape) : truncatedNormalOf(r, shape, 0, 0.02);
    });
  }

  /** Loads timm's weights from a safetensors file; `options` must describe them. */
  static fromPretrained(path: string | URL, options: ViTOptions = {}): Promise<ViT> {
    return loadPretrained(new ViT(options), path);
  }

  /** @param x images [batch, channels, imageSize, imageSize]; returns logits [batch, classes] */
  override forward(x: Tensor): Tensor {
    const patches = this.patchEmbed.forward(x);
    const [batch, , dim] = patches.shape;
    const tokens = concat([this.clsToken.expand([batch, 1, dim]), patches], 1).add(this.posEmbed);
    const h = this.norm.forward(this.blocks.forward(this.drop.forward(tokens)));
    return this.head.forward(h.slice(1, 0, 1).squeeze(1));
  }
}
