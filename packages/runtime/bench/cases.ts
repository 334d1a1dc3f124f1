// What is raced: models made one after another, since the large ones together would fill the memory.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readOnnx, type Spec } from '@gossamer/tensor';
import { models, nn, sparsity } from 'gossamer';
import type { Group } from './format.ts';
import { type Base, baseOf, imageNetwork, type Made, magnitudePruned, pruned, quantized } from './networks.ts';
import { decoder, encoder, llama } from './transformers.ts';

/** A model that is raced, with the dense one in float32 that it was made from. */
export interface Case {
  readonly group: Group;
  readonly model: string;
  /** `dense`, `90 %`, `4×1 90 %`, `2:4`, `int8`. */
  readonly variant: string;
  readonly made: Made;
  readonly base: Base;
  /** The dense file, where ONNX Runtime is to run it beside the variant. */
  readonly dense?: Uint8Array;
}

export interface Options {
  readonly quick: boolean;
  readonly only: string | undefined;
  /** Told what is left out and why. */
  readonly note: (line: string) => void;
}

interface Source {
  readonly group: Group;
  readonly model: string;
  load(): Promise<Base>;
  variants(base: Base): Iterable<readonly [string, () => Made]>;
}

const SHARES = [0.7, 0.8, 0.9, 0.95];
const percent = (share: number): string => `${Math.round(share * 100)} %`;

function* image(base: Base, quick: boolean): Generator<readonly [string, () => Made]> {
  yield ['dense', () => pruned(base, 0)];
  for (const share of quick ? [0.9] : SHARES) yield [percent(share), () => pruned(base, share)];
  for (const pattern of ['2x1', '4x1'] as const) {
    for (const share of quick ? [] : [0.9, 0.95]) {
      yield [`${pattern.replace('x', '×')} ${percent(share)}`, () => pruned(base, share, pattern)];
    }
  }
}

function* products(base: Base, shares: readonly number[]): Generator<readonly [string, () => Made]> {
  yield ['dense', () => pruned(base, 0)];
  for (const share of shares) yield [percent(share), () => pruned(base, share)];
  yield ['2:4', () => pruned(base, 0.5, '2:4')];
  yield ['int8', () => quantized(base)];
}

function* magnitude(base: Base, quick: boolean): Generator<readonly [string, () => Made]> {
  yield ['dense', () => pruned(base, 0)];
  for (const share of quick ? [0.9] : [0.8, 0.9]) yield [percent(share), () => magnitudePruned(base, share)];
}

const isConvolution = (l: sparsity.Layer): boolean => l.kind === 'conv';

/** Tokens whose keys and values a step of decoding is given. */
export const PAST = 63;

function sources({ quick, note }: Options): Source[] {
  const folder = process.env.GOSSAMER_MODELS;
  const real = (name: string, file: string, source: Omit<Source, 'model'>): Source[] => {
    if (folder && existsSync(join(folder, file))) return [{ model: name, ...source }];
    note(`${name} is left out: ${folder ? `${file} is not in` : 'there is no'} GOSSAMER_MODELS`);
    return [];
  };
  const at = (file: string): string => join(folder!, file);
  const files = {
    squeezenet: 'squeezenet_v1.0_deepcompressed_imagenet.safetensors',
    darknet: 'darknet_tiny_imagenet.safetensors',
    face: 'ultraface_RFB-320_simplified.onnx',
  };
  const images = (size: number) => ({ dtype: 'float32', shape: [1, 3, size, size] }) as const;
  const shares = quick ? [0.9] : [0.5, 0.7, 0.9];
  const decoding = (model: string, load: () => Promise<models.Llama>): Source => ({
    group: 'decoding',
    model,
    load: async () => decoder(await load(), PAST),
    variants: base => products(base, shares),
  });
  return [
    ...['mobilenet-v1', 'mobilenet-v2', 'resnet50'].map(
      (model): Source => ({
        group: 'networks',
        model,
        load: () => imageNetwork(model),
        variants: base => image(base, quick),
      }),
    ),
    ...real('squeezenet', files.squeezenet, {
      group: 'pretrained',
      load: async () =>
        baseOf(await models.SqueezeNet.fromPretrained(at(files.squeezenet)), images(227), isConvolution),
      variants: base => [['as published', () => pruned(base, 0)]],
    }),
    ...real('tiny-darknet', files.darknet, {
      group: 'pretrained',
      load: async () => baseOf(await models.TinyDarknet.fromPretrained(at(files.darknet)), images(224), isConvolution),
      variants: base => magnitude(base, quick),
    }),
    ...real('ultraface', files.face, {
      group: 'pretrained',
      load: async () => {
        const onnx = await readOnnx(at(files.face));
        const module = new nn.GraphModule(onnx);
        const specs = module.inputs.map(({ dtype, shape }) => ({ dtype, shape }) as Spec);
        const { layers } = await sparsity.modelLayers(module, specs);
        return { onnx, layers: layers.filter(isConvolution) };
      },
      variants: base => magnitude(base, quick),
    }),
    {
      group: 'encoder',
      model: 'bert-base layer',
      load: encoder,
      variants: base => products(base, quick ? [0.9] : [0.5, 0.7, 0.8, 0.9]),
    },
    ...real(
      'stories260K',
      'stories260K',
      decoding('stories260K', () => models.Llama.fromPretrained(at('stories260K'))),
    ),
    decoding('llama 15M', async () => llama('15M')),
    ...(quick ? [] : [decoding('llama 110M', async () => llama('110M'))]),
  ];
}

/** The cases whose model's name has `only` in it. */
export async function* cases(options: Options): AsyncGenerator<Case> {
  for (const source of sources(options)) {
    const { group, model } = source;
    if (options.only && !model.includes(options.only)) continue;
    const base = await source.load();
    let dense: Uint8Array | undefined;
    for (const [variant, make] of source.variants(base)) {
      const made = make();
      dense ??= made.bytes;
      yield { group, model, variant, made, base, ...(variant === 'int8' && { dense }) };
    }
  }
}
