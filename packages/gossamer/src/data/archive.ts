import { FormatError } from '@gossamer/tensor';
import { inflateSync } from 'fflate';
import { ByteReader, joinBytes, latin1, utf8 } from './bytes.ts';

/** A file inside an archive. */
export interface ArchiveEntry {
  readonly name: string;
  /** Its bytes: a view into the archive where it is stored uncompressed, decompressed on each call elsewhere. */
  bytes(): Uint8Array;
}

export const isGzip = (bytes: Uint8Array): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b;

/**
 * Decompresses gzip. `limit` (bytes, default 4 GiB) refuses a decompression bomb.
 * Throws a FormatError for anything that is not one complete gzip stream.
 */
export async function gunzip(bytes: Uint8Array, name = 'gzip', limit = 2 ** 32): Promise<Uint8Array> {
  if (!isGzip(bytes)) throw new FormatError(`${name}: not gzip: it does not start with 1f 8b`);
  const source = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream();
  const reader = source.pipeThrough(new DecompressionStream('gzip')).getReader();
  const parts: Uint8Array[] = [];
  let total = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      total += part.value.length;
      if (total > limit) break;
      parts.push(part.value);
    }
  } catch (error) {
    throw new FormatError(`${name}: broken gzip data: ${(error as Error).message}`);
  }
  if (total > limit) {
    await reader.cancel();
    throw new FormatError(`${name}: decompresses to more than the allowed ${limit} bytes`);
  }
  return joinBytes(parts);
}

