import { FormatError, GossamerError } from '@gossamer/tensor';

/** One line of the log. Numbers may be NaN or infinite; `undefined` entries are left out. */
export type MetricsRecord = { readonly step: number } & Readonly<Record<string, number | string | boolean | undefined>>;

/** A metrics file that is being written: one JSON object a line, so that it can be followed while training runs. */
export class MetricsLog implements Disposable {
  readonly path: string;
  readonly #write: (line: string) => void;
  readonly #close: () => void;

  private constructor(path: string, write: (line: string) => void, close: () => void) {
    this.path = path;
    this.#write = write;
    this.#close = close;
  }

  /**
   * Opens a metrics file for appending; file and folder are made if they are not there.
   *
   * @param options.after keep only records up to this step, that of the checkpoint from which training goes on: what a
   *   killed run logged after it, and a line that it wrote half, are cut off. Default 0: start anew
   */
  static async open(path: string, { after = 0 }: { after?: number } = {}): Promise<MetricsLog> {
    const [fs, { dirname }] = await Promise.all([import('node:fs'), import('node:path')]);
    const kept = after > 0 && fs.existsSync(path) ? lengthUpTo(fs.readFileSync(path), after, path) : 0;
    const attempt = <T>(action: () => T): T => {
      try {
        return action();
      } catch (cause) {
        throw new GossamerError(`${path}: cannot be written: ${(cause as Error).message}`, { cause });
      }
    };
    const file = attempt(() => {
      fs.mkdirSync(dirname(path), { recursive: true });
      return fs.openSync(path, 'a');
    });
    attempt(() => fs.ftruncateSync(file, kept));
    return new MetricsLog(
      path,
      line => attempt(() => fs.writeSync(file, line)),
      () => fs.closeSync(file),
    );
  }

  /** Writes one line at once: it is there even if the process is killed next. */
  write(record: MetricsRecord): void {
    this.#write(`${JSON.stringify(record, (_, value) => plain(value))}\n`);
  }

  close(): void {
    this.#close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** All records of a metrics file. A last line that was written half is left out. */
export async function readMetrics(path: string): Promise<MetricsRecord[]> {
  const { readFile } = await import('node:fs/promises');
  const bytes = await readFile(path).catch(cause => {
    throw new GossamerError(`${path}: cannot be read: ${cause.message}`, { cause });
  });
  return Array.from(records(bytes, path), ({ record }) => record);
}

/** Bytes of the records before the first one later than `step`. */
function lengthUpTo(bytes: Uint8Array, step: number, path: string): number {
  let length = 0;
  for (const { record, end } of records(bytes, path)) {
    if (record.step > step) break;
    length = end;
  }
  return length;
}

function* records(bytes: Uint8Array, path: string): Generator<{ record: MetricsRecord; end: number }> {
  const decoder = new TextDecoder();
  for (let start = 0, line = 1; start < bytes.length; line++) {
    const newline = bytes.indexOf(0x0a, start);
    if (newline < 0) return;
    yield { record: parse(decoder.decode(bytes.subarray(start, newline)), `${path}: line ${line}`), end: newline + 1 };
    start = newline + 1;
  }
}

function parse(line: string, where: string): MetricsRecord {
  let record: MetricsRecord;
  try {
    record = JSON.parse(line, (_, value) => (notFinite.has(value) ? Number(value) : value));
  } catch (cause) {
    throw new FormatError(`${where}: not valid JSON: ${(cause as Error).message}`, { cause });
  }
  if (typeof record?.step !== 'number') throw new FormatError(`${where}: an object with a number "step" expected`);
  return record;
}

// JSON has no such numbers, and a loss that became NaN must not read as null.
const notFinite = new Set<unknown>(['NaN', 'Infinity', '-Infinity']);
const plain = (value: unknown): unknown =>
  typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
