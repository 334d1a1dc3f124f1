// Dense kernels on one thread beside onnxruntime-web and onnxruntime-node on one thread: node bench/dense.ts [--json] [--simd] [filter]
import { parseArgs } from 'node:util';
import { encodeOnnx, int, ints, type OnnxAttribute, onnxModel, onnxNode, onnxValue } from '@gossamer/tensor/onnx';
import { gemm } from '../src/kernels/dense.ts';
import { convolution } from '../src/kernels/dense-convolution.ts';
import { type Bench, bench } from '../src/kernels/testing.ts';

interface Case {
  readonly name: string;
  /** Floating-point operations: two for each multiply-add. */
  readonly flops: number;
  readonly input: readonly number[];
  readonly weight: Float32Array;
  readonly weightDims: readonly number[];
  readonly output: readonly number[];
  readonly op: 'Conv' | 'MatMul';
  readonly attributes: Record<string, OnnxAttribute>;
  emit(e: Bench, x: number, y: number): void;
}

const random = (length: number) => Float32Array.from({ length }, () => Math.random() - 0.5);

/** `in→out k×k/s @size`, or `dw` for depthwise; pads keep the size (divided by the stride). */
function conv(network: string, channels: number, out: number, size: number, kernel = 1, stride = 1, groups = 1): Case {
  const [pad, outSize] = [kernel >> 1, Math.ceil(size / stride)];
  const weightDims = [out, channels / groups, kernel, kernel];
  const weight = random(weightDims.reduce((a, b) => a * b));
  const kind = groups > 1 ? 'dw' : `${channels}→${out}`;
  const name = `${network} ${kind} ${kernel}×${kernel}/${stride} ${groups > 1 ? `${channels}×` : '@'}${size}²`;
  const geometry = {
    ...{ batch: 1, channels, height: size, width: size, outChannels: out, groups, dilations: [1, 1] as const },
    ...{ kernel: [kernel, kernel] as const, strides: [stride, stride] as const, pads: [pad, pad, pad, pad] as const },
    ...{ outHeight: outSize, outWidth: outSize },
  };
  return {
    ...{ name, weight, weightDims, op: 'Conv', input: [1, channels, size, size], output: [1, out, outSize, outSize] },
    flops: 2 * weight.length * outSize * outSize,
    attributes: {
      kernel_shape: ints([kernel, kernel]),
      strides: ints([stride, stride]),
      pads: ints([pad, pad, pad, pad]),
      group: int(groups),
    },
    emit: (e, x, y) => convolution(e, { data: weight, key: name }, geometry, { x, y }),
  };
}

function linear(network: string, m: number, k: number, n: number): Case {
  const weight = random(k * n);
  const name = `${network} ${m}×${k} · ${k}×${n}`;
  return {
    ...{ name, weight, weightDims: [k, n], op: 'MatMul', input: [m, k], output: [m, n], attributes: {} },
    flops: 2 * m * k * n,
    emit: (e, x, y) => gemm(e, { m, n, k, a: { at: x }, b: { data: weight, key: name }, c: { at: y } }),
  };
}

const CASES: readonly (() => Case)[] = [
  () => conv('MobileNet', 3, 32, 224, 3, 2),
  () => conv('MobileNet', 32, 64, 112),
  () => conv('MobileNet', 128, 128, 56),
  () => conv('MobileNet', 256, 256, 28),
  () => conv('MobileNet', 512, 512, 14),
  () => conv('MobileNet', 1024, 1024, 7),
  () => conv('MobileNetV2', 96, 24, 56),
  () => conv('MobileNetV2', 24, 144, 56),
  () => conv('MobileNetV2', 576, 96, 14),
  () => conv('MobileNet', 32, 32, 112, 3, 1, 32),
  () => conv('MobileNet', 64, 64, 112, 3, 2, 64),
  () => conv('MobileNet', 128, 128, 56, 3, 1, 128),
  () => conv('MobileNet', 256, 256, 28, 3, 1, 256),
  () => conv('MobileNet', 512, 512, 14, 3, 1, 512),
  () => conv('MobileNet', 512, 512, 14, 3, 2, 512),
  () => conv('MobileNet', 1024, 1024, 7, 3, 1, 1024),
  () => conv('MobileNetV3', 240, 240, 28, 5, 2, 240),
  () => conv('MobileNetV3', 672, 672, 14, 5, 1, 672),
  () => conv('ResNet-50', 3, 64, 224, 7, 2),
  () => conv('ResNet-50', 64, 64, 56, 3),
  () => conv('ResNet-50', 128, 128, 28, 3),
  () => conv('ResNet-50', 256, 256, 14, 3),
  () => conv('ResNet-50', 512, 512, 7, 3),
  () => conv('ResNet-50', 64, 256, 56),
  () => conv('ResNet-50', 256, 512, 56, 1, 2),
  () => conv('ResNet-50', 512, 2048, 7),
  () => linear('BERT', 128, 768, 768),
  () => linear('BERT', 128, 768, 3072),
  () => linear('BERT', 128, 3072, 768),
  () => linear('decode', 1, 768, 2048),
  () => linear('decode', 1, 2048, 768),
];

