import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { MetricsLog, readMetrics } from './metrics-log.ts';

const folder = mkdtempSync(join(tmpdir(), 'gossamer-log-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function written(path: string, steps: number[], after?: number): Promise<string> {
  using log = await MetricsLog.open(path, { after });
  for (const step of steps) log.write({ step, epoch: 0, loss: 1 / step });
  return readFileSync(path, 'utf8');
}

describe('MetricsLog', () => {
  it('writes one JSON object a line, at once, and makes the folder', async () => {
    const path = join(folder, 'new', 'run', 'metrics.jsonl');
    expect(await written(path, [1, 2])).toBe('{"step":1,"epoch":0,"loss":1}\n{"step":2,"epoch":0,"loss":0.5}\n');
    expect(await readMetrics(path)).toEqual([
      { step: 1, epoch: 0, loss: 1 },
      { step: 2, epoch: 0, loss: 0.5 },
    ]);
  });

  it('ends with the same bytes whether the run was killed or not', async () => {
    const path = join(folder, 'resumed.jsonl');
    const whole = await written(join(folder, 'whole.jsonl'), [1, 2, 3, 4, 5]);
    // Checkpoint at step 3; killed while it wrote the line of step 5, at every possible byte.
    const upTo4 = await written(path, [1, 2, 3, 4]);
    const half = whole.slice(upTo4.length);
    for (let bytes = 0; bytes <= half.length; bytes++) {
      writeFileSync(path, upTo4 + half.slice(0, bytes));
      expect(await written(path, [4, 5], 3)).toBe(whole);
    }
  });

  it('starts anew without a step to go on after', async () => {
    const path = join(folder, 'anew.jsonl');
    await written(path, [1, 2, 3]);
    expect(await written(path, [1])).toBe('{"step":1,"epoch":0,"loss":1}\n');
  });

  it('keeps NaN and infinities', async () => {
    const path = join(folder, 'nan.jsonl');
    using log = await MetricsLog.open(path);
    log.write({ step: 1, loss: Number.NaN, bound: Number.NEGATIVE_INFINITY });
    expect(await readMetrics(path)).toEqual([{ step: 1, loss: Number.NaN, bound: Number.NEGATIVE_INFINITY }]);
  });

  it('leaves out a half last line and names a damaged one before it', async () => {
    const path = join(folder, 'torn.jsonl');
    await written(path, [1, 2]);
    appendFileSync(path, '{"step":3,"lo');
    expect(await readMetrics(path)).toHaveLength(2);
    appendFileSync(path, '\n{"step":4}\n');
    await expect(readMetrics(path)).rejects.toThrow(`${path}: line 3: not valid JSON`);
    writeFileSync(path, '7\n');
    await expect(readMetrics(path)).rejects.toThrow(`${path}: line 1: an object with a number "step" expected`);
  });

  it('names what cannot be written', async () => {
    writeFileSync(join(folder, 'file'), '');
    await expect(MetricsLog.open(join(folder, 'file', 'metrics.jsonl'))).rejects.toThrow('cannot be written');
    await expect(readMetrics(join(folder, 'none.jsonl'))).rejects.toThrow('cannot be read');
  });
});
