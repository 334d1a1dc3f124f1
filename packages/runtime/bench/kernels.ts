// Sparse kernels on one thread, beside the machine's 128-bit peak and onnxruntime-node's dense kernel on one thread:
// node bench/kernels.ts [--json] [--simd] [--revectorize] [--rounds 15] [--best] [filter]
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { encodeOnnx, int, ints, type OnnxAttribute, onnxModel, onnxNode, onnxValue } from '@gossamer/tensor/onnx';
import * as ort from 'onnxruntime-node';
import type { Pattern } from '../src/kernels/pattern.ts';
import { type SparseWeights, sparseProduct, sparseTokens, sparseVector } from '../src/kernels/sparse.ts';
import { sparseConvolution } from '../src/kernels/sparse-convolution.ts';
import { type Bench, bench } from '../src/kernels/testing.ts';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean' },
    simd: { type: 'boolean' },
    revectorize: { type: 'boolean' },
    rounds: { type: 'string', default: '15' },
    // Least times instead of medians: for a machine that others use.
    best: { type: 'boolean' },
  },
});
// Before any module is compiled.
if (options.revectorize) setFlagsFromString('--experimental-wasm-revectorize');

interface Case {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  /** Times that each weight is used. */
  readonly uses: number;
  readonly input: readonly number[];
  readonly output: readonly number[];
  /** The dense ONNX operator with weights [rows, cols]. */
  readonly op: 'Conv' | 'MatMul';
  readonly weightDims: readonly number[];
  readonly attributes: Record<string, OnnxAttribute>;
  readonly patterns: readonly Pattern[];
  emit(e: Bench, weights: SparseWeights, x: number, y: number): void;
}

const CSR: Pattern = { kind: 'csr' };
const blocks = (...rows: number[]): Pattern[] => rows.map(r => ({ kind: 'block', rows: r }));

function conv(network: string, channels: number, rows: number, size: number, kernel = 1, stride = 1): Case {
  const [pad, out] = [kernel >> 1, Math.ceil(size / stride)];
  const pair = (n: number) => [n, n] as const;
  const geometry = {
    ...{ batch: 1, channels, height: size, width: size, groups: 1, pads: [pad, pad, pad, pad] as const },
    ...{ kernel: pair(kernel), strides: pair(stride), dilations: pair(1) },
  };
  const direct = kernel === 1 && stride === 1;
  return {
    name: `${network} ${channels}→${rows} ${kernel}×${kernel}${stride > 1 ? `/${stride}` : ''} @${size}²`,
    ...{ rows, cols: channels * kernel * kernel, uses: out * out, op: 'Conv' },
    ...{ input: [1, channels, size, size], output: [1, rows, out, out], weightDims: [rows, channels, kernel, kernel] },
    attributes: { strides: ints([stride, stride]), pads: ints([pad, pad, pad, pad]), group: int(1) },
    patterns: [CSR, ...blocks(2, 4)],
    emit: (e, weights, x, y) =>
      direct
        ? sparseProduct(e, weights, { x, y, pixels: size * size })
        : sparseConvolution(e, weights, { x, y, geometry }),
  };
}

function linear(network: string, tokens: number, cols: number, rows: number): Case {
  return {
    name: `${network} ${tokens} × ${cols}→${rows}`,
    ...{ rows, cols, uses: tokens, input: [tokens, cols], output: [tokens, rows], op: 'MatMul', attributes: {} },
    weightDims: [cols, rows],
    patterns: [CSR, ...blocks(4), ...(tokens === 1 ? ([{ kind: 'nm', n: 2, m: 4 }] as const) : [])],
    emit: (e, weights, x, y) => (tokens === 1 ? sparseVector : sparseTokens)(e, weights, { x, y, tokens }),
  };
}

const CASES: readonly Case[] = [
  conv('MobileNet', 32, 64, 112),
  conv('MobileNet', 64, 128, 56),
  conv('MobileNet', 128, 128, 56),
  conv('MobileNet', 256, 256, 28),
  conv('MobileNet', 512, 512, 14),
  conv('MobileNet', 1024, 1024, 7),
  conv('MobileNetV2', 24, 144, 56),
  conv('MobileNetV2', 576, 96, 14),
  conv('ResNet-50', 64, 256, 56),
  conv('ResNet-50', 1024, 256, 14),
  conv('ResNet-50', 2048, 512, 7),
  conv('ResNet-50', 256, 512, 56, 1, 2),
  conv('ResNet-50', 64, 64, 56, 3),
  conv('ResNet-50', 128, 128, 28, 3),
  conv('ResNet-50', 256, 256, 14, 3),
  conv('ResNet-50', 512, 512, 7, 3),
  conv('ResNet-50', 128, 128, 56, 3, 2),
  linear('BERT', 128, 768, 768),
  linear('BERT', 128, 768, 3072),
  linear('BERT', 128, 3072, 768),
  linear('decode', 8, 768, 2048),
  linear('decode', 1, 768, 2048),
  linear('decode', 1, 2048, 768),
  linear('decode', 1, 4096, 4096),
];
const DENSITIES = [0.5, 0.3, 0.2, 0.1, 0.05];

/** Random weights [rows, cols] with exactly the zeros of a pattern and round(density · blocks) blocks of it. */
function weightsOf({ rows, cols }: Case, pattern: Pattern, density: number): Float32Array {
  const weight = new Float32Array(rows * cols);
  if (pattern.kind === 'nm') {
    const { n, m } = pattern;
    for (let i = 0; i < weight.length; i += m) {
      const start = Math.floor(Math.random() * m);
      for (let k = 0; k < n; k++) weight[i + ((start + k) % m)] = Math.random() - 0.5;
    }
    return weight;
  }
  const height = pattern.kind === 'block' ? pattern.rows : 1;
  const units = (rows / height) * cols;
  for (let left = Math.round(density * units); left > 0; ) {
    const unit = Math.floor(Math.random() * units);
    const at = Math.floor(unit / cols) * height * cols + (unit % cols);
    if (weight[at] !== 0) continue;
    for (let r = 0; r < height; r++) weight[at + r * cols] = Math.random() + 0.1;
    left--;
  }
  return weight;
}

