import { check, FormatError, type Tensor, tensor } from '@gossamer/tensor';

/** Frequencies stretched for longer contexts: all of them, or the slow ones as in Llama 3.1. */
export type RopeScaling =
  | { readonly type: 'linear'; readonly factor: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalContext: number;
    };

/** Sizes of a LLaMA. The defaults are a small model; `kvHeads`, `headDim` and `hidden` follow from the others. */
export interface LlamaConfig {
  /** Default 512. */
  readonly vocab?: number;
  /** Width of the residual stream; default 288. */
  readonly dim?: number;
  /** Units of the MLP; default 8/3 · dim, rounded up to a multiple of 32. */
  readonly hidden?: number;
  /** Default 6. */
  readonly layers?: number;
  /** Default 6. */
  readonly heads?: number;
  /** Heads of keys and values, a divisor of `heads`; default `heads`. */
  readonly kvHeads?: number;
  /** Default dim / heads. */
  readonly headDim?: number;
  /** Most tokens; default 256. */
  readonly context?: number;
  /** Default 1e-5. */
  readonly normEps?: number;
  /** Default 10000. */
  readonly ropeTheta?: number;
  /** Default none. */
  readonly ropeScaling?: RopeScaling | undefined;
  /** Default true. */
  readonly tieEmbeddings?: boolean;
  /** Default false. */
  readonly attentionBias?: boolean;
  /** Default false. */
  readonly mlpBias?: boolean;
  /** Token that begins a text; default 1. */
  readonly bos?: number;
  /** Tokens that end one; default [2]. */
  readonly eos?: readonly number[];
}

/** A configuration with every size. */
export type FullLlamaConfig = Required<Omit<LlamaConfig, 'ropeScaling'>> & Pick<LlamaConfig, 'ropeScaling'>;

/** Fills in what follows from other sizes. Throws a GossamerError where sizes do not divide. */
export function completeConfig(config: LlamaConfig): FullLlamaConfig {
  const { vocab = 512, dim = 288, layers = 6, heads = 6, context = 256, normEps = 1e-5, ropeTheta = 10000 } = config;
  const { hidden = Math.ceil((8 * dim) / 3 / 32) * 32, kvHeads = heads, headDim = dim / heads, ropeScaling } = config;
  const { tieEmbeddings = true, attentionBias = false, mlpBias = false, bos = 1, eos = [2] } = config;
  check(heads % kvHeads === 0, () => `Llama: ${heads} heads cannot share ${kvHeads} heads of keys and values`);
  check(headDim % 2 === 0, () => `Llama: dim ${dim} and ${heads} heads: the head width ${headDim} must be even`);
  return {
    ...{ vocab, dim, hidden, layers, heads, kvHeads, headDim, context, normEps, ropeTheta, ropeScaling },
    ...{ tieEmbeddings, attentionBias, mlpBias, bos, eos },
  };
}

/** Sizes from a Hugging Face `config.json`. Throws a FormatError for other architectures and missing sizes. */
export function llamaConfigFromJson(json: unknown, name = 'config.json'): LlamaConfig {
  const fields = (typeof json === 'object' ? json : null) as Record<string, unknown> | null;
  const refuse = (what: string): never => {
    throw new FormatError(`${name}: ${what}`);
  };
  if (fields?.model_type !== 'llama')
    return refuse(`model_type is ${JSON.stringify(fields?.model_type)}, expected "llama"`);
  const number = (key: string, fallback?: number): number => {
    const value = fields[key] ?? fallback;
    return typeof value === 'number' && value > 0
      ? value
      : refuse(`${key} is ${JSON.stringify(value)}, expected a positive number`);
  };
  if ((fields.hidden_act ?? 'silu') !== 'silu')
    refuse(`hidden_act is ${JSON.stringify(fields.hidden_act)}, expected "silu"`);
  const heads = number('num_attention_heads');
  const dim = number('hidden_size');
  const eos = fields.eos_token_id ?? 2;
  return {
    vocab: number('vocab_size'),
    dim,
    hidden: number('intermediate_size'),
    layers: number('num_hidden_layers'),
    heads,
    kvHeads: number('num_key_value_heads', heads),
    headDim: number('head_dim', dim / heads),
    context: number('max_position_embeddings', 2048),
    normEps: number('rms_norm_eps', 1e-6),
    ropeTheta: number('rope_theta', 10000),
    ropeScaling: ropeScalingFromJson(fields.rope_scaling, refuse),
    tieEmbeddings: fields.tie_word_embeddings === true,
    attentionBias: fields.attention_bias === true,
    mlpBias: fields.mlp_bias === true,
    bos: (fields.bos_token_id as number | undefined) ?? 1,
    eos: (Array.isArray(eos) ? eos : [eos]) as number[],
  };
}

function ropeScalingFromJson(json: unknown, refuse: (what: string) => never): RopeScaling | undefined {
  if (json === undefined || json === null) return undefined;
  const fields = json as Record<string, unknown>;
  const type = fields.rope_type ?? fields.type;
  const number = (key: string): number =>
    typeof fields[key] === 'number'
      ? fields[key]
      : refuse(`rope_scaling.${key} is ${JSON.stringify(fields[key])}, expected a number`);
  if (type === 'default') return undefined;
  if (type === 'linear') return { type, factor: number('factor') };
  if (type !== 'llama3')
    return refuse(`rope_scaling of type ${JSON.stringify(type)} is not supported; "linear" and "llama3" are`);
  return {
    type,
    factor: number('factor'),
    lowFrequencyFactor: number('low_freq_factor'),
    highFrequencyFactor: number('high_freq_factor'),
    originalContext: number('original_max_position_embeddings'),
  };
}

/** Cosines and sines of the rotations of all positions (Su et al. 2021, arXiv:2104.09864), each [context, headDim / 2]. */
export function rotationTables(config: FullLlamaConfig): [cos: Tensor, sin: Tensor] {
  const { context, headDim, ropeTheta, ropeScaling } = config;
  const half = headDim / 2;
  const frequencies = Array.from({ length: half }, (_, i) => scaled(ropeTheta ** (-i / half), ropeScaling));
  const table = (fn: (angle: number) => number): Tensor => {
    const values = Float32Array.from({ length: context * half }, (_, i) =>
      fn(Math.floor(i / half) * frequencies[i % half]),
    );
    return tensor(values, [context, half]);
  };
  return [table(Math.cos), table(Math.sin)];
}

/** Llama 3.1 divides frequencies of long wavelengths by `factor`, keeps short ones, and blends in between. */
function scaled(frequency: number, scaling: RopeScaling | undefined): number {
  if (!scaling) return frequency;
  if (scaling.type === 'linear') return frequency / scaling.factor;
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContext } = scaling;
  const turns = (originalContext * frequency) / (2 * Math.PI);
  const blend = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return frequency * (blend + (1 - blend) / factor);
}
