// Compares outputs with onnxruntime-node's on every model of the registry and, with GOSSAMER_MODELS, on real weights: dense,
// 90 % sparse and 2:4, under every choice of kernels, build and number of threads.
//   node packages/runtime/bench/zoo.ts [--only name] [--json] [--out file.json]
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Random, type Spec, sizeOf, writeFile } from '@gossamer/tensor';
import { encodeOnnx, type OnnxModel, readOnnx } from '@gossamer/tensor/onnx';
import { exportModel, models, nn, sparsity } from 'gossamer';
import * as ort from 'onnxruntime-node';
import { table } from '../../gossamer/src/text.ts';
import { InferenceSession, type SessionOptions, Tensor } from '../src/index.ts';

const { values: flags } = parseArgs({
  options: { only: { type: 'string' }, json: { type: 'boolean' }, out: { type: 'string' } },
});

/** Largest |difference| over all outputs, divided by the largest |output|; 1e-4 is the promise. */
const BOUND = 1e-4;

const BACKENDS: Readonly<Record<string, SessionOptions>> = {
  plain: { kernels: 'plain', threads: 1 },
  'dense, SIMD': { kernels: 'dense', build: 'simd', threads: 1 },
  dense: { kernels: 'dense', threads: 1 },
  csr: { kernels: 'csr', threads: 1 },
  block: { kernels: 'block', threads: 1 },
  'auto, SIMD': { build: 'simd', threads: 1 },
  auto: { threads: 1 },
  'auto, 2 threads': { threads: 2 },
};

/** Tokens of language models here: the plain operators are slow. */
const TOKENS = 16;

interface Subject {
  readonly name: string;
  make(): Promise<{ model: nn.Module; input: Spec }>;
}

const registry: Subject[] = Object.entries(models.models).map(([name, entry]) => ({
  name,
  make: async () => {
    const shape = entry.input.dtype === 'int32' ? [TOKENS] : entry.input.shape;
    return {
      model: entry.create({ random: new Random(0) }),
      input: { dtype: entry.input.dtype, shape: [1, ...shape] },
    };
  },
}));

const folder = process.env.GOSSAMER_MODELS;
const real = (
  file: string,
  shape: number[],
  load: (path: string) => Promise<nn.Module>,
  dtype: Spec['dtype'] = 'float32',
) =>
  folder && existsSync(join(folder, file))
    ? [
        {
          name: file.split('/')[0],
          make: async () => ({ model: await load(join(folder, file)), input: { dtype, shape } }),
        },
      ]
    : [];
const pretrained: Subject[] = [
  ...real('resnet20_cifar10.safetensors', [1, 3, 32, 32], p => models.CifarResNet.fromPretrained(p)),
  ...real('resnet32_cifar10.safetensors', [1, 3, 32, 32], p => models.CifarResNet.fromPretrained(p)),
  ...real('squeezenet_v1.0_deepcompressed_imagenet.safetensors', [1, 3, 227, 227], p =>
    models.SqueezeNet.fromPretrained(p),
  ),
  ...real('darknet_tiny_imagenet.safetensors', [1, 3, 224, 224], p => models.TinyDarknet.fromPretrained(p)),
  ...real('doodlenet_quickdraw345.safetensors', [1, 1, 28, 28], p => models.DoodleNet.fromPretrained(p)),
  ...real('charrnn_shakespeare.safetensors', [1, TOKENS], p => models.CharLSTM.fromPretrained(p), 'int32'),
  ...real('style_transfer_wave.safetensors', [1, 3, 128, 128], p => models.StyleTransfer.fromPretrained(p)),
  ...real('ultraface_RFB-320_simplified.onnx', [1, 3, 240, 320], async p => new nn.GraphModule(await readOnnx(p))),
  ...(folder && existsSync(join(folder, 'stories260K'))
    ? [
        {
          name: 'stories260K',
          make: async () => ({
            model: await models.Llama.fromPretrained(join(folder, 'stories260K')),
            input: { dtype: 'int32' as const, shape: [1, TOKENS] },
          }),
        },
      ]
    : []),
];

