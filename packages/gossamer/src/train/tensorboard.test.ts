import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { crc32c, frame, TensorBoardWriter } from './tensorboard.ts';

const folder = mkdtempSync(join(tmpdir(), 'gossamer-events-'));
afterAll(() => rmSync(folder, { recursive: true }));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** The data of a file's records, after their lengths and checksums were compared. */
function unframe(bytes: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(new DataView(bytes.buffer, bytes.byteOffset + at).getBigUint64(0, true));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(hex(frame(data))).toBe(hex(bytes.subarray(at, at + 16 + length)));
    found.push(data);
    at += 16 + length;
  }
  return found;
}

describe('TFRecord', () => {
  it('computes CRC-32C as in RFC 3720, appendix B.4', () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
  });

  it('frames data as TensorFlow does', () => {
    // tf.io.TFRecordWriter of b'gossamer'.
    expect(hex(frame(new TextEncoder().encode('gossamer')))).toBe('0800000000000000ff86240f676f7373616d65725e3c99a7');
  });
});

describe('TensorBoardWriter', () => {
  it('writes scalars as event.proto and summary.proto have them', async () => {
    using writer = await TensorBoardWriter.open(join(folder, 'run'), { now: () => 1.5 });
    writer.scalars(300, { loss: 0.25, 'a/b': -1 });
    const time = '09000000000000f83f'; // field 1, double 1.5
    expect(unframe(readFileSync(writer.path)).map(hex)).toEqual([
      `${time}1000${'1a0d'}${Buffer.from('brain.Event:2').toString('hex')}`,
      `${time}10ac02${'2a19'}${'0a0b'}${'0a046c6f7373'}${'150000803e'}${'0a0a'}${'0a03612f62'}${'15000080bf'}`,
    ]);
  });

  it('tells TensorBoard to drop later steps when a run goes on', async () => {
    using writer = await TensorBoardWriter.open(join(folder, 'resumed'), { after: 6, now: () => 1.5 });
    expect(hex(unframe(readFileSync(writer.path))[1])).toBe('09000000000000f83f10073a020801');
  });

  it('gives two runs within a second files of their own', async () => {
    const place = join(folder, 'twice');
    using first = await TensorBoardWriter.open(place, { now: () => 9 });
    using second = await TensorBoardWriter.open(place, { now: () => 9 });
    expect(readdirSync(place)).toHaveLength(2);
    expect(first.path < second.path).toBe(true);
  });

  it('names a folder that cannot be made', async () => {
    writeFileSync(join(folder, 'file'), '');
    await expect(TensorBoardWriter.open(join(folder, 'file', 'run'))).rejects.toThrow('cannot be written');
  });
});
