import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Random, type Spec, writeOnnx } from '@gossamer/tensor';
import { afterAll } from 'vitest';
import { MLP } from '../nn/container.ts';
import { exportModel } from '../nn/export.ts';
import type { Module } from '../nn/module.ts';

const main = fileURLToPath(new URL('main.ts', import.meta.url));

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command line in a process of its own, as a user would. */
export function gossamer(args: readonly string[], env: Record<string, string> = {}): Promise<Finished> {
  return new Promise(resolve => {
    const options = { env: { ...process.env, NO_COLOR: '1', ...env }, maxBuffer: 2 ** 26 };
    execFile(process.execPath, [main, ...args], options, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr });
    });
  });
}

/** A folder for the tests of one file, removed behind them. */
export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'gossamer-cli-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes a module as an ONNX file. */
export async function writeModel(
  path: string,
  model: Module,
  input: Spec,
  batch: string | null = 'batch',
): Promise<void> {
  await writeOnnx(path, await exportModel(model, { x: input }, { batch }));
}

/** Writes a multi-layer perceptron 8-16-4 with the input `x` [batch, 8]. */
export async function writeMLP(path: string): Promise<void> {
  const model = new MLP([8, 16, 4], { random: new Random(3) });
  await writeModel(path, model, { dtype: 'float32', shape: [1, 8] });
}
