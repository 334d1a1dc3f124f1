import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Random, type Spec, writeOnnx } from '@gossamer/tensor';
import { afterAll, vi } from 'vitest';
import { MLP } from '../nn/container.ts';
import { exportModel } from '../nn/export.ts';
import type { Module } from '../nn/module.ts';
import { run } from './run.ts';

const main = fileURLToPath(new URL('main.ts', import.meta.url));

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command line in a process of its own, as a user would. */
export function gossamerProcess(...args: string[]): Promise<Finished> {
  return new Promise(resolve => {
    execFile(process.execPath, [main, ...args], { maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr });
    });
  });
}

/** Runs the command line in this process, much faster. One at a time: standard output and error are listened to. */
export async function gossamer(...args: string[]): Promise<Finished> {
  const [stdout, stderr] = [process.stdout, process.stderr].map(stream => {
    const chunks: string[] = [];
    const spy = vi.spyOn(stream, 'write').mockImplementation(chunk => {
      chunks.push(String(chunk));
      return true;
    });
    return { text: () => chunks.join(''), restore: () => spy.mockRestore() };
  });
  try {
    const code = await run(args);
    return { code, stdout: stdout.text(), stderr: stderr.text() };
  } finally {
    stdout.restore();
    stderr.restore();
  }
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
