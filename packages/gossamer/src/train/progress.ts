import { bar, clock, fit, grouped, quantity } from '../text.ts';

/** Numbers and words shown behind a bar, such as `{ loss: 0.31 }`. */
export type Values = Readonly<Record<string, number | string>>;

/** How far one task is. */
export interface ProgressBar extends Disposable {
  /** `done` of the task's total are through, counted from the start of the task. */
  update(done: number, values?: Values): void;
  /** Ends the task where it stands; its last line stays. Stopping twice does no harm. */
  stop(): void;
}

/** Progress of several tasks at once, one line each: an overall bar and, below it, one of the epoch under way. */
export interface Progress extends Disposable {
  /**
   * Begins a task.
   *
   * @param label what is being done
   * @param total units of work in the task
   */
  start(label: string, total: number, options?: TaskOptions): ProgressBar;
  /** Prints a line above the bars. */
  log(line: string): void;
  /** Ends the display. */
  stop(): void;
}

export interface TaskOptions {
  /** What is counted, plural, for the throughput (`images`); default nothing is said. */
  readonly unit?: string;
  /** Units done before, by an earlier run: they count in the bar, and not in the throughput. Default 0. */
  readonly done?: number;
  /** The line goes when the task stops: for the inner of two bars. Default false. */
  readonly transient?: boolean;
}

export interface ProgressOptions {
  /** Show nothing; default false. */
  readonly quiet?: boolean;
  /** Where to; default standard error, and nowhere in a browser. */
  readonly stream?: NodeJS.WritableStream & { isTTY?: boolean; columns?: number };
  /** Seconds; default the system's clock. */
  readonly now?: () => number;
}

/**
 * Bars with throughput and time left on a terminal; on anything else a plain line for every 10 % (no more than one a
 * second) or 15 seconds.
 *
 * ```ts
 * using bars = await progressBars();
 * using bar = bars.start('epoch 1/10', 60_000, { unit: 'images' });
 * for (…) bar.update(images, { loss });
 * ```
 */
export async function progressBars(options: ProgressOptions = {}): Promise<Progress> {
  const { quiet = false, now = () => performance.now() / 1000 } = options;
  const stream = options.stream ?? globalThis.process?.stderr;
  if (quiet || !stream) return silent;
  return stream.isTTY ? onTerminal(stream, now) : asLines(stream, now);
}

const nothing = (): void => {};
const silentBar: ProgressBar = { update: nothing, stop: nothing, [Symbol.dispose]: nothing };
/** Shows nothing. */
export const silent: Progress = { start: () => silentBar, log: nothing, stop: nothing, [Symbol.dispose]: nothing };

async function onTerminal(stream: NonNullable<ProgressOptions['stream']>, now: () => number): Promise<Progress> {
  const { MultiBar } = await import('cli-progress').then(m => (m as unknown as { default?: typeof m }).default ?? m);
  const make = () =>
    new MultiBar({
      stream,
      // One column stays free: a full line would wrap in some terminals.
      format: (_options, _params, meter) => fit((meter as Meter).terminalLine(), (stream.columns ?? 80) - 1),
      // A killed process must leave the terminal as it was: no hidden cursor, no changed wrapping, no signal handlers.
      linewrap: true,
      hideCursor: false,
      gracefulExit: false,
    });
  let display: ReturnType<typeof make> | undefined;
  const meters = new Set<Meter>();
  const stop = () => {
    for (const meter of meters) meter.end();
    meters.clear();
    display?.stop();
    display = undefined;
  };
  return {
    start(label, total, { unit, done = 0, transient = false } = {}) {
      const meter = new Meter(label, total, unit, done, now);
      meters.add(meter);
      const shown = (display ??= make());
      const line = shown.create(total, done, meter);
      const end = () => {
        if (!meters.delete(meter)) return;
        meter.end();
        if (transient) shown.remove(line);
      };
      return {
        update(at, values) {
          meter.update(at, values);
          line.update(at);
        },
        stop: end,
        [Symbol.dispose]: end,
      };
    },
    log: line => (display ? display.log(`${line}\n`) : stream.write(`${line}\n`)),
    stop,
    [Symbol.dispose]: stop,
  };
}

