import { existsSync } from 'node:fs';
import {
  type ExportOptions,
  encodeOnnx,
  exportOnnx,
  gradients,
  Random,
  realize,
  type Tensor,
  tensor,
} from '@gossamer/tensor';
import { randn } from '@gossamer/tensor/testing';
import * as ort from 'onnxruntime-node';
import { expect } from 'vitest';
import type { Module } from '../nn/module.ts';

/** A file of pre-trained weights in the folder GOSSAMER_MODELS, or undefined after saying that its test is skipped. */
export function pretrainedFile(name: string): string | undefined {
  const folder = process.env.GOSSAMER_MODELS;
  const path = `${folder}/${name}`;
  if (folder && existsSync(path)) return path;
  console.log(`models: test of ${name} skipped: ${folder ? 'it is not in' : 'no'} GOSSAMER_MODELS`);
  return undefined;
}

/** Number of trainable elements. */
export const parameterCount = (model: Module): number => model.parameters().reduce((n, p) => n + p.size, 0);

/** Shapes by name, running statistics included. */
export const shapesOf = (model: Module): Record<string, string> =>
  Object.fromEntries([...model.stateDict()].map(([name, p]) => [name, p.shape.join('×')]));

/** A batch of float inputs, or of tokens below `vocab`. */
export const batchOf = (shape: readonly number[], seed: number, vocab?: number): Tensor =>
  vocab === undefined
    ? randn(shape, seed)
    : tensor(
        new Random(seed).integers(
          shape.reduce((a, b) => a * b, 1),
          0,
          vocab,
        ),
        [...shape],
      );

export interface Expected {
  /** One input, without its batch axis. */
  input: readonly number[];
  /** One output. */
  output: readonly number[];
  /** Set where the inputs are tokens. */
  vocab?: number;
}

/**
 * What every model of this folder keeps: shapes, gradients that reach every parameter, samples that do not see each other,
 * weights decided by the seed, and an ONNX file that gives the same at any batch size.
 */
export async function checkModel(make: (random: Random) => Module, expected: Expected): Promise<void> {
  const model = make(new Random(1)).eval();
  const x = batchOf([3, ...expected.input], 2, expected.vocab);
  const y: Tensor = model.forward(x);
  expect(y.shape).toEqual([3, ...expected.output]);

  const rest = model.forward(x.slice(0, 1)) as Tensor;
  const parameters = [...model.namedParameters()].filter(([, p]) => p.trainable);
  const loss = (model.forward(x) as Tensor).mul(randn(y.shape, 3)).sum();
  const grads = gradients(
    loss,
    parameters.map(([, p]) => p),
  );
  const sizes = grads.map(g => g.abs().max());
  await realize(y, rest, ...sizes);

  const data = await y.data();
  expect(data.every(Number.isFinite)).toBe(true);
  expectClose(await rest.data(), data.subarray(data.length / 3), 1e-5);
  for (const [i, [name]] of parameters.entries()) {
    const size = await sizes[i].item();
    expect(size > 0 && Number.isFinite(size), `gradient of ${name}: ${size}`).toBe(true);
  }
  await checkSeeds(make, model);
  const one = x.slice(0, 0, 1);
  await checkExport(model, [{ x }, { x: one }]);
  await checkExport(model, [{ x: one }], { batch: null });
}

/** Same seed, same weights; another seed, others. */
export async function checkSeeds(make: (random: Random) => Module, first: Module): Promise<void> {
  const again = make(new Random(1)).stateDict();
  const other = make(new Random(2)).stateDict();
  let differ = 0;
  for (const [name, p] of first.stateDict()) {
    const values = await p.data();
    expect(Buffer.compare(bytes(values), bytes(await again.get(name)!.data())), name).toBe(0);
    differ += Buffer.compare(bytes(values), bytes(await other.get(name)!.data())) === 0 ? 0 : 1;
  }
  expect(differ).toBeGreaterThan(0);
}

/** A model's function may need more than its `forward`: a fixed graph, say. */
export interface ExportCheck extends ExportOptions {
  forward?: (...inputs: Tensor[]) => Tensor;
}

/** The exported model gives in onnxruntime-node, for each set of inputs, what `forward` gives, within 1e-4 of the largest output. */
export async function checkExport(
  model: Module,
  inputs: readonly Record<string, Tensor>[],
  { forward = (...xs) => model.forward(...xs), ...options }: ExportCheck = {},
): Promise<void> {
  const names = [...model.namedParameters()].map(([name]) => name);
  const specs = Object.entries(inputs[0]).map(([name, t]) => [name, { dtype: t.dtype, shape: t.shape }] as const);
  const onnx = await exportOnnx(forward, Object.fromEntries(specs), options);
  expect([...onnx.graph.initializers.keys()]).toEqual(expect.arrayContaining(names));
  const session = await ort.InferenceSession.create(encodeOnnx(onnx), { logSeverityLevel: 3, intraOpNumThreads: 2 });
  for (const set of inputs) {
    const feeds: Record<string, ort.Tensor> = {};
    for (const [name, t] of Object.entries(set)) {
      feeds[name] = new ort.Tensor(t.dtype as 'float32', await t.data(), [...t.shape]);
    }
    const { output } = await session.run(feeds);
    const y = forward(...Object.values(set));
    expect(output.dims).toEqual(y.shape);
    expectClose(output.data as Float32Array, await y.data(), 1e-4);
  }
  await session.release();
}

const bytes = (a: Float32Array): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

/** |a − b| ≤ tolerance · max(1, largest |b|), element by element. */
export function expectClose(a: ArrayLike<number>, b: ArrayLike<number>, tolerance: number): void {
  expect(a.length).toBe(b.length);
  let worst = 0;
  let scale = 1;
  for (let i = 0; i < a.length; i++) {
    worst = Math.max(worst, Number.isNaN(a[i] - b[i]) ? Infinity : Math.abs(a[i] - b[i]));
    scale = Math.max(scale, Math.abs(b[i]));
  }
  expect(worst / scale).toBeLessThanOrEqual(tolerance);
}
