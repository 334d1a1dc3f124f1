import { check, embedding, Parameter, Random, type Tensor, where } from '@gossamer/tensor';
import { normalOf } from './init.ts';
import { Module } from './module.ts';

export interface EmbeddingOptions {
  /** A token whose row starts at zero and gets no gradient. */
  readonly paddingIndex?: number;
  readonly random?: Random;
}

/** A table of vectors: integer ids of any shape [..] → [.., features]. Rows start standard normal. */
export class Embedding extends Module {
  readonly vocabulary: number;
  readonly features: number;
  readonly paddingIndex: number | undefined;
  weight: Parameter;

  constructor(vocabulary: number, features: number, { paddingIndex, random = new Random(0) }: EmbeddingOptions = {}) {
    super();
    check(
      paddingIndex === undefined || (Number.isInteger(paddingIndex) && paddingIndex >= 0 && paddingIndex < vocabulary),
      () => `Embedding: padding index ${paddingIndex}: expected a row of [0, ${vocabulary})`,
    );
    this.vocabulary = vocabulary;
    this.features = features;
    this.paddingIndex = paddingIndex;
    const weight = normalOf(random, [vocabulary, features]);
    if (paddingIndex !== undefined) weight.data.fill(0, paddingIndex * features, (paddingIndex + 1) * features);
    this.weight = new Parameter(weight);
  }

  override forward(ids: Tensor): Tensor {
    const rows = embedding(this.weight, ids);
    if (this.paddingIndex === undefined) return rows;
    return where(ids.eq(this.paddingIndex).unsqueeze(-1), rows.detach(), rows);
  }
}