const secondsBetweenLines = 15;
const shareBetweenLines = 0.1;

function asLines(stream: NonNullable<ProgressOptions['stream']>, now: () => number): Progress {
  const ends = new Set<() => void>();
  const stop = () => {
    for (const end of ends) end();
  };
  return {
    start(label, total, { unit, done = 0, transient = false } = {}) {
      const meter = new Meter(label, total, unit, done, now);
      let last = { time: now(), done };
      const print = (at: number) => {
        last = { time: now(), done: at };
        stream.write(`${meter.plainLine()}\n`);
      };
      const end = () => {
        if (!ends.delete(end)) return;
        meter.end();
        if (!transient) print(meter.done);
      };
      ends.add(end);
      return {
        update(at, values) {
          meter.update(at, values);
          const waited = now() - last.time;
          const further = (at - last.done) / total >= shareBetweenLines && waited >= 1;
          // The end prints a line of its own.
          if (at < total && (further || waited >= secondsBetweenLines)) print(at);
        },
        stop: end,
        [Symbol.dispose]: end,
      };
    },
    log: line => void stream.write(`${line}\n`),
    stop,
    [Symbol.dispose]: stop,
  };
}

/** Seconds over which the throughput is averaged. */
const window = 20;

/** Counts one task and describes it. */
class Meter {
  readonly label: string;
  readonly total: number;
  readonly unit: string;
  done: number;
  readonly #now: () => number;
  readonly #started: { readonly time: number; readonly done: number };
  #marks: { time: number; done: number }[];
  #values: Values = {};
  #ended: number | undefined;

  constructor(label: string, total: number, unit: string | undefined, done: number, now: () => number) {
    this.label = label;
    this.total = total;
    this.unit = unit ? ` ${unit}` : '';
    this.done = done;
    this.#now = now;
    this.#started = { time: now(), done };
    this.#marks = [this.#started];
  }

  update(done: number, values?: Values): void {
    this.done = done;
    if (values) this.#values = values;
    const time = this.#now();
    // A mark a second is enough, and keeps the list short whatever the pace.
    if (time - this.#marks[this.#marks.length - 1].time < 1) return;
    this.#marks.push({ time, done });
    while (this.#marks.length > 2 && time - this.#marks[1].time > window) this.#marks.shift();
  }

  end(): void {
    this.#ended ??= this.#now();
  }

  /** Units a second: lately, and over the whole task once it has ended. */
  #rate(): number {
    const from = this.#ended === undefined ? this.#marks[0] : this.#started;
    const seconds = (this.#ended ?? this.#now()) - from.time;
    return seconds > 0 ? (this.done - from.done) / seconds : 0;
  }

  #parts() {
    const rate = this.#rate();
    const share = this.total > 0 ? this.done / this.total : 1;
    const time =
      this.#ended !== undefined
        ? `in ${clock(this.#ended - this.#started.time)}`
        : `left ${clock((this.total - this.done) / rate)}`;
    return {
      share,
      percent: `${Math.floor(100 * share)} %`,
      count: `${grouped(this.done)}/${grouped(this.total)}`,
      rest: [
        `${quantity(rate)}${this.unit}/s`,
        time,
        ...Object.entries(this.#values).map(([name, value]) => `${name} ${formatValue(value)}`),
      ],
    };
  }

  terminalLine(): string {
    const { share, percent, count, rest } = this.#parts();
    return `${this.label}  ${bar(share, 24)} ${percent.padStart(5)}  ${count}  ${rest.join('  ')}`;
  }

  plainLine(): string {
    const { percent, count, rest } = this.#parts();
    return `${this.label}: ${percent} (${count}), ${rest.join(', ')}`;
  }
}

const formatValue = (value: number | string): string =>
  typeof value === 'string' || Number.isInteger(value) ? String(value) : Number(value.toPrecision(4)).toString();