/** Milliseconds of one call: each sample takes at least a millisecond. */
async function sample(call: () => unknown, calls: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < calls; i++) await call();
  return (performance.now() - start) / calls;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1];

interface Runtime {
  readonly Tensor: new (type: string, data: Float32Array, dims: readonly number[]) => unknown;
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
  readonly env: { wasm: { numThreads: number } };
}
interface Session {
  run(feeds: object): Promise<unknown>;
  release(): Promise<void>;
}

async function runtime(name: 'onnxruntime-web' | 'onnxruntime-node'): Promise<Runtime> {
  const module = await import(name);
  return module.InferenceSession ? module : module.default;
}

function session(ort: Runtime, c: Case, provider: string): Promise<Session> {
  const bytes = encodeOnnx(
    onnxModel({
      name: 'one',
      inputs: [onnxValue('x', 'float32', [...c.input])],
      outputs: [onnxValue('y', 'float32', [...c.output])],
      initializers: new Map([['w', { dtype: 'float32', shape: [...c.weightDims], data: c.weight }]]),
      nodes: [onnxNode(c.op, ['x', 'w'], ['y'], c.attributes)],
    }),
  );
  const options = { executionProviders: [provider], intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 };
  return ort.InferenceSession.create(bytes, options);
}

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, simd: { type: 'boolean' } },
});
const web = await runtime('onnxruntime-web');
const node = await runtime('onnxruntime-node');
web.env.wasm.numThreads = 1;
const build = flags.simd ? 'simd' : 'relaxed';

const rows: Record<string, string | number>[] = [];
for (const make of CASES) {
  const c = make();
  if (positionals.length > 0 && !positionals.some(part => c.name.includes(part))) continue;
  const e = await bench(build);
  const x = random(c.input.reduce((a, b) => a * b));
  c.emit(e, e.put(x), e.floats(c.output.reduce((a, b) => a * b)));
  const steps = e.take();
  const ours = () => {
    for (const step of steps) step();
  };
  // Twelve multiply-adds of four floats in each iteration.
  const peakIterations = 20000;
  const peak = () => e.kernels.peak(peakIterations);
  const contenders = [ours, peak];
  const sessions = [await session(web, c, 'wasm'), await session(node, c, 'cpu')];
  for (const [i, ort] of [web, node].entries()) {
    const feeds = { x: new ort.Tensor('float32', x, c.input) };
    contenders.push(() => sessions[i].run(feeds) as never);
  }
  const calls: number[] = [];
  for (const contender of contenders) {
    // Also long enough for the engine's optimising compiler.
    const warm = await sample(contender, 3);
    const again = await sample(contender, Math.min(2000, Math.max(20, Math.ceil(60 / warm))));
    calls.push(Math.max(1, Math.ceil(1 / again)));
  }
  const samples: number[][] = contenders.map(() => []);
  for (let round = 0; round < 25; round++) {
    for (const [i, contender] of contenders.entries()) samples[i].push(await sample(contender, calls[i]));
  }
  const [time, peakTime, webTime, nodeTime] = samples.map(median);
  const peakRate = (96 * peakIterations) / peakTime / 1e6;
  const rate = c.flops / time / 1e6;
  for (const s of sessions) await s.release();
  rows.push({
    name: c.name,
    ms: time,
    gflops: rate,
    ofPeak: rate / peakRate,
    web: webTime / time,
    node: nodeTime / time,
  });
  if (!flags.json) {
    const digits = (v: number, n: number) => v.toFixed(n).padStart(7);
    if (rows.length === 1) console.log(`${''.padEnd(34)}     ms  GFLOP/s  of peak   × web  × node   (${build})`);
    console.log(
      `${c.name.padEnd(34)}${digits(time, 3)}  ${digits(rate, 1)}  ${digits((100 * rate) / peakRate, 0)} % ${digits(webTime / time, 2)} ${digits(nodeTime / time, 2)}`,
    );
  }
}
if (flags.json) console.log(JSON.stringify({ build, rows }, null, 2));
