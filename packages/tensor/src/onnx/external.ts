import { FormatError, GossamerError } from '../errors.ts';
import { besideFile, openRandomAccess, type RandomAccess, type Source } from '../files.ts';
import type { StringStringEntryProto } from './schema/onnx_pb.ts';

/** Finds a file of external data by its location, a relative path with `/`. */
export type Locate = (location: string) => Source | Promise<Source>;

/** {@link Locate} for a model that was opened by path or URL: in its folder. */
export const besideModel =
  (model: string | URL): Locate =>
  location =>
    besideFile(model, location);

/** Throws a {@link FormatError} if a location is absolute or leaves the model's folder. */
export function checkLocation(location: string, where: string): void {
  const steps = location.split('/');
  if (location === '' || steps.some(s => s === '' || s === '.' || s === '..') || /[\\:\0]/.test(location))
    throw new FormatError(
      `${where}: external data '${location}' must lie in the model's folder, by a relative path with '/'`,
    );
}

/** A part of a file of external data. */
interface Range {
  readonly location: string;
  readonly offset: number;
  /** undefined: as many bytes as the tensor has. */
  readonly length: number | undefined;
}

function parseRange(entries: readonly StringStringEntryProto[], where: string): Range {
  const fields = new Map(entries.map(({ key, value }) => [key, value]));
  const position = (key: string): number | undefined => {
    const text = fields.get(key);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
      throw new FormatError(`${where}: external ${key} '${text}' is not a number of bytes`);
    return value;
  };
  const location = fields.get('location');
  if (location === undefined) throw new FormatError(`${where}: external data without a location`);
  checkLocation(location, where);
  return { location, offset: position('offset') ?? 0, length: position('length') };
}

interface OpenFile {
  readonly file: RandomAccess;
  /** Ranges that were read, by position: tensors that share one share its bytes. */
  readonly parts: Map<string, Uint8Array<ArrayBuffer>>;
  bytesRead: number;
}

/** The files of external data of one model. Each is opened once; of it only what tensors name is read. */
export class ExternalData {
  readonly #locate: Locate | undefined;
  readonly #files = new Map<string, OpenFile>();

  constructor(locate: Locate | undefined) {
    this.#locate = locate;
  }

  /**
   * The `byteLength` bytes of a tensor, on memory of its own. Throws a {@link FormatError} if the range lies outside the
   * file, has another length, or overlaps those of other tensors (so that all ranges together never exceed the file).
   */
  async read(
    entries: readonly StringStringEntryProto[],
    byteLength: number,
    where: string,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { location, offset, length } = parseRange(entries, where);
    if (length !== undefined && length !== byteLength)
      throw new FormatError(`${where}: ${length} bytes of external data, its shape and type need ${byteLength}`);
    const open = await this.#open(location, where);
    const known = open.parts.get(`${offset}+${byteLength}`);
    if (known) return known;
    if (offset + byteLength > open.file.size)
      throw new FormatError(
        `${where}: bytes ${offset} to ${offset + byteLength} of '${location}', which has only ${open.file.size}`,
      );
    if ((open.bytesRead += byteLength) > open.file.size)
      throw new FormatError(`${where}: overlaps the external data of other tensors in '${location}'`);
    const bytes = new Uint8Array(byteLength);
    await open.file.read(offset, bytes);
    open.parts.set(`${offset}+${byteLength}`, bytes);
    return bytes;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#files.values()].map(({ file }) => file.close()));
  }

  async #open(location: string, where: string): Promise<OpenFile> {
    const known = this.#files.get(location);
    if (known) return known;
    if (!this.#locate)
      throw new GossamerError(
        `${where}: its data lies in the file '${location}'; open the model by path or URL, or give \`externalData\``,
      );
    const open = { file: await openRandomAccess(await this.#locate(location)), parts: new Map(), bytesRead: 0 };
    this.#files.set(location, open);
    return open;
  }
}
