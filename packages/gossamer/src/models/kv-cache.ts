import { arange, gather, Parameter, type Tensor, where } from '@gossamer/tensor';
import { zerosOf } from '../nn/init.ts';

/** Shape of a cache: what a model needs of it. */
export interface CacheShape {
  readonly layers: number;
  /** Heads of keys and values (fewer than those of queries with grouped-query attention). */
  readonly heads: number;
  /** Width of a head. */
  readonly headDim: number;
}

/**
 * Keys and values of all tokens so far, in buffers [1, heads, length, headDim] of fixed length, so that a step of
 * generation has the same shapes at every position and is compiled once.
 */
export class KeyValueCache {
  /** Tokens it has room for. */
  readonly length: number;
  readonly #keys: Parameter[];
  readonly #values: Parameter[];

  constructor({ layers, heads, headDim }: CacheShape, length: number) {
    const buffers = (): Parameter[] =>
      Array.from({ length: layers }, () => new Parameter(zerosOf([1, heads, length, headDim]), { trainable: false }));
    this.length = length;
    this.#keys = buffers();
    this.#values = buffers();
  }

  /**
   * Writes a layer's keys and values [1, heads, tokens, headDim] at positions `start` (int32 scalar) and following, and
   * returns all of them, [1, heads, length, headDim]; what follows the last position written is left from before.
   */
  update(layer: number, keys: Tensor, values: Tensor, start: Tensor): [keys: Tensor, values: Tensor] {
    const offset = arange(this.length).sub(start);
    const fresh = offset.ge(0).and(offset.lt(keys.shape[2])).unsqueeze(1);
    const write = (buffer: Parameter, rows: Tensor): Tensor => {
      const count = rows.shape[2];
      const spread = count === 1 ? rows : gather(rows, offset.clamp(0, count - 1), 2);
      const updated = where(fresh, spread, buffer);
      buffer.assign(updated);
      return updated;
    };
    return [write(this.#keys[layer], keys), write(this.#values[layer], values)];
  }

  /** Which positions each of `tokens` tokens from `start` on may attend to: itself and those before; [tokens, length]. */
  mask(tokens: number, start: Tensor): Tensor {
    return arange(this.length).le(arange(tokens).add(start).unsqueeze(1));
  }
}

/** Where a sequence continues: behind the keys and values of the tokens before. */
export interface Past {
  /** Position of its first token, int32 scalar. */
  readonly start: Tensor;
  /** What {@link KeyValueCache.mask} gives for its tokens. */
  readonly mask: Tensor;
  readonly cache: KeyValueCache;
}
