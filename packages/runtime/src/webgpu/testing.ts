/** What the tests of the WebGPU back end run inside a page: products on the device against plain ones. */
import { createGpu, type Gpu, type MultiplyOptions, type Pattern, type Weight } from './gpu.ts';

/** Uniform numbers in [−1, 1) from a seed (mulberry32). */
export function generator(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

/** A random matrix that a pattern can hold; csr and blocks keep `density`, and one row or group in eight is empty. */
export function randomWeight(
  random: () => number,
  rows: number,
  cols: number,
  pattern: Pattern,
  density = 0.3,
): Weight {
  const data = new Float32Array(rows * cols);
  const keep = () => random() < density * 2 - 1;
  if (typeof pattern === 'object' && 'm' in pattern) {
    const { n, m } = pattern;
    for (let row = 0; row < rows; row++) {
      for (let start = 0; start < cols; start += m) {
        for (let i = 0; i < n; i++) {
          const col = start + Math.floor(((random() + 1) / 2) * m);
          if (col < cols) data[row * cols + col] = random();
        }
      }
    }
  } else {
    const group = pattern === 'dense' || pattern === 'csr' ? 1 : pattern.block;
    for (let first = 0; first < rows; first += group) {
      if (pattern !== 'dense' && (first / group) % 8 === 5) continue;
      for (let col = 0; col < cols; col++) {
        if (pattern !== 'dense' && !keep()) continue;
        for (let row = first; row < Math.min(first + group, rows); row++) data[row * cols + col] = random();
      }
    }
  }
  const bias = random() < 0 ? Float32Array.from({ length: rows }, random) : undefined;
  return { data, rows, cols, pattern, bias };
}

/** Y = clamp(W · X + bias + residual, lo, hi) by its definition, in float64. */
function plain({ data, rows, cols, bias }: Weight, x: Float32Array, pixels: number, options: MultiplyOptions) {
  const { layout, batch = 1, residual, lo = -Infinity, hi = Infinity } = options;
  const y = new Float64Array(batch * rows * pixels);
  const place = (b: number, channels: number, c: number, p: number) =>
    layout === 'columns' ? (b * channels + c) * pixels + p : (b * pixels + p) * channels + c;
  for (let b = 0; b < batch; b++) {
    for (let r = 0; r < rows; r++) {
      for (let p = 0; p < pixels; p++) {
        const at = place(b, rows, r, p);
        let sum = (bias?.[r] ?? 0) + (residual?.[at] ?? 0);
        for (let c = 0; c < cols; c++) sum += data[r * cols + c] * x[place(b, cols, c, p)];
        y[at] = Math.min(Math.max(sum, lo), hi);
      }
    }
  }
  return y;
}

/** The largest difference, relative to 1 where values are small; NaN if the lengths differ. */
function difference(found: Float32Array, wanted: ArrayLike<number>): number {
  if (found.length !== wanted.length) return Number.NaN;
  let worst = 0;
  for (let i = 0; i < found.length; i++) {
    const error = Math.abs(found[i] - wanted[i]) / Math.max(1, Math.abs(wanted[i]));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

export interface Case {
  readonly name: string;
  readonly error: number;
}

const fill = (random: () => number, length: number) => Float32Array.from({ length }, random);

async function one(
  gpu: Gpu,
  random: () => number,
  weight: Weight,
  pixels: number,
  options: MultiplyOptions,
  withResidual: boolean,
): Promise<Case> {
  const { rows, cols } = weight;
  const { batch = 1, layout, lo, hi } = options;
  const x = fill(random, batch * cols * pixels);
  const residual = withResidual ? fill(random, batch * rows * pixels) : undefined;
  const matrix = gpu.matrix(weight);
  const all = { ...options, residual };
  const found = await matrix.multiply(x, pixels, all);
  matrix.release();
  const name = `${layout}: ${rows} × ${cols} · ${pixels}, batch ${batch}, bias ${!!weight.bias}, residual ${withResidual}, [${lo}, ${hi}]`;
  return { name, error: difference(found, plain(weight, x, pixels, all)) };
}

/** Every size around the tiles' edges in turn, with changing layouts, batches and epilogues. */
async function products(gpu: Gpu, pattern: Pattern): Promise<Case[]> {
  const random = generator(7);
  const rows = [1, 63, 64, 65, 130, 33, 16, 3];
  const cols = [1, 15, 16, 17, 63, 64, 65, 131, 40];
  const cases: Case[] = [];
  for (const [i, pixels] of [1, 2, 4, 5, 15, 16, 17, 63, 64, 65, 129, 1, 4, 49].entries()) {
    for (const layout of ['columns', 'rows'] as const) {
      const weight = randomWeight(random, rows[(i * 5 + 3) % 8], cols[(i * 4 + cases.length) % 9], pattern);
      const bounds = [{}, { lo: 0 }, { lo: -0.5, hi: 0.5 }, { hi: 0.25 }][i % 4];
      cases.push(await one(gpu, random, weight, pixels, { layout, batch: 1 + (i % 3), ...bounds }, i % 2 === 1));
    }
  }
  // Nothing to sum, and more columns than several panels.
  cases.push(await one(gpu, random, randomWeight(random, 5, 0, pattern), 7, { layout: 'columns', lo: 0 }, true));
  cases.push(await one(gpu, random, randomWeight(random, 70, 515, pattern, 0.1), 20, { layout: 'rows' }, false));
  return cases;
}

/** Operands larger than a buffer of 6000 bytes. */
async function pieces(pattern: Pattern): Promise<Case[]> {
  const gpu = (await createGpu({ maxBufferBytes: 6000 }))!;
  const random = generator(11);
  const cases: Case[] = [];
  for (const layout of ['columns', 'rows'] as const) {
    for (const [rows, cols, pixels, batch] of [
      [70, 33, 40, 1],
      [33, 70, 9, 3],
      [20, 20, 20, 5],
      [20, 30, 60, 2],
    ]) {
      const weight = { ...randomWeight(random, rows, cols, pattern), bias: fill(random, rows) };
      cases.push(await one(gpu, random, weight, pixels, { layout, batch, lo: -1 }, true));
    }
  }
  gpu.release();
  return cases;
}

async function matmuls(gpu: Gpu, small: Gpu): Promise<Case[]> {
  const random = generator(13);
  const cases: Case[] = [];
  const sizes = [
    [1, 1, 1, 1],
    [65, 33, 17, 1],
    [1, 70, 129, 1],
    [7, 16, 64, 3],
    [16, 5, 17, 2],
    [64, 64, 64, 2],
    [70, 15, 3, 4],
    [4, 0, 5, 2],
    [0, 3, 5, 2],
    [20, 20, 20, 9],
  ];
  for (const [i, [m, k, n, batch]] of sizes.entries()) {
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const aBatch = i % 3 === 1 ? 1 : batch;
        const bBatch = i % 3 === 2 ? 1 : batch;
        const [a, b] = [fill(random, aBatch * m * k), fill(random, bBatch * k * n)];
        const wanted = new Float64Array(batch * m * n);
        for (let s = 0; s < batch; s++) {
          for (let r = 0; r < m; r++) {
            for (let c = 0; c < n; c++) {
              for (let j = 0; j < k; j++) {
                const [left, right] = [transposeA ? j * m + r : r * k + j, transposeB ? c * k + j : j * n + c];
                wanted[(s * m + r) * n + c] += a[(s % aBatch) * m * k + left] * b[(s % bBatch) * k * n + right];
              }
            }
          }
        }
        const found = await (k === 20 ? small : gpu).matmul(a, b, { m, k, n, batch, transposeA, transposeB });
        const name = `${aBatch} · [${m} × ${k}]${transposeA ? 'ᵀ' : ''} · ${bBatch} · [${k} × ${n}]${transposeB ? 'ᵀ' : ''}`;
        cases.push({ name, error: difference(found, wanted) });
      }
    }
  }
  return cases;
}

/** Many products at once, of one matrix and of several, on memory shared with WebAssembly. */
async function concurrent(gpu: Gpu): Promise<Case[]> {
  const random = generator(17);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const weights = (['dense', 'csr', { block: 2 }] as const).map(pattern => randomWeight(random, 40, 30, pattern));
  const matrices = weights.map(weight => gpu.matrix(weight));
  const options = { layout: 'columns' } as const;
  const cases = Array.from({ length: 24 }, async (_, i) => {
    const x = new Float32Array(memory.buffer, i * 2400, 600).map(random);
    const shared = new Float32Array(memory.buffer, i * 2400, 600);
    shared.set(x);
    const found = await matrices[i % 3].multiply(shared, 20, options);
    return { name: `product ${i}`, error: difference(found, plain(weights[i % 3], x, 20, options)) };
  });
  return Promise.all(cases);
}

async function messageOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'no error';
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
}

