import { GossamerError } from '@gossamer/tensor';

/** Scalars for TensorBoard, in an event file of their own. */
export class TensorBoardWriter implements Disposable {
  readonly path: string;
  readonly #now: () => number;
  readonly #write: (bytes: Uint8Array) => void;
  readonly #close: () => void;

  private constructor(path: string, now: () => number, write: (bytes: Uint8Array) => void, close: () => void) {
    this.path = path;
    this.#now = now;
    this.#write = write;
    this.#close = close;
  }

  /**
   * Starts a new event file in `folder`, which is made if it is not there. Look at it with `tensorboard --logdir folder`.
   *
   * @param options.after the training goes on after this step: TensorBoard then drops what earlier files say of later
   *   ones. Default 0: it begins
   * @param options.now seconds since 1970; default the system's clock
   */
  static async open(
    folder: string,
    { after = 0, now = () => Date.now() / 1000 }: { after?: number; now?: () => number } = {},
  ): Promise<TensorBoardWriter> {
    const [fs, { join }, { hostname }] = await Promise.all([import('node:fs'), import('node:path'), import('node:os')]);
    let path = '';
    let file: number | undefined;
    try {
      fs.mkdirSync(folder, { recursive: true });
      // TensorBoard orders files by this number, so two runs within a second need different ones.
      for (let second = Math.floor(now()); file === undefined; second++) {
        path = join(folder, `events.out.tfevents.${String(second).padStart(10, '0')}.${hostname()}`);
        if (!fs.existsSync(path)) file = fs.openSync(path, 'ax');
      }
    } catch (cause) {
      throw new GossamerError(`${folder}: cannot be written: ${(cause as Error).message}`, { cause });
    }
    const open = file;
    const writer = new TensorBoardWriter(
      path,
      now,
      bytes => fs.writeSync(open, bytes),
      () => fs.closeSync(open),
    );
    writer.#event(0, text(3, 'brain.Event:2'));
    // SessionLog.START purges all steps from its own on.
    if (after > 0) writer.#event(after + 1, message(7, varint(1, 1)));
    return writer;
  }

  /** Writes scalars by tag (`train/loss`) for one step, at once. */
  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const list = Object.entries(values).map(([tag, value]) => message(1, [...text(1, tag), ...float32(2, value)]));
    this.#event(step, message(5, list.flat()));
  }

  close(): void {
    this.#close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #event(step: number, what: readonly number[]): void {
    this.#write(frame(Uint8Array.from([...float64(1, this.#now()), ...varint(2, step), ...what])));
  }
}

/** A TFRecord: the length (uint64), its checksum, the data, its checksum. */
export function frame(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(data.length + 16);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(record.subarray(0, 8)), true);
  record.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc(data), true);
  return record;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0x82f63b78 : n >>> 1;
  return n;
});

/** CRC-32C (Castagnoli; RFC 3720, appendix B.4). */
export function crc32c(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** TFRecord turns and shifts the checksum, since a checksum of data that hold checksums is weak. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

// Fields of protobuf messages (event.proto, summary.proto of TensorFlow).

const unsigned = (n: number): number[] => (n < 0x80 ? [n] : [(n % 0x80) | 0x80, ...unsigned(Math.floor(n / 0x80))]);
const varint = (field: number, value: number): number[] => [...unsigned(field << 3), ...unsigned(value)];
const message = (field: number, body: readonly number[]): number[] => [
  ...unsigned((field << 3) | 2),
  ...unsigned(body.length),
  ...body,
];
const text = (field: number, value: string): number[] => message(field, [...new TextEncoder().encode(value)]);
const float64 = (field: number, value: number): number[] => [
  ...unsigned((field << 3) | 1),
  ...new Uint8Array(Float64Array.of(value).buffer),
];
const float32 = (field: number, value: number): number[] => [
  ...unsigned((field << 3) | 5),
  ...new Uint8Array(Float32Array.of(value).buffer),
];
