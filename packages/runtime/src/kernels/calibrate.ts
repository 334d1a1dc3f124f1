/** Measures what kernels cost on this machine, in a fraction of a second. */
import type { Emitter } from '../plan/emitter.ts';
import { amounts, type Product, type ProductKind, type Rate, type Rates, type Variant } from './cost.ts';
import { gemm } from './dense.ts';
import { convolution } from './dense-convolution.ts';
import type { Kernels } from './module.ts';
import type { Pattern } from './pattern.ts';
import { reduce } from './reduce.ts';
import { type SparseWeights, sparseProduct, sparseTokens, sparseVector } from './sparse.ts';
import { sparseConvolution } from './sparse-convolution.ts';

/** Memory that calibration may overwrite: 40 MB. */
export interface Region {
  readonly memory: WebAssembly.Memory;
  /** Bytes. */
  readonly address: number;
  readonly bytes: number;
}

/** An emitter on a region that is forgotten after each product. */
function recorder(
  kernels: Kernels,
  { memory, address, bytes }: Region,
): Emitter & { steps: (() => void)[]; reset(): void } {
  let top = address;
  const scratch = (size: number) => {
    const at = Math.ceil(top / 64) * 64;
    top = at + size + 64;
    if (top > address + bytes) throw new RangeError(`calibration needs more than ${bytes} bytes`);
    return at;
  };
  const steps: (() => void)[] = [];
  return {
    threads: 1,
    steps,
    scratch,
    constant(_, make) {
      const view = make();
      const at = scratch(view.byteLength);
      const source = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      new Uint8Array(memory.buffer, at, view.byteLength).set(source);
      return at;
    },
    step: (kernel, ...args) => void steps.push(() => kernels[kernel](...(args as number[]), 0, 1)),
    reset() {
      top = address;
      steps.length = 0;
    },
  };
}

const MOST_ROUNDS = 8;
const SIZE = 14;
const TOKENS = 96;

const geometryOf = (channels: number, outChannels: number) => ({
  ...{ batch: 1, channels, outChannels, height: SIZE, width: SIZE, outHeight: SIZE, outWidth: SIZE, groups: 1 },
  ...({ kernel: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1] } as const),
});

/** [rows, cols, density] of the three products that settle a rate's three unknowns. */
const SAMPLES: Record<'full' | 'sparse', readonly (readonly [number, number, number])[]> = {
  full: [
    [144, 144, 1],
    [144, 36, 1],
    [24, 144, 1],
  ],
  sparse: [
    [144, 144, 0.4],
    [144, 144, 0.05],
    [16, 144, 0.05],
  ],
};

/** Matrices for single vectors are larger by this factor: they are read from beyond the caches, once for each vector. */
const STREAMED = 6;

const samples = new Map<string, Float32Array>();

/** Weights with about a density, whose zeros fit blocks of 4 rows, or 2 of every 4 columns. */
function sample(rows: number, cols: number, density: number, variant: Variant): Float32Array {
  const name = [rows, cols, density, variant].join();
  const known = samples.get(name);
  if (known) return known;
  const weight = new Float32Array(rows * cols);
  for (let i = 0, state = 1; i < weight.length; i++) {
    const [row, col] = [Math.floor(i / cols), i % cols];
    const unit = variant === 'block' ? Math.floor(row / 4) * cols + col : i;
    // A hash of the unit's number: the same for all rows of a block.
    state = Math.imul(unit + 1, 0x9e3779b1) >>> 0;
    state = Math.imul(state ^ (state >>> 15), 0x85ebca6b) >>> 0;
    const kept = variant === 'grouped' ? col % 4 < 2 : (state ^ (state >>> 13)) >>> 0 < density * 2 ** 32;
    if (kept) weight[i] = 1 / 64;
  }
  samples.set(name, weight);
  return weight;
}

const PATTERNS: Record<Exclude<Variant, 'dense'>, Pattern> = {
  csr: { kind: 'csr' },
  block: { kind: 'block', rows: 4 },
  grouped: { kind: 'nm', n: 2, m: 4 },
};

/** Emits the product and returns what it amounts to. */
function emit(e: Emitter, kind: ProductKind, variant: Variant, rows: number, cols: number, density: number): Product {
  const weight = sample(rows, cols, density, variant);
  const uses = kind === 'vector' ? 1 : kind === 'tokens' ? TOKENS : SIZE * SIZE;
  const [x, y] = [e.scratch(cols * uses * 4), e.scratch(rows * uses * 4)];
  const channels = kind === 'window' ? cols / 9 : cols;
  const geometry = geometryOf(channels, rows);
  if (variant === 'dense') {
    if (kind === 'window') convolution(e, { data: weight, key: '' }, geometry, { x, y });
    else if (kind === 'pixels') {
      const unit = { ...geometry, kernel: [1, 1] as const, pads: [0, 0, 0, 0] as const };
      convolution(e, { data: weight, key: '' }, unit, { x, y });
    } else gemm(e, { m: uses, n: rows, k: cols, a: { at: x }, b: { data: weight, key: '' }, c: { at: y } });
  } else {
    const weights: SparseWeights = {
      weight,
      rows,
      cols,
      rowStride: cols,
      colStride: 1,
      pattern: PATTERNS[variant],
      key: '',
    };
    if (kind === 'window') sparseConvolution(e, weights, { x, y, geometry });
    else if (kind === 'pixels') sparseProduct(e, weights, { x, y, pixels: uses });
    else (kind === 'vector' ? sparseVector : sparseTokens)(e, weights, { x, y, tokens: uses });
  }
  return { kind, rows, cols, uses, nonzeros: weight.reduce((n, w) => n + (w === 0 ? 0 : 1), 0) };
}