/** What the caller reads when something is wrong. */
async function messages(): Promise<Record<string, string>> {
  let lose = () => {};
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    const device = await request.call(this, descriptor);
    lose = () => device.destroy();
    return device;
  };
  const gpu = (await createGpu({ maxBufferBytes: 6000 }))!;
  GPUAdapter.prototype.requestDevice = request;
  const weight: Weight = { data: new Float32Array(6).fill(1), rows: 2, cols: 3, pattern: 'dense' };
  const options = { layout: 'columns' } as const;
  const matrix = gpu.matrix(weight);
  const released = gpu.matrix(weight);
  released.release();
  const found: Record<string, string> = {
    data: await messageOf(() => gpu.matrix({ ...weight, rows: 3 })),
    bias: await messageOf(() => gpu.matrix({ ...weight, bias: new Float32Array(3) })),
    x: await messageOf(() => matrix.multiply(new Float32Array(5), 2, options)),
    residual: await messageOf(() =>
      matrix.multiply(new Float32Array(6), 2, { ...options, residual: new Float32Array(5) }),
    ),
    matmul: await messageOf(() => gpu.matmul(new Float32Array(5), new Float32Array(4), { m: 2, k: 2, n: 2 })),
    large: await messageOf(() => gpu.matmul(new Float32Array(1600), new Float32Array(1600), { m: 40, k: 40, n: 40 })),
    wide: await messageOf(() => gpu.matrix({ data: new Float32Array(2000), rows: 1, cols: 2000, pattern: 'dense' })),
    released: await messageOf(() => released.multiply(new Float32Array(3), 1, options)),
  };
  const running = messageOf(() => matrix.multiply(new Float32Array(3), 1, options));
  lose();
  found.losing = await running;
  found.lost = await messageOf(() => matrix.multiply(new Float32Array(3), 1, options));
  const other = (await createGpu())!;
  other.release();
  found.end = await messageOf(() => other.matrix(weight));
  return found;
}

/** Everything, or undefined when the page has no adapter. */
export async function report(patterns: readonly Pattern[]) {
  const gpu = await createGpu();
  if (!gpu) return undefined;
  const small = (await createGpu({ maxBufferBytes: 6000 }))!;
  const cases: Record<string, Case[]> = {};
  for (const pattern of patterns) {
    const key = JSON.stringify(pattern);
    cases[key] = await products(gpu, pattern);
    cases[`${key} in pieces`] = await pieces(pattern);
  }
  cases.matmul = await matmuls(gpu, small);
  cases.concurrent = await concurrent(gpu);
  const { name } = gpu;
  gpu.release();
  small.release();
  return { name, cases, messages: await messages() };
}
