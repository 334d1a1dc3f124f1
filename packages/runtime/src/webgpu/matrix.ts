/** A weight matrix on the device and its products with activations of any size. */
import { check } from '../errors.ts';
import { type Device, STORAGE } from './device.ts';
import { launch, MOST_MATRICES, MOST_ROWS, type Part, type Strides } from './launch.ts';
import { checkWeight, groupOf, keptOf, pack, sparsityOf, type Weight } from './pack.ts';

export interface MultiplyOptions {
  /** columns: X is cols × pixels and Y rows × pixels (1×1 convolution). rows: X is pixels × cols, Y pixels × rows (tokens). */
  readonly layout: 'columns' | 'rows';
  /** Matrices X that follow each other in memory; default 1. */
  readonly batch?: number;
  /** Added to Y before it is bounded; has the shape of Y. */
  readonly residual?: Float32Array;
  /** Bounds of Y; default −∞ and ∞. */
  readonly lo?: number;
  readonly hi?: number;
}

/** A weight matrix on the device. */
export interface GpuMatrix {
  readonly rows: number;
  readonly cols: number;
  /** Bytes of the packed weight and its bias. */
  readonly bytes: number;
  /** Y = clamp(W · X + bias + residual, lo, hi). */
  multiply(x: Float32Array, pixels: number, options: MultiplyOptions): Promise<Float32Array>;
  release(): void;
}

/** Copies pixels `from` to `from + count` of every channel: into a new array (`whole` → part), or back. */
function slice(whole: Float32Array, pixels: number, from: number, count: number): Float32Array {
  const channels = whole.length / pixels;
  const part = new Float32Array(channels * count);
  for (let c = 0; c < channels; c++) part.set(whole.subarray(c * pixels + from, c * pixels + from + count), c * count);
  return part;
}
function paste(whole: Float32Array, pixels: number, from: number, part: Float32Array): void {
  const channels = whole.length / pixels;
  const count = part.length / channels;
  for (let c = 0; c < channels; c++) whole.set(part.subarray(c * count, (c + 1) * count), c * pixels + from);
}

interface Uploaded {
  readonly parts: readonly Part[];
  readonly buffers: readonly GPUBuffer[];
  /** Bytes of the packed weight and its bias. */
  readonly bytes: number;
  /** Fails with what the device refused. */
  readonly done: Promise<void>;
}

/** Packs and uploads a weight, in as many parts as its buffers' limit asks for. */
function upload(device: Device, weight: Weight): Uploaded {
  const { rows, cols, pattern, bias } = weight;
  const group = groupOf(pattern);
  // A row takes at most cols + 16 words of either buffer: padding to whole N:M blocks, or its group's start.
  const most = Math.floor((device.limit / 4 - 1) / (cols + 16));
  const step = Math.floor(Math.min(most, MOST_ROWS) / group) * group;
  check(
    step > 0,
    () =>
      `webgpu: ${group} rows of ${cols} weights exceed the largest buffer, ${device.limit} bytes; compute this layer with WebAssembly`,
  );
  const parts: Part[] = [];
  const buffers: GPUBuffer[] = [];
  let bytes = 0;
  const put = (data: Float32Array | Uint32Array) => {
    bytes += data.byteLength;
    const buffer = device.upload(data, STORAGE);
    buffers.push(buffer);
    return buffer;
  };
  const { done } = device.guard(() => {
    for (let from = 0; from < rows; from += step) {
      const to = Math.min(from + step, rows);
      const { values, index } = pack(weight, from, to);
      parts.push({
        from,
        rows: to - from,
        values: put(values),
        index: index && put(index),
        bias: bias && put(bias.subarray(from, to)),
      });
    }
  });
  done.catch(() => {}); // Reported by the products that wait for it.
  return { parts, buffers, bytes, done };
}

/** Puts a weight on the device. */
export function createMatrix(device: Device, weight: Weight): GpuMatrix {
  checkWeight(weight);
  const { rows, cols, pattern } = weight;
  const { parts, buffers, bytes, done } = upload(device, weight);
  const nm = sparsityOf(pattern);
  const w: Strides = [nm ? keptOf(nm, cols) : cols, 1, 0];
  let released = false;

  /** Activations that fit the device. */
  const product = (x: Float32Array, pixels: number, { layout, batch = 1, residual, lo, hi }: MultiplyOptions) => {
    const strides = (channels: number): Strides =>
      layout === 'columns' ? [pixels, 1, channels * pixels] : [1, channels, 0];
    return launch(device, {
      pattern,
      parts,
      cols,
      pixels,
      batch,
      w,
      x: strides(cols),
      y: strides(rows),
      input: x,
      residual,
      length: batch * rows * pixels,
      lo: lo ?? -Infinity,
      hi: hi ?? Infinity,
    });
  };

  async function multiply(x: Float32Array, pixels: number, options: MultiplyOptions): Promise<Float32Array> {
    const { residual, layout } = options;
    let { batch = 1 } = options;
    const sizes = (channels: number) => `${batch} · ${channels} × ${pixels}`;
    check(!released, 'webgpu: this matrix was released');
    check(x.length === batch * cols * pixels, () => `webgpu: x has ${x.length} values, expected ${sizes(cols)}`);
    const length = batch * rows * pixels;
    check(
      !residual || residual.length === length,
      () => `webgpu: the residual has ${residual!.length} values, expected ${sizes(rows)}`,
    );
    device.alive();
    await done;
    if (length === 0) return new Float32Array();
    if (layout === 'rows') {
      pixels *= batch;
      batch = 1;
    }
    const tallest = Math.max(rows, cols);
    const room = Math.floor(device.limit / (4 * tallest));
    check(room > 0, () => `webgpu: a column of ${tallest} values exceeds the largest buffer, ${device.limit} bytes`);
    // At a time: `samples` whole matrices, or `count` pixels of one.
    const count = Math.min(pixels, room, MOST_ROWS);
    const samples = count < pixels ? 1 : Math.min(batch, Math.floor(room / pixels), MOST_MATRICES);
    if (count === pixels && samples === batch) return product(x, pixels, { ...options, batch });

    const y = new Float32Array(length);
    const together = count === pixels || layout === 'rows';
    for (let b = 0; b < batch; b += samples) {
      for (let from = 0; from < pixels; from += count) {
        const size = { pixels: Math.min(count, pixels - from), batch: Math.min(samples, batch - b) };
        /** The part of X, Y or the residual with these pixels, where it lies together. */
        const view = (data: Float32Array, channels: number) => {
          const start = (b * pixels + from) * channels;
          return data.subarray(start, start + size.batch * size.pixels * channels);
        };
        const sample = (data: Float32Array, channels: number) =>
          data.subarray(b * channels * pixels, (b + 1) * channels * pixels);
        const cut = (data: Float32Array, channels: number) =>
          together ? view(data, channels) : slice(sample(data, channels), pixels, from, size.pixels);
        const piece = { ...options, batch: size.batch, residual: residual && cut(residual, rows) };
        const part = await product(cut(x, cols), size.pixels, piece);
        if (together) view(y, rows).set(part);
        else paste(sample(y, rows), pixels, from, part);
      }
    }
    return y;
  }

  return {
    rows,
    cols,
    bytes,
    multiply,
    release() {
      released = true;
      // Not back to the pool: a product still waiting must fail, never read another weight's values.
      for (const buffer of buffers) buffer.destroy();
    },
  };
}