const between = (value: number, low: number, high: number) => Math.min(Math.max(value, low), high);

/**
 * The rate with amounts · rate ≈ nanoseconds for three samples: the first two settle what a multiply-add costs, the third
 * how the rest divides into outputs and inputs. Noise must not make a part negative or all of it.
 */
function solve(a: readonly Rate[], t: readonly number[]): Rate {
  const whole = t[0] / a[0][0];
  const multiplyAdd = between((t[0] - t[1]) / (a[0][0] - a[1][0]), 0.4 * whole, whole);
  const [first, last] = [0, 2].map(i => Math.max(0, t[i] - multiplyAdd * a[i][0]));
  const [, outputs, inputs] = a[0];
  const ratio = a[2][2] / inputs;
  const output = between((last - ratio * first) / (a[2][1] - ratio * outputs), 0, first / outputs);
  // Where outputs take all of it, rounding can leave less than nothing.
  return [multiplyAdd, output, Math.max(0, first - output * outputs) / inputs];
}

/** Floats that no cache of a core holds. */
const FAR = 8 << 20;

/** Nanoseconds to read a byte of memory that was used long ago, at the pace of a sum. */
function streaming(e: ReturnType<typeof recorder>, run: () => void): number {
  e.reset();
  reduce(e, 'sum', { x: e.scratch(FAR * 4), y: e.scratch(4), outer: 1, n: FAR });
  let best = Number.POSITIVE_INFINITY;
  for (let trial = 0; trial < 6; trial++) {
    const start = performance.now();
    run();
    best = Math.min(best, performance.now() - start);
  }
  return (best * 1e6) / (FAR * 4);
}

const variantsOf = (kind: ProductKind): readonly Variant[] =>
  kind === 'vector' ? ['dense', 'csr', 'block', 'grouped'] : ['dense', 'csr', 'block'];

/**
 * Measures the kernels on one thread. Waits a little in between, for the engine to optimise them. The region's contents
 * are lost.
 */
export async function calibrate(kernels: Kernels, region: Region): Promise<Rates> {
  new Uint8Array(region.memory.buffer, region.address, region.bytes).fill(0);
  const e = recorder(kernels, region);
  const products = (['pixels', 'window', 'tokens', 'vector'] as const).flatMap(kind =>
    variantsOf(kind).map(variant => ({ kind, variant, name: `${kind} ${variant}` })),
  );
  const run = () => {
    for (const step of e.steps) step();
  };
  const found = new Map<string, { amounts: Rate; nanoseconds: number }[]>();
  // The engine runs quick code first, and better code once that is compiled: until nothing gets faster any more.
  for (let round = 0, before = Number.POSITIVE_INFINITY; round < MOST_ROUNDS; round++) {
    for (const { kind, variant, name } of products) {
      const sizes = SAMPLES[variant === 'dense' || variant === 'grouped' ? 'full' : 'sparse'];
      const measured = sizes.map(([rows, cols, density], i) => {
        e.reset();
        const factor = kind === 'vector' ? STREAMED : 1;
        const product = emit(e, kind, variant, rows * factor, cols * factor, density);
        const repeats = kind === 'vector' ? 4 : 1;
        let nanoseconds = found.get(name)?.[i].nanoseconds ?? Number.POSITIVE_INFINITY;
        for (let trial = 0; trial < 5; trial++) {
          const start = performance.now();
          for (let k = 0; k < repeats; k++) run();
          nanoseconds = Math.min(nanoseconds, ((performance.now() - start) / repeats) * 1e6);
        }
        return { amounts: amounts(product), nanoseconds };
      });
      found.set(name, measured);
    }
    const sum = [...found.values()].flat().reduce((total, sample) => total + sample.nanoseconds, 0);
    if (round > 1 && sum > 0.95 * before) break;
    before = sum;
    await new Promise(done => setTimeout(done, 20));
  }
  samples.clear();
  const stream = streaming(e, run);
  const rate = (measured: { amounts: Rate; nanoseconds: number }[]) =>
    solve(
      measured.map(s => s.amounts),
      measured.map(s => s.nanoseconds),
    );
  const rates = [...found].map(([name, measured]): [string, Rate] => [name, rate(measured)]);
  return Object.fromEntries([...rates, ['stream', [stream, 0, 0]]]);
}

/**
 * Whether the engine joins pairs of vector operations to 256 bits (V8 with `--experimental-wasm-revectorize`): the wide
 * tiles of `SparseWeights.wide` must be at least a fifth faster than the others, and give the same result.
 */
export async function isWide(kernels: Kernels, region: Region): Promise<boolean> {
  const e = recorder(kernels, region);
  const [rows, cols, pixels] = [64, 64, 480];
  const weight = sample(rows, cols, 0.5, 'block');
  const [x, ...results] = [cols, rows, rows].map(n => e.scratch(n * pixels * 4) as number);
  new Float32Array(region.memory.buffer, x, cols * pixels).forEach((_, i, values) => {
    values[i] = (i % 97) / 97;
  });
  results.forEach((y, i) => {
    const weights: SparseWeights = {
      weight,
      rows,
      cols,
      rowStride: cols,
      colStride: 1,
      pattern: PATTERNS.block,
      key: '',
      wide: i === 1,
    };
    sparseProduct(e, weights, { x, y, pixels });
  });
  const best = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let round = 0; round < 60; round++) {
    e.steps.forEach((step, i) => {
      const start = performance.now();
      step();
      best[i] = Math.min(best[i], performance.now() - start);
    });
    if (round === 30) await new Promise(done => setTimeout(done, 20));
  }
  const [narrow, wide] = results.map(y => new Int32Array(region.memory.buffer, y, rows * pixels));
  return best[1] * 1.2 < best[0] && wide.every((bits, i) => bits === narrow[i]);
}
