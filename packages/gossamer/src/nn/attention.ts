import {
  check,
  formatShape,
  linear,
  Parameter,
  Random,
  rotaryEmbedding,
  scaledDotProductAttention,
  split,
  type Tensor,
} from '@gossamer/tensor';
import { Dropout } from './dropout.ts';
import { xavierUniform, zerosOf } from './init.ts';
import { type LayerOptions, Linear } from './linear.ts';
import { Module } from './module.ts';

export interface MultiheadAttentionOptions extends LayerOptions {
  /** Heads of keys and values, each shared by heads / keyHeads query heads (Ainslie et al. 2023); default `heads`. */
  readonly keyHeads?: number;
  /** Dropout on the attention weights; default 0. */
  readonly dropout?: number;
}

export interface AttendOptions {
  /** Where keys come from [batch, keys, width]; default the queries: self-attention. */
  readonly key?: Tensor;
  /** Where values come from; default `key`. */
  readonly value?: Tensor;
  /** Each position sees itself and what is before it; default false. */
  readonly causal?: boolean;
  /** Broadcasts to [batch, heads, queries, keys]. Bool: true where a key is seen. Float: added to the scores. */
  readonly mask?: Tensor;
  /** Tables of `rotaryTables(positions, width / heads)`, by which queries and keys are rotated. */
  readonly rotary?: readonly [cos: Tensor, sin: Tensor];
}

/**
 * Attention over several heads (Vaswani et al. 2017), batch first: [batch, queries, width] → the same. Parameters as in
 * PyTorch: `in_proj_weight` [width + 2·keyHeads·width/heads, width] holds the rows of q, k and v, then `out_proj`.
 */
export class MultiheadAttention extends Module {
  readonly width: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly dropout: Dropout | undefined;
  inProjWeight: Parameter;
  inProjBias: Parameter | undefined;
  outProj: Linear;

  constructor(width: number, heads: number, options: MultiheadAttentionOptions = {}) {
    super();
    const { keyHeads = heads, bias = true, dropout = 0, random = new Random(0) } = options;
    check(
      width % heads === 0 && heads % keyHeads === 0,
      () =>
        `MultiheadAttention: width ${width}, ${heads} heads, ${keyHeads} key heads: each must be divisible by the next`,
    );
    this.width = width;
    this.heads = heads;
    this.keyHeads = keyHeads;
    this.dropout = dropout > 0 ? new Dropout(dropout, { random: random.fork('dropout') }) : undefined;
    const rows = this.#rows.reduce((a, b) => a + b);
    this.inProjWeight = new Parameter(xavierUniform(random.fork('inProj'), [rows, width]));
    this.inProjBias = bias ? new Parameter(zerosOf([rows])) : undefined;
    this.outProj = new Linear(width, width, { bias, random: random.fork('outProj') });
    this.outProj.bias?.set(new Float32Array(width));
  }

  /** Rows of q, k and v in the joint projection. */
  get #rows(): number[] {
    const keys = (this.width / this.heads) * this.keyHeads;
    return [this.width, keys, keys];
  }

  override forward(query: Tensor, options: AttendOptions = {}): Tensor {
    const { key = query, causal, mask, rotary } = options;
    const value = options.value ?? key;
    for (const x of [query, key, value]) {
      check(
        x.rank === 3 && x.shape[2] === this.width,
        () => `MultiheadAttention: input ${formatShape(x.shape)}: expected [batch, positions, ${this.width}]`,
      );
    }
    let [q, k, v] = this.#project(query, key, value).map(x => {
      const width = this.width / this.heads;
      return x.reshape([x.shape[0], x.shape[1], x.shape[2] / width, width]).transpose([0, 2, 1, 3]);
    });
    if (rotary) [q, k] = [q, k].map(x => rotaryEmbedding(x, ...rotary));
    const { dropout } = this;
    const weights = dropout && ((p: Tensor) => dropout.forward(p));
    const y = scaledDotProductAttention(q, k, v, { causal, mask, weights });
    return this.outProj.forward(y.transpose([0, 2, 1, 3]).reshape(query.shape));
  }

  /** One product for q, k and v where they read the same input. */
  #project(query: Tensor, key: Tensor, value: Tensor): Tensor[] {
    if (query === key && key === value) {
      return split(linear(query, this.inProjWeight, this.inProjBias), this.#rows, 2);
    }
    const weights = split(this.inProjWeight, this.#rows, 0);
    const biases = this.inProjBias && split(this.inProjBias, this.#rows, 0);
    return [query, key, value].map((x, i) => linear(x, weights[i], biases?.[i]));
  }
}
