import { FormatError } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import type { ArchiveEntry } from './archive.ts';
import { readVoc, readVocPart } from './voc.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

const bounds = (box: readonly number[]): string => {
  const [xmin, ymin, xmax, ymax] = box;
  return `<bndbox><xmin>${xmin}</xmin><ymin>${ymin}</ymin><xmax>${xmax}</xmax><ymax>${ymax}</ymax></bndbox>`;
};
const object = (name: string, box: readonly number[], more = ''): string =>
  `<object><name>${name}</name>${more}${bounds(box)}</object>`;
const annotation = (objects: string, size = '<width>20</width><height>10</height>'): string =>
  `<annotation><filename>a.jpg</filename><size>${size}<depth>3</depth></size>${objects}</annotation>`;
const read = (text: string) => readVoc(encode(text), 'a.xml');

describe('readVoc', () => {
  it('reads boxes as distances from the corner, and flags', () => {
    const whole = object('cat', [1, 1, 20, 10], '<difficult>1</difficult><truncated>0</truncated>');
    const pixel = object('dog', [7, 3, 7, 3], '<truncated>1</truncated>');
    expect(read(annotation(whole + pixel))).toEqual({
      filename: 'a.jpg',
      width: 20,
      height: 10,
      boxes: { dtype: 'float32', shape: [2, 4], data: Float32Array.from([0, 0, 20, 10, 6, 2, 7, 3]) },
      names: ['cat', 'dog'],
      difficult: Uint8Array.from([1, 0]),
      truncated: Uint8Array.from([0, 1]),
    });
  });

  it('reads an image without objects, fractions, and files that count from 0', () => {
    expect(read(annotation('')).boxes).toEqual({ dtype: 'float32', shape: [0, 4], data: new Float32Array(0) });
    expect([...read(annotation(object('x', [0, 2.5, 3.5, 10]))).boxes.data]).toEqual([0, 1.5, 3.5, 10]);
  });

  it('takes declarations, comments, CDATA, entities, attributes and a byte-order mark in its stride', () => {
    const body = annotation(object('a &amp; b', [1, 1, 2, 2]) + object('<![CDATA[<c>]]>', [1, 1, 2, 2]));
    const text = `\ufeff<?xml version="1.0"?>\n<!-- <object> -->\n${body.replace('<annotation>', '<annotation verified="yes">')}`;
    expect(read(text).names).toEqual(['a & b', '<c>']);
  });

  it('leaves alone the parts of an object, which have names and boxes of their own', () => {
    const part = `<part><name>head</name>${bounds([2, 2, 3, 3])}</part>`;
    const { names, boxes } = read(annotation(object('person', [1, 1, 9, 9], part)));
    expect([names, [...boxes.data]]).toEqual([['person'], [0, 0, 9, 9]]);
  });

  it.each([
    ['', /^a.xml: not well-formed XML/],
    ['no xml', /^a.xml: not well-formed XML/],
    [annotation('').slice(0, -5), /not well-formed XML/],
    [annotation('<object>'), /not well-formed XML/],
    [annotation(object('a &unknown; b', [1, 1, 2, 2])), /not well-formed XML/],
    [`${annotation('')}<annotation/>`, /not well-formed XML/],
    ['<svg/>', /<svg>, expected <annotation>/],
    ['<annotation/>', /<annotation> has 0 <size>, expected one/],
    [annotation('', '<width>20</width>'), /<size> has 0 <height>/],
    [annotation('', '<width>2</width><width>2</width><height>1</height>'), /<size> has 2 <width>/],
    [annotation('', '<width>0</width><height>10</height>'), /size of 0×10/],
    [annotation('', '<width>wide</width><height>10</height>'), /<width> is 'wide', expected a number/],
    [annotation('<object><name>x</name></object>'), /object 1: <object> has 0 <bndbox>/],
    [annotation(object(' ', [1, 1, 2, 2])), /<name> of <object> is empty/],
    [annotation(object('x', [1, 1, 21, 10])), /box \[1, 1, 21, 10\] in an image of 20×10/],
    [annotation(object('x', [-1, 1, 5, 5])), /box \[-1/],
    [annotation(object('x', [6, 1, 5, 5])), /box \[6/],
  ])('refuses %j', (text, message) => {
    expect(() => read(text)).toThrow(message);
    expect(() => read(text)).toThrow(FormatError);
  });

  it('expands no entities of the file itself', () => {
    const bomb = `<!DOCTYPE a [<!ENTITY e "eeee"><!ENTITY f "&e;&e;&e;">]>${annotation(object('&f;', [1, 1, 2, 2]))}`;
    expect(() => read(bomb)).toThrow(FormatError);
  });
});

describe('readVocPart', () => {
  const files: Record<string, string> = {
    'VOC/ImageSets/Main/train.txt': '2  1\r\n1 -1\n\n',
    'VOC/ImageSets/Main/empty.txt': '\n',
    'VOC/ImageSets/Main/gone.txt': '3\n',
    'VOC/Annotations/1.xml': annotation(object('dog', [1, 1, 2, 2])),
    'VOC/Annotations/2.xml': annotation(object('cat', [1, 1, 2, 2]) + object('dog', [2, 2, 3, 3])),
    'VOC/JPEGImages/1.jpg': 'one',
    'VOC/JPEGImages/2.jpg': 'two',
  };
  const entries: ArchiveEntry[] = Object.entries(files).map(([name, text]) => ({ name, bytes: () => encode(text) }));

  it('gives the images of a list in its order', () => {
    const data = readVocPart(entries, 'train');
    expect(data.classes).toEqual(['cat', 'dog']);
    expect(data.pictures.map(({ name }) => name)).toEqual(['JPEGImages/2.jpg', 'JPEGImages/1.jpg']);
    expect(data.pictures.map(({ labels }) => [...labels])).toEqual([[0, 1], [1]]);
    expect(data.pictures[0].bytes()).toEqual(encode('two'));
    expect(readVocPart(entries, 'train', { classes: ['dog', 'cat'] }).pictures[0].labels).toEqual(Int32Array.of(1, 0));
  });

  it('refuses unknown classes, lists and images', () => {
    expect(() => readVocPart(entries, 'train', { classes: ['dog'] })).toThrow(
      "voc: Annotations/2.xml: class 'cat' is none of dog",
    );
    expect(() => readVocPart(entries, 'test')).toThrow('voc: ImageSets/Main/test.txt is missing');
    expect(() => readVocPart(entries, 'empty')).toThrow('lists no images');
    expect(() => readVocPart(entries, 'gone')).toThrow('voc: Annotations/3.xml is missing');
  });
});
