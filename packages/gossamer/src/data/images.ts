import { check, FormatError, GossamerError, type NDArray } from '@gossamer/tensor';
import type { ArchiveEntry } from './archive.ts';
import { Dataset } from './dataset.ts';
import { stackRows } from './rows.ts';

export interface DecodeOptions {
  /** 1 (grey), 3 (RGB, default) or 4 (with transparency). */
  channels?: 1 | 3 | 4;
  /** Scale to exactly [height, width] (Lanczos); default the image's own size. */
  size?: readonly [number, number];
  /** How another shape is made to fit `size`: `cover` (default) crops what sticks out, `fill` stretches. */
  fit?: 'cover' | 'fill';
}

/** Decodes a JPEG, PNG, WebP, GIF or TIFF image to uint8 [channels, height, width], with `sharp` (Node only). */
export async function decodeImage(
  bytes: Uint8Array,
  options: DecodeOptions = {},
  name = 'image',
): Promise<NDArray<Uint8Array>> {
  const { channels = 3, size, fit = 'cover' } = options;
  const { default: sharp } = await import('sharp').catch(cause => {
    throw new GossamerError('decodeImage: the package sharp cannot be loaded on this platform', { cause });
  });
  let image = sharp(bytes).toColourspace(channels === 1 ? 'b-w' : 'srgb');
  image = channels === 4 ? image.ensureAlpha() : image.removeAlpha();
  if (size) image = image.resize(size[1], size[0], { fit });
  const { data, info } = await image
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
    .catch((error: Error) => {
      throw new FormatError(`${name}: cannot be decoded: ${error.message}`);
    });
  check(info.channels === channels, () => `${name}: decodes to ${info.channels} channels, expected ${channels}`);
  const plane = info.width * info.height;
  const pixels = new Uint8Array(channels * plane);
  for (let c = 0; c < channels; c++) {
    for (let i = 0, from = c; i < plane; i++, from += channels) pixels[c * plane + i] = data[from];
  }
  return { dtype: 'uint8', shape: [channels, info.height, info.width], data: pixels };
}

export interface ImageSetOptions extends DecodeOptions {
  /**
   * An image's class from its path: `folder` (default) takes the name of the folder it lies in. A function may give a
   * name, or a number that is the label itself.
   */
  label?: 'folder' | ((path: string) => string | number);
}

const extensions = /\.(jpe?g|png|webp|gif|tiff?)$/i;

/** `inputs` uint8 [n, channels, height, width], `labels` int32 [n]. */
export type LabelledImages = { inputs: NDArray<Uint8Array>; labels: NDArray<Int32Array> };

/** Image files, decoded when a batch of them is asked for. All must have one size, or be scaled by `size`. */
export class ImageDataset extends Dataset<LabelledImages> {
  /** Paths in the archive or folder, sorted. */
  readonly names: readonly string[];
  /** Class names, sorted; labels are places in this list. Empty where labels were given as numbers. */
  readonly classes: readonly string[];
  readonly labels: Int32Array;
  readonly #entries: readonly ArchiveEntry[];
  readonly #options: ImageSetOptions;

  /** @param entries files of an archive (`readArchive`) or folder (`readFolder`); those that are no images are left out. */
  constructor(entries: readonly ArchiveEntry[], options: ImageSetOptions = {}) {
    super();
    const images = entries.filter(({ name }) => extensions.test(name));
    check(images.length > 0, () => `ImageDataset: no image among ${entries.length} files`);
    this.#entries = images.sort((a, b) => (a.name < b.name ? -1 : 1));
    this.#options = options;
    this.names = this.#entries.map(({ name }) => name);
    const label = typeof options.label === 'function' ? options.label : (path: string) => path.split('/').at(-2) ?? '';
    const labels = this.names.map(label);
    const bad = labels.findIndex(name => typeof name === 'number' && !Number.isInteger(name));
    check(bad < 0, () => `ImageDataset: no label for ${this.names[bad]}: got ${labels[bad]}`);
    this.classes = [...new Set(labels.filter(name => typeof name === 'string'))].sort();
    this.labels = Int32Array.from(labels, name => (typeof name === 'number' ? name : this.classes.indexOf(name)));
  }

  get length(): number {
    return this.#entries.length;
  }

  override async batch(indices: ArrayLike<number>): Promise<LabelledImages> {
    const list = Array.from(indices);
    const images = await Promise.all(list.map(index => this.#decode(index)));
    const odd = images.findIndex(({ shape }) => String(shape) !== String(images[0].shape));
    check(odd < 0, () => {
      const [a, b] = [this.names[list[0]], this.names[list[odd]]];
      return `ImageDataset: ${a} is [${images[0].shape}], ${b} is [${images[odd].shape}]; give a size to scale them to`;
    });
    const labels = Int32Array.from(list, index => this.labels[index]);
    return { inputs: stackRows(images), labels: { dtype: 'int32', shape: [list.length], data: labels } };
  }

  #decode(index: number): Promise<NDArray<Uint8Array>> {
    check(index in this.#entries, () => `batch: index ${index} of ${this.length} samples`);
    const entry = this.#entries[index];
    return decodeImage(entry.bytes(), this.#options, entry.name);
  }
}

/** The files below a folder, sorted, with paths relative to it (Node only); bytes are read when asked for. */
export async function readFolder(folder: string): Promise<ArchiveEntry[]> {
  const [{ readdirSync, readFileSync }, { join, relative, sep }] = await Promise.all([
    import('node:fs'),
    import('node:path'),
  ]);
  let found: ArchiveEntry[];
  try {
    found = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => join(entry.parentPath, entry.name))
      .sort()
      .map(path => ({
        name: relative(folder, path).split(sep).join('/'),
        bytes: () => new Uint8Array(readFileSync(path)),
      }));
  } catch (cause) {
    throw new GossamerError(`${folder}: cannot be read: ${(cause as Error).message}`, { cause });
  }
  return found;
}