async function denseSession(c: Case): Promise<() => Promise<unknown>> {
  const data = Float32Array.from({ length: c.rows * c.cols }, () => Math.random() - 0.5);
  const bytes = encodeOnnx(
    onnxModel(
      {
        name: 'one',
        inputs: [onnxValue('x', 'float32', [...c.input])],
        outputs: [onnxValue('y', 'float32', [...c.output])],
        initializers: new Map([['w', { dtype: 'float32' as const, shape: [...c.weightDims], data }]]),
        nodes: [onnxNode(c.op, ['x', 'w'], ['y'], c.attributes)],
      },
      { opsets: { '': 17 } },
    ),
  );
  const session = await ort.InferenceSession.create(bytes, { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const size = c.input.reduce((a, b) => a * b);
  const x = new ort.Tensor('float32', new Float32Array(size).fill(0.5), c.input);
  return () => session.run({ x });
}

const typical = (times: readonly number[]) => times.toSorted((a, b) => a - b)[options.best ? 0 : times.length >> 1];
const milliseconds = (run: () => void, repeats: number) => {
  const start = performance.now();
  for (let i = 0; i < repeats; i++) run();
  return (performance.now() - start) / repeats;
};

const runAll = (steps: readonly (() => void)[]) => {
  for (const step of steps) step();
};

interface Row {
  case: string;
  pattern: string;
  density: number;
  milliseconds: number;
  /** On the nonzeros. */
  gflops: number;
  peakShare: number;
  denseMilliseconds: number;
  speedup: number;
}

const nameOf = (p: Pattern) => (p.kind === 'csr' ? 'csr' : p.kind === 'block' ? `${p.rows}×1` : `${p.n}:${p.m}`);
const PEAK = 20_000;

async function measure(c: Case): Promise<Row[]> {
  const e = await bench(options.simd ? 'simd' : 'relaxed');
  const x = e.put(Float32Array.from({ length: c.input.reduce((a, b) => a * b) }, () => Math.random() - 0.5));
  const y = e.floats(c.output.reduce((a, b) => a * b));
  const variants = c.patterns.flatMap(pattern =>
    (pattern.kind === 'nm' ? [pattern.n / pattern.m] : DENSITIES).map(density => {
      const weight = weightsOf(c, pattern, density);
      const nonzeros = weight.reduce((count, value) => count + (value === 0 ? 0 : 1), 0);
      const key = `${nameOf(pattern)} ${density}`;
      const matrix = { weight, rows: c.rows, cols: c.cols, rowStride: c.cols, colStride: 1 };
      c.emit(e, { ...matrix, pattern, key, wide: options.revectorize ?? false }, x, y);
      const steps = e.take();
      return { pattern, density, flops: 2 * nonzeros * c.uses, run: () => runAll(steps) };
    }),
  );
  const dense = await denseSession(c);
  const peak = () => void e.kernels.peak(PEAK);
  // The engine replaces its first, quick code after some calls.
  for (let i = 0; i < 30; i++) for (const v of variants) v.run();
  for (let i = 0; i < 100; i++) peak();
  for (let i = 0; i < 3; i++) await dense();
  await new Promise(done => setTimeout(done, 200));
  const repeats = variants.map(v => Math.max(1, Math.round(1 / milliseconds(v.run, 2))));
  const times = variants.map(() => [] as number[]);
  const [peaks, denseTimes] = [[] as number[], [] as number[]];
  for (let round = 0; round < Number(options.rounds); round++) {
    peaks.push(milliseconds(peak, 1));
    await dense();
    const start = performance.now();
    await dense();
    denseTimes.push(performance.now() - start);
    for (const [i, v] of variants.entries()) times[i].push(milliseconds(v.run, repeats[i]));
  }
  return variants.map((v, i) => {
    const time = typical(times[i]);
    const gflops = v.flops / time / 1e6;
    const denseMilliseconds = typical(denseTimes);
    return {
      ...{ case: c.name, pattern: nameOf(v.pattern), density: v.density, milliseconds: time, gflops },
      ...{
        peakShare: (gflops * typical(peaks) * 1e6) / (12 * 8 * PEAK),
        denseMilliseconds,
        speedup: denseMilliseconds / time,
      },
    };
  });
}

const results: Row[] = [];
for (const c of CASES) {
  if (positionals.length > 0 && !positionals.some(part => c.name.includes(part))) continue;
  const rows = await measure(c);
  results.push(...rows);
  if (options.json) continue;
  console.log(`${c.name}   (onnxruntime-node, dense, one thread: ${rows[0].denseMilliseconds.toFixed(3)} ms)`);
  for (const r of rows) {
    const speed = `${r.gflops.toFixed(1).padStart(6)} GFLOP/s ${(100 * r.peakShare).toFixed(0).padStart(4)} % of peak`;
    const density = `${(100 * r.density).toFixed(0)} %`.padStart(5);
    console.log(
      `  ${r.pattern.padEnd(4)} ${density} ${r.milliseconds.toFixed(3).padStart(8)} ms ${speed}  ${r.speedup.toFixed(2)}×`,
    );
  }
}
if (options.json) console.log(JSON.stringify(results, null, 2));
