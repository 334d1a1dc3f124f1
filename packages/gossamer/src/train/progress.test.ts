import { describe, expect, it } from 'vitest';
import { progressBars, silent } from './progress.ts';

/** A stream that keeps what is written, and a clock that the test turns. */
function terminal(isTTY: boolean, columns = 100) {
  let text = '';
  let time = 100;
  const stream = {
    isTTY,
    columns,
    write: (chunk: string) => {
      text += chunk;
      return true;
    },
  } as unknown as NodeJS.WritableStream & { isTTY: boolean; columns: number };
  return { stream, now: () => time, wait: (seconds: number) => (time += seconds), text: () => text };
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: the control sequences of terminals
const control = /\u001b\[[\d;]*[A-Za-z]|\n/;

describe('progress without a terminal', () => {
  it('prints a line every 10 %, with throughput, time left and values, and one at the end', async () => {
    const t = terminal(false);
    using bars = await progressBars(t);
    const bar = bars.start('training', 1000, { unit: 'steps' });
    for (let step = 1; step <= 1000; step++) {
      t.wait(0.02);
      bar.update(step, { loss: 1 / 3, batch: 64 });
    }
    bar.stop();
    bar.stop();
    const lines = t.text().trimEnd().split('\n');
    expect(lines).toHaveLength(10);
    expect(lines[0]).toBe('training: 10 % (100/1,000), 50 steps/s, left 0:18, loss 0.3333, batch 64');
    expect(lines[9]).toBe('training: 100 % (1,000/1,000), 50 steps/s, in 0:20, loss 0.3333, batch 64');
  });

  it('prints at most a line a second in a fast task and a line every 15 s in a slow one', async () => {
    const fast = terminal(false);
    const bars = await progressBars(fast);
    const bar = bars.start('fast', 1000);
    for (let step = 1; step <= 1000; step++) {
      fast.wait(0.0025);
      bar.update(step);
    }
    bars.stop();
    expect(
      fast
        .text()
        .trimEnd()
        .split('\n')
        .map(l => l.slice(0, 11)),
    ).toEqual(['fast: 40 % ', 'fast: 80 % ', 'fast: 100 %']);

    const slow = terminal(false);
    using others = await progressBars(slow);
    const task = others.start('slow', 1e6);
    for (let step = 1; step <= 62; step++) {
      slow.wait(1);
      task.update(step);
    }
    expect(slow.text().trimEnd().split('\n')).toHaveLength(4);
    expect(slow.text()).toContain('slow: 0 % (15/1,000,000), 1/s, left 277:46:25');
  });

  it('does not count work done by an earlier run in the throughput', async () => {
    const t = terminal(false);
    using bars = await progressBars(t);
    const bar = bars.start('resumed', 100, { done: 50 });
    t.wait(10);
    bar.update(60);
    expect(t.text()).toBe('resumed: 60 % (60/100), 1/s, left 0:40\n');
  });

  it('says nothing of a transient task that is quick, or with quiet', async () => {
    const t = terminal(false);
    using bars = await progressBars(t);
    bars.start('inner', 10, { transient: true }).stop();
    using quiet = await progressBars({ ...t, quiet: true });
    quiet.start('quiet', 10).stop();
    silent.start('silent', 10).stop();
    expect(t.text()).toBe('');
  });
});

describe('progress on a terminal', () => {
  it('draws a bar for each task, never wider than the terminal, and shows the cursor again', async () => {
    const t = terminal(true, 60);
    const bars = await progressBars(t);
    const outer = bars.start('training', 4, { unit: 'epochs' });
    const inner = bars.start('epoch 1', 100, { unit: 'images' });
    t.wait(2);
    outer.update(1);
    inner.update(50, { loss: 0.25, 'a long name of a value': 'and a long value behind it' });
    bars.stop();
    const lines = t
      .text()
      .split(control)
      .filter(s => s.trim() !== '');
    expect(lines.at(-2)).toBe('training  ██████··················  25 %  1/4  0.50 epochs…');
    expect(lines.at(-1)).toBe('epoch 1  ████████████············  50 %  50/100  25 images…');
    for (const line of lines) expect([...line].length).toBeLessThan(60);
    expect(t.text()).not.toContain('\x1b[?');
  });

  it('starts anew after it was stopped', async () => {
    const t = terminal(true);
    const bars = await progressBars(t);
    bars.start('first', 1).update(1);
    bars.stop();
    const before = t.text().length;
    bars.start('second', 1).update(1);
    bars.stop();
    expect(t.text().slice(before)).toContain('second');
    expect(t.text().slice(before)).not.toContain('first');
  });
});
