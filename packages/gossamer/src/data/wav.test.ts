import { FormatError } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { readWav } from './wav.ts';

function wav(
  kind: number,
  channels: number,
  bits: number,
  data: number[],
  extra: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(kind, 20);
  head.writeUInt16LE(channels, 22);
  head.writeUInt32LE(8000, 24);
  head.writeUInt16LE(bits, 34);
  head.write('data', 36);
  head.writeUInt32LE(data.length, 40);
  return new Uint8Array(Buffer.concat([head.subarray(0, 36), extra, head.subarray(36), Buffer.from(data)]));
}

describe('readWav', () => {
  it('reads every width, and channels apart', () => {
    expect(readWav(wav(1, 2, 16, [0, 0, 0, 0x80, 0, 0x40, 0xff, 0xff]))).toEqual({
      rate: 8000,
      samples: { dtype: 'float32', shape: [2, 2], data: Float32Array.from([0, 0.5, -1, -1 / 32768]) },
    });
    expect([...readWav(wav(1, 1, 8, [128, 0, 192])).samples.data]).toEqual([0, -1, 0.5]);
    expect([...readWav(wav(1, 1, 24, [0, 0, 0x80, 0, 0, 0x40])).samples.data]).toEqual([-1, 0.5]);
    expect([...readWav(wav(1, 1, 32, [0, 0, 0, 0xc0])).samples.data]).toEqual([-0.5]);
    expect([...readWav(wav(3, 1, 32, [0, 0, 0x80, 0x3e])).samples.data]).toEqual([0.25]);
  });

  it('skips other chunks, padded to even sizes', () => {
    const list = new Uint8Array(Buffer.concat([Buffer.from('LIST'), Buffer.from([3, 0, 0, 0]), Buffer.from('abc\0')]));
    expect([...readWav(wav(1, 1, 8, [128], list)).samples.data]).toEqual([0]);
  });

  it('refuses cuts, other formats and partial samples', () => {
    const good = wav(1, 2, 16, [0, 0, 0, 0]);
    for (let length = 0; length < good.length; length++) {
      expect(() => readWav(good.subarray(0, length))).toThrow(FormatError);
    }
    expect(() => readWav(wav(6, 1, 8, [0]), 'x')).toThrow('x: format 6 of 8 bits');
    expect(() => readWav(wav(1, 0, 8, [0]))).toThrow('0 channels');
    expect(() => readWav(wav(1, 2, 16, [0, 0]))).toThrow('no whole number');
    expect(() => readWav(new TextEncoder().encode('RIFF....WEBP....'))).toThrow('not a WAVE');
  });
});
