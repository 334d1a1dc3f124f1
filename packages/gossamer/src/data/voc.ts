import { FormatError, type NDArray } from '@gossamer/tensor';
import { DOMParser, type Element, onWarningStopParsing } from '@xmldom/xmldom';
import { type ArchiveEntry, entryBytes } from './archive.ts';
import { utf8 } from './bytes.ts';
import { DetectionDataset, type Picture } from './detection.ts';

/** What a Pascal VOC annotation says of an image. */
export interface VocAnnotation {
  /** File name of the image. */
  readonly filename: string;
  /** Size of the image in pixels. */
  readonly width: number;
  readonly height: number;
  /**
   * float32 [objects, 4]: left, top, right, bottom as distances from the image's upper left corner in pixels. The file's
   * numbers count pixels from 1 and include the last one, so its (xmin, ymin, xmax, ymax) are (left + 1, top + 1, right,
   * bottom), and the box around a whole image is [0, 0, width, height].
   */
  readonly boxes: NDArray<Float32Array>;
  /** Class name of each object. */
  readonly names: readonly string[];
  /** Whether an object is marked as hard to recognise (evaluations leave these out) or cut by the border; 0 or 1. */
  readonly difficult: Uint8Array;
  readonly truncated: Uint8Array;
}

/**
 * Reads a Pascal VOC annotation, `Annotations/*.xml` (Everingham et al. 2010, https://doi.org/10.1007/s11263-009-0275-4).
 * Throws a FormatError for XML that is not well formed, a missing or repeated element, and a box that is inside out or
 * leaves the image.
 */
export function readVoc(bytes: Uint8Array, name = 'voc'): VocAnnotation {
  const root = parseXml(utf8(bytes, name), name);
  if (root.tagName !== 'annotation') throw new FormatError(`${name}: <${root.tagName}>, expected <annotation>`);
  const size = only(root, 'size', name);
  const [width, height] = [number(size, 'width', name), number(size, 'height', name)];
  if (![width, height].every(side => Number.isInteger(side) && side > 0)) {
    throw new FormatError(`${name}: a size of ${width}×${height}, expected whole pixels`);
  }
  const objects = elements(root, 'object');
  const flag = (key: string): Uint8Array =>
    Uint8Array.from(objects, object => (elements(object, key).length > 0 && number(object, key, name) ? 1 : 0));
  return {
    filename: text(root, 'filename', name),
    width,
    height,
    boxes: {
      dtype: 'float32',
      shape: [objects.length, 4],
      data: Float32Array.from(objects.flatMap((object, i) => box(object, width, height, `${name}: object ${i + 1}`))),
    },
    names: objects.map(object => text(object, 'name', name)),
    difficult: flag('difficult'),
    truncated: flag('truncated'),
  };
}

/**
 * A part of a data set in Pascal VOC's layout: the images of `ImageSets/Main/<part>.txt` with `Annotations/*.xml` and
 * `JPEGImages/*`, in the list's order.
 *
 * @param entries files of an archive (`readArchive`) or folder (`readFolder`)
 * @param part usually `train`, `val`, `trainval` or `test`
 * @param classes class names; labels are places in this list. Default those that occur in the part, sorted
 */
export function readVocPart(
  entries: readonly ArchiveEntry[],
  part: string,
  { classes, name = 'voc' }: { classes?: readonly string[]; name?: string } = {},
): DetectionDataset {
  const ids = vocList(entries, part, name);
  const annotations = ids.map(id => {
    const path = `Annotations/${id}.xml`;
    return readVoc(entryBytes(entries, path, name), `${name}: ${path}`);
  });
  const known = classes ?? [...new Set(annotations.flatMap(({ names }) => names))].sort();
  const pictures = annotations.map(({ filename, width, height, boxes, names }, i): Picture => {
    const labels = Int32Array.from(names, label => known.indexOf(label));
    if (labels.includes(-1)) {
      const odd = names[labels.indexOf(-1)];
      throw new FormatError(`${name}: Annotations/${ids[i]}.xml: class '${odd}' is none of ${known.join(', ')}`);
    }
    const extension = /\.[^./]+$/.exec(filename)?.[0] ?? '.jpg';
    const path = `JPEGImages/${ids[i]}${extension}`;
    return { name: path, bytes: () => entryBytes(entries, path, name), width, height, boxes, labels };
  });
  return new DetectionDataset(pictures, known);
}

/** The names in `ImageSets/Main/<part>.txt`: the first word of each line. */
export function vocList(entries: readonly ArchiveEntry[], part: string, name = 'voc'): string[] {
  const path = `ImageSets/Main/${part}.txt`;
  const ids = utf8(entryBytes(entries, path, name), `${name}: ${path}`)
    .split('\n')
    .map(line => line.trim().split(/\s+/)[0])
    .filter(Boolean);
  if (ids.length === 0) throw new FormatError(`${name}: ${path} lists no images`);
  return ids;
}

function parseXml(source: string, name: string): Element {
  try {
    const parser = new DOMParser({ onError: onWarningStopParsing });
    const { documentElement } = parser.parseFromString(source.replace(/^\ufeff/, ''), 'text/xml');
    if (documentElement) return documentElement;
  } catch (error) {
    throw new FormatError(`${name}: not well-formed XML: ${(error as Error).message.trim()}`);
  }
  throw new FormatError(`${name}: holds no XML element`);
}

/** Direct children only: the parts of an object may have names and boxes of their own. */
const elements = (parent: Element, tag: string): Element[] =>
  Array.from(parent.children).filter(child => child.tagName === tag);

function only(parent: Element, tag: string, name: string): Element {
  const found = elements(parent, tag);
  if (found.length !== 1) {
    throw new FormatError(`${name}: <${parent.tagName}> has ${found.length} <${tag}>, expected one`);
  }
  return found[0];
}

function text(parent: Element, tag: string, name: string): string {
  const content = only(parent, tag, name).textContent?.trim();
  if (!content) throw new FormatError(`${name}: <${tag}> of <${parent.tagName}> is empty`);
  return content;
}

function number(parent: Element, tag: string, name: string): number {
  const content = text(parent, tag, name);
  const value = Number(content);
  if (!Number.isFinite(value)) throw new FormatError(`${name}: <${tag}> is '${content}', expected a number`);
  return value;
}

function box(object: Element, width: number, height: number, name: string): number[] {
  const bounds = only(object, 'bndbox', name);
  const [xmin, ymin, xmax, ymax] = ['xmin', 'ymin', 'xmax', 'ymax'].map(tag => number(bounds, tag, name));
  // Some tools count from 0: their 0 is the same border as 1.
  const [left, top] = [Math.max(xmin - 1, 0), Math.max(ymin - 1, 0)];
  if (xmin < 0 || ymin < 0 || left >= xmax || top >= ymax || xmax > width || ymax > height) {
    throw new FormatError(`${name}: box [${xmin}, ${ymin}, ${xmax}, ${ymax}] in an image of ${width}×${height}`);
  }
  return [left, top, xmax, ymax];
}