/** Compresses to gzip. */
export async function gzip(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new CompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** `bytes` decompressed if they are gzip, else as they are. */
export const decompress = async (bytes: Uint8Array, name?: string): Promise<Uint8Array> =>
  isGzip(bytes) ? gunzip(bytes, name) : bytes;

const BLOCK = 512;

/**
 * The regular files of a tar archive (ustar, GNU long names, pax paths), in order; folders and links are left out.
 * Throws a FormatError for a wrong checksum, a size past the end, or a missing end-of-archive block.
 */
export function readTar(bytes: Uint8Array, name = 'tar'): ArchiveEntry[] {
  const reader = new ByteReader(bytes, name);
  const entries: ArchiveEntry[] = [];
  let next: { path?: string; size?: number } = {};
  for (;;) {
    const header = reader.take(BLOCK, 'a header or the end-of-archive block');
    if (header.every(byte => byte === 0)) return entries;
    const at = reader.offset - BLOCK;
    if (octal(header, 148, 8) !== checksum(header)) reader.fail(`header at offset ${at} has a wrong checksum`);
    const size = next.size ?? octal(header, 124, 12);
    if (!(size >= 0)) reader.fail(`header at offset ${at} has a malformed size`);
    const type = String.fromCharCode(header[156] || 0x30);
    const body = reader.take(size, `the file of the header at offset ${at}`);
    reader.skip(Math.min((BLOCK - (size % BLOCK)) % BLOCK, reader.remaining));
    if (type === 'L') next = { ...next, path: cString(body) };
    else if (type === 'x') next = { ...next, ...paxFields(body, reader) };
    else if (type !== 'g' && type !== 'K') {
      const prefix = cString(header.subarray(257, 262)) === 'ustar' ? cString(header.subarray(345, 500)) : '';
      const short = cString(header.subarray(0, 100));
      const path = next.path ?? (prefix ? `${prefix}/${short}` : short);
      if ((type === '0' || type === '7') && !path.endsWith('/')) entries.push({ name: path, bytes: () => body });
      next = {};
    }
  }
}

/** Sum of the header's bytes with the checksum field itself read as blanks. */
function checksum(header: Uint8Array): number {
  let sum = 8 * 32;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += header[i];
  return sum;
}

/** An octal field, or a big-endian one where its first bit is set (GNU, for large files); NaN if malformed. */
function octal(header: Uint8Array, start: number, length: number): number {
  const field = header.subarray(start, start + length);
  if (field[0] & 0x80) return field.subarray(1).reduce((n, byte) => n * 256 + byte, field[0] & 0x7f);
  const text = cString(field).trim();
  return /^[0-7]*$/.test(text) ? Number.parseInt(text || '0', 8) : Number.NaN;
}

function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** Records `length key=value\n` of a pax header. */
function paxFields(body: Uint8Array, reader: ByteReader): { path?: string; size?: number } {
  const fields: { path?: string; size?: number } = {};
  for (let at = 0; at < body.length; ) {
    const length = Number.parseInt(latin1(body.subarray(at, at + 20)), 10);
    const record = body.subarray(at, at + length);
    if (!(length > 4) || at + length > body.length) reader.fail('malformed pax header');
    const text = new TextDecoder().decode(record.subarray(record.indexOf(32) + 1, -1));
    const equals = text.indexOf('=');
    if (text.startsWith('path=')) fields.path = text.slice(equals + 1);
    if (text.startsWith('size=')) fields.size = Number(text.slice(equals + 1));
    at += length;
  }
  return fields;
}

const END_RECORD = 0x06054b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;

/**
 * The files of a zip archive (stored or deflated; not encrypted, not ZIP64), by its central directory; folders are left out.
 * Sizes and CRC-32 are checked when an entry's bytes are asked for. Throws a FormatError for anything malformed.
 */
export function readZip(bytes: Uint8Array, name = 'zip'): ArchiveEntry[] {
  const reader = new ByteReader(bytes, name);
  reader.offset = findEndRecord(reader) + 8;
  reader.u16();
  const count = reader.u16();
  const size = reader.u32();
  const start = reader.u32();
  if (start === 0xffffffff || count === 0xffff) reader.fail('ZIP64 archives are not supported');
  if (start + size > bytes.length) reader.fail(`central directory [${start}, ${start + size}) lies outside the file`);
  reader.offset = start;
  const entries: ArchiveEntry[] = [];
  for (let i = 0; i < count; i++) {
    if (reader.u32() !== CENTRAL) reader.fail(`central directory entry ${i} has a wrong signature`);
    reader.skip(4);
    const flags = reader.u16();
    const method = reader.u16();
    reader.skip(4);
    const [crc, packed, unpacked] = [reader.u32(), reader.u32(), reader.u32()];
    const [nameLength, extraLength, commentLength] = [reader.u16(), reader.u16(), reader.u16()];
    reader.skip(8);
    const local = reader.u32();
    const path = utf8(reader.take(nameLength), name);
    reader.skip(extraLength + commentLength);
    if (flags & 1) reader.fail(`${path} is encrypted`);
    if (method !== 0 && method !== 8) reader.fail(`${path} uses compression method ${method}; 0 and 8 are supported`);
    const entry = { path, method, crc, packed, unpacked, local };
    if (path.endsWith('/')) continue;
    entries.push({ name: path, bytes: () => unzipEntry(bytes, name, entry) });
  }
  return entries;
}

function findEndRecord(reader: ByteReader): number {
  for (let at = reader.bytes.length - 22; at >= Math.max(0, reader.bytes.length - 22 - 0xffff); at--) {
    reader.offset = at;
    if (reader.u32() === END_RECORD) return at;
  }
  return reader.fail('not a zip archive, or truncated: it has no end-of-directory record');
}

interface ZipRecord {
  path: string;
  method: number;
  crc: number;
  packed: number;
  unpacked: number;
  local: number;
}

function unzipEntry(bytes: Uint8Array, archive: string, entry: ZipRecord): Uint8Array {
  const reader = new ByteReader(bytes, `${archive}: ${entry.path}`);
  reader.skip(entry.local);
  if (reader.u32() !== LOCAL) reader.fail('its local header has a wrong signature');
  reader.skip(22);
  const [nameLength, extraLength] = [reader.u16(), reader.u16()];
  const own = utf8(reader.take(nameLength, 'its name'), archive);
  if (own !== entry.path) reader.fail(`its local header calls it ${own}`);
  reader.skip(extraLength);
  const packed = reader.take(entry.packed, 'its data');
  // Deflate shrinks by 1032 at most: a larger claim is a lie, refused before it is allocated.
  if (entry.unpacked > (entry.method === 0 ? entry.packed : 1032 * entry.packed + 1032)) {
    reader.fail(`declares ${entry.unpacked} bytes, impossible from ${entry.packed} compressed`);
  }
  let data = packed;
  if (entry.method === 8) {
    try {
      data = inflateSync(packed, { out: new Uint8Array(entry.unpacked) });
    } catch (error) {
      reader.fail(`broken deflate data: ${(error as Error).message}`);
    }
  }
  if (data.length !== entry.unpacked) reader.fail(`holds ${data.length} bytes, ${entry.unpacked} were declared`);
  if (crc32(data) !== entry.crc) reader.fail('its CRC-32 is wrong');
  return data;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = crcTable[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** The files of a tar, tar.gz or zip archive, told apart by content. */
export async function readArchive(bytes: Uint8Array, name?: string): Promise<ArchiveEntry[]> {
  const plain = await decompress(bytes, name);
  return plain[0] === 0x50 && plain[1] === 0x4b ? readZip(plain, name) : readTar(plain, name);
}

/** The bytes of the file whose path ends in `/suffix` or is it; a FormatError if there is none. */
export function entryBytes(entries: readonly ArchiveEntry[], suffix: string, archive: string): Uint8Array {
  const found = entries.find(({ name }) => name === suffix || name.endsWith(`/${suffix}`));
  if (!found) throw new FormatError(`${archive}: ${suffix} is missing`);
  return found.bytes();
}
