// Transformers: an encoder layer of BERT's shape, and one step of decoding with LLaMA-shaped models.
import { concat, exportOnnx, Random, type Spec, type Tensor } from '@gossamer/tensor';
import { models, nn, sparsity } from 'gossamer';
import { type Base, baseOf, QuickRandom } from './networks.ts';

const isProduct = (l: sparsity.Layer): boolean => l.kind === 'linear';

/** One layer of BERT-base (Devlin et al. 2019): attention and MLP, each with its residual and norm behind it. */
class EncoderLayer extends nn.Module {
  readonly attention: nn.MultiheadAttention;
  readonly attentionNorm: nn.LayerNorm;
  readonly up: nn.Linear;
  readonly gelu = new nn.GELU();
  readonly down: nn.Linear;
  readonly norm: nn.LayerNorm;

  constructor(dim: number, heads: number, hidden: number, random: Random) {
    super();
    this.attention = new nn.MultiheadAttention(dim, heads, { random: random.fork('attention') });
    this.attentionNorm = new nn.LayerNorm(dim, { eps: 1e-12 });
    this.up = new nn.Linear(dim, hidden, { random: random.fork('up') });
    this.down = new nn.Linear(hidden, dim, { random: random.fork('down') });
    this.norm = new nn.LayerNorm(dim, { eps: 1e-12 });
  }

  override forward(x: Tensor): Tensor {
    const h = this.attentionNorm.forward(x.add(this.attention.forward(x)));
    return this.norm.forward(h.add(this.down.forward(this.gelu.forward(this.up.forward(h)))));
  }
}

/** An encoder layer of BERT-base's shape on 128 tokens; all its products may be pruned. */
export const encoder = (): Promise<Base> =>
  baseOf(new EncoderLayer(768, 12, 3072, new Random(0)), { dtype: 'float32', shape: [1, 128, 768] }, isProduct);

/** Keys and values that come in as inputs and go out as outputs, one token longer. */
class CarriedCache extends models.KeyValueCache {
  readonly #past: readonly Tensor[];
  readonly outputs: Record<string, Tensor> = {};

  /** @param past keys and values of each layer in turn, [1, heads, tokens, headDim] */
  constructor(shape: models.CacheShape, past: readonly Tensor[]) {
    super(shape, 1);
    this.#past = past;
  }

  override update(layer: number, keys: Tensor, values: Tensor): [keys: Tensor, values: Tensor] {
    const all = [keys, values].map((fresh, i) => concat([this.#past[2 * layer + i], fresh], 2)) as [Tensor, Tensor];
    [this.outputs[`present.${layer}.key`], this.outputs[`present.${layer}.value`]] = all;
    return all;
  }

  /** One token sees all before it. */
  override mask(): never {
    return undefined as never;
  }
}

/**
 * One step of decoding: a token at position `past` with the keys and values of `past` tokens as inputs, its logits and the
 * longer keys and values as outputs. All products may be pruned, the output layer too, whose weights are the embedding's.
 */
export async function decoder(llama: models.Llama, past: number): Promise<Base> {
  const ids: Spec = { dtype: 'int32', shape: [1, 1] };
  const { layers } = await sparsity.modelLayers(llama, [ids]);
  const { cacheShape } = llama;
  const held: Spec = { dtype: 'float32', shape: [1, cacheShape.heads, past, cacheShape.headDim] };
  const names = Array.from({ length: cacheShape.layers }, (_, i) => [`past.${i}.key`, `past.${i}.value`]).flat();
  const onnx = await exportOnnx(
    (token, position, ...past) => {
      const cache = new CarriedCache(cacheShape, past);
      const logits = llama.logits(llama.continueFrom(token, position, cache));
      return { logits, ...cache.outputs };
    },
    { token: ids, position: { dtype: 'int32', shape: [] }, ...Object.fromEntries(names.map(name => [name, held])) },
    { batch: null },
  );
  return { onnx, layers: layers.filter(isProduct) };
}

/** A model of the shapes of llama2.c's: 15 and 110 million parameters, random weights. */
export const llama = (size: '15M' | '110M'): models.Llama =>
  new models.Llama({
    vocab: 32000,
    ...(size === '15M'
      ? { dim: 288, hidden: 768, layers: 6, heads: 6 }
      : { dim: 768, hidden: 2048, layers: 12, heads: 12 }),
    random: new QuickRandom(0),
  });