/** Prunes every layer whose shape takes the pattern; embeddings stay. */
async function pruned(model: nn.Module, input: Spec, pattern: string, share: number | undefined): Promise<OnnxModel> {
  const { layers, parameters } = await sparsity.modelLayers(model, [input]);
  const multiple = pattern === 'element' ? 1 : 4;
  const chosen = layers.filter(l => l.kind !== 'embedding' && l.inAxis >= 0 && l.shape[l.inAxis] % multiple === 0);
  if (chosen.length) {
    const mask = sparsity.prune(chosen, l => sparsity.magnitude(l.values), { sparsity: share, granularity: pattern });
    for (const l of chosen) {
      const kept = l.values.slice();
      mask.apply(l.name, kept);
      parameters.get(l.name)!.set(kept);
    }
  }
  return exportModel(model, { input }, { batch: null });
}

interface Row {
  readonly model: string;
  readonly variant: string;
  readonly differences: Record<string, number>;
}

const rows: Row[] = [];
for (const subject of [...registry, ...pretrained]) {
  if (flags.only && !subject.name.includes(flags.only)) continue;
  const { model, input } = await subject.make();
  for (const [variant, pattern, share] of [
    ['dense', undefined, undefined],
    ['90 %', 'element', 0.9],
    ['2:4', '2:4', undefined],
  ] as const) {
    const fresh = variant === '2:4' ? (await subject.make()).model : model;
    const onnx = pattern
      ? await pruned(fresh, input, pattern, share)
      : await exportModel(model, { input }, { batch: null });
    const bytes = encodeOnnx(onnx, { sparse: 1 / 3 });
    const random = new Random(1);
    const size = sizeOf(input.shape);
    const data =
      input.dtype === 'int32' ? Int32Array.from({ length: size }, (_, i) => (i * 7) % 50) : random.normal(size);
    const reference = await ort.InferenceSession.create(bytes, { intraOpNumThreads: 1, logSeverityLevel: 3 });
    const expected = await reference.run({
      input: new ort.Tensor(input.dtype as 'float32', data as Float32Array, input.shape),
    });
    const differences: Record<string, number> = {};
    for (const [backend, options] of Object.entries(BACKENDS)) {
      const session = await InferenceSession.create(bytes, options);
      const outputs = await session.run({ input: new Tensor(input.dtype as 'float32', data, input.shape) });
      let [worst, largest] = [0, 0];
      for (const name of session.outputNames) {
        const a = expected[name].data as Float32Array;
        const b = outputs[name].data as Float32Array;
        for (let i = 0; i < a.length; i++) {
          largest = Math.max(largest, Math.abs(a[i]));
          const difference = Math.abs(a[i] - b[i]);
          worst = Math.max(worst, difference);
        }
        if (a.length !== b.length) worst = Number.POSITIVE_INFINITY;
      }
      differences[backend] = worst / largest;
      await session.release();
    }
    await reference.release();
    rows.push({ model: subject.name, variant, differences });
    process.stderr.write(
      `${subject.name} ${variant}: ${Object.entries(differences)
        .map(([b, d]) => `${b} ${d.toExponential(1)}`)
        .join(', ')}\n`,
    );
  }
}

const worst = rows.flatMap(row => Object.values(row.differences)).reduce((a, b) => Math.max(a, b), 0);
const result = {
  command: 'node packages/runtime/bench/zoo.ts',
  bound: BOUND,
  worst,
  date: new Date().toISOString().slice(0, 10),
  rows,
};
if (flags.out) await writeFile(flags.out, [new TextEncoder().encode(`${JSON.stringify(result, null, 1)}\n`)]);
console.log(
  flags.json
    ? JSON.stringify(result)
    : table(
        ['model', 'variant', ...Object.keys(BACKENDS)],
        rows.map(r => [r.model, r.variant, ...Object.values(r.differences).map(d => d.toExponential(1))]),
      ),
);
if (!(worst <= BOUND)) process.exitCode = 1;
