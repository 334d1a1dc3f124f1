import { FormatError } from '@gossamer/tensor';
import { strToU8, zipSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { gunzip, gzip, readArchive, readTar, readZip } from './archive.ts';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** A ustar header and its content, padded. */
function tarFile(name: string, content: string, type = '0', prefix = ''): Uint8Array {
  const body = strToU8(content);
  const block = new Uint8Array(512 + Math.ceil(body.length / 512) * 512);
  const put = (at: number, value: string) => block.set(strToU8(value), at);
  put(0, name);
  put(124, `${body.length.toString(8).padStart(11, '0')}\0`);
  put(156, type);
  put(257, 'ustar\x0000');
  put(345, prefix);
  put(148, '        ');
  put(
    148,
    `${block
      .subarray(0, 512)
      .reduce((n, b) => n + b, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
  );
  block.set(body, 512);
  return block;
}

const join = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const end = new Uint8Array(1024);

describe('gunzip', () => {
  it('undoes gzip', async () => {
    const bytes = strToU8('abc'.repeat(10_000));
    expect(await gunzip(await gzip(bytes))).toEqual(bytes);
    expect(await gunzip(await gzip(new Uint8Array(0)))).toEqual(new Uint8Array(0));
  });

  it('refuses what is cut, damaged, too large or something else', async () => {
    const packed = await gzip(crypto.getRandomValues(new Uint8Array(5000)));
    for (const length of [2, 10, 100, packed.length - 1]) {
      await expect(gunzip(packed.subarray(0, length), 'x.gz')).rejects.toThrow(FormatError);
    }
    const damaged = packed.slice();
    damaged[packed.length - 6] ^= 1;
    await expect(gunzip(damaged)).rejects.toThrow(FormatError);
    await expect(gunzip(await gzip(new Uint8Array(100_000)), 'bomb', 99_999)).rejects.toThrow(
      'more than the allowed 99999',
    );
    await expect(gunzip(strToU8('plain'))).rejects.toThrow('not gzip');
  });
});

describe('readTar', () => {
  it('reads files, prefixes, GNU and pax long names, and leaves folders out', () => {
    const long = `${'d'.repeat(120)}/file.txt`;
    const pax = `path=${long}x`;
    const record = (body: string): string => {
      let length = body.length + 2;
      while (String(length).length + body.length + 2 !== length) length = String(length).length + body.length + 2;
      return `${length} ${body}\n`;
    };
    const tar = join(
      tarFile('folder/', '', '5'),
      tarFile('a.txt', 'A'),
      tarFile('b.txt', 'B'.repeat(513), '0', 'deep'),
      tarFile('././@LongLink', `${long}\0`, 'L'),
      tarFile('short', 'C'),
      tarFile('pax', record(pax), 'x'),
      tarFile('short', 'D'),
      tarFile('link', '', '2'),
      end,
    );
    const entries = readTar(tar);
    expect(entries.map(entry => entry.name)).toEqual(['a.txt', 'deep/b.txt', long, `${long}x`]);
    expect(entries.map(entry => text(entry.bytes()))).toEqual(['A', 'B'.repeat(513), 'C', 'D']);
  });

  it('refuses cut archives, wrong checksums and sizes past the end', () => {
    const tar = join(tarFile('a.txt', 'A'.repeat(600)), end);
    for (const length of [0, 100, 512, 600, 1536]) {
      expect(() => readTar(tar.subarray(0, length)), String(length)).toThrow(FormatError);
    }
    const damaged = tar.slice();
    damaged[0] ^= 1;
    expect(() => readTar(damaged, 'x.tar')).toThrow('x.tar: header at offset 0 has a wrong checksum');
  });
});

describe('readZip', () => {
  const files = { 'a.txt': strToU8('hello '.repeat(100)), 'dir/b.bin': new Uint8Array([1, 2, 3]) };
  const zip = zipSync({ 'a.txt': files['a.txt'], dir: { 'b.bin': [files['dir/b.bin'], { level: 0 }] } });

  it('reads deflated and stored files', () => {
    const entries = readZip(zip);
    expect(Object.fromEntries(entries.map(entry => [entry.name, entry.bytes()]))).toEqual(files);
  });

  it('refuses every cut', () => {
    for (let length = 0; length < zip.length; length += 7) {
      expect(() => readZip(zip.subarray(0, length)).map(entry => entry.bytes())).toThrow(FormatError);
    }
  });

  it('never returns wrong bytes or another error when a byte is changed', () => {
    for (let at = 0; at < zip.length; at++) {
      const damaged = zip.slice();
      damaged[at] ^= 0x55;
      try {
        for (const entry of readZip(damaged)) {
          const bytes = entry.bytes();
          expect(Object.values(files)).toContainEqual(bytes);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(FormatError);
      }
    }
  });

  it('refuses a size that deflate cannot reach before allocating it', () => {
    const lying = zip.slice();
    const central = text(lying).indexOf('PK\x01\x02') >= 0 ? Buffer.from(lying).indexOf('PK\x01\x02', 0, 'latin1') : -1;
    new DataView(lying.buffer).setUint32(central + 24, 0xfffffff0, true);
    expect(() => readZip(lying)[0].bytes()).toThrow('impossible from');
  });
});

describe('readArchive', () => {
  it('tells tar, tar.gz and zip apart', async () => {
    const tar = join(tarFile('a', 'A'), end);
    for (const bytes of [tar, await gzip(tar), zipSync({ a: strToU8('A') })]) {
      const [entry] = await readArchive(bytes);
      expect([entry.name, text(entry.bytes())]).toEqual(['a', 'A']);
    }
  });
});
