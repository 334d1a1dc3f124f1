import { FormatError, type NDArray } from '@gossamer/tensor';
import { ByteReader } from './bytes.ts';

export interface Sound {
  /** Samples a second. */
  readonly rate: number;
  /** float32 [channels, samples] in [−1, 1). */
  readonly samples: NDArray<Float32Array>;
}

/** Reads a RIFF WAVE file: PCM of 8, 16, 24 or 32 bits, or 32-bit floats. */
export function readWav(bytes: Uint8Array, name = 'wav'): Sound {
  const reader = new ByteReader(bytes, name);
  const riff = reader.latin1(4, 'the header');
  reader.skip(4);
  if (riff !== 'RIFF' || reader.latin1(4, 'the header') !== 'WAVE') throw new FormatError(`${name}: not a WAVE file`);
  let format: { kind: number; channels: number; rate: number; bits: number } | null = null;
  for (;;) {
    const id = reader.latin1(4, 'a chunk');
    const size = reader.u32('a chunk');
    if (id === 'data') {
      if (!format) return reader.fail('its data comes before its format');
      return decode(reader.take(size, 'the sound'), format, reader);
    }
    const chunk = new ByteReader(reader.take(size + (size & 1), `chunk '${id}'`), name);
    if (id !== 'fmt ') continue;
    format = { kind: chunk.u16(), channels: chunk.u16(), rate: chunk.u32(), bits: 0 };
    chunk.skip(6);
    format.bits = chunk.u16();
    // WAVE_FORMAT_EXTENSIBLE keeps the real kind in the first two bytes of its sub-format.
    if (format.kind === 0xfffe) {
      chunk.skip(8, 'the format');
      format.kind = chunk.u16('the format');
    }
  }
}

function decode(
  data: Uint8Array,
  format: { kind: number; channels: number; rate: number; bits: number },
  reader: ByteReader,
): Sound {
  const { kind, channels, rate, bits } = format;
  const known = (kind === 1 && [8, 16, 24, 32].includes(bits)) || (kind === 3 && bits === 32);
  if (!known || channels === 0)
    return reader.fail(`format ${kind} of ${bits} bits, ${channels} channels: not supported`);
  const width = bits / 8;
  const length = data.length / (width * channels);
  if (!Number.isInteger(length)) return reader.fail(`${data.length} bytes of sound are no whole number of samples`);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const sample = (at: number): number => {
    if (kind === 3) return view.getFloat32(at, true);
    if (bits === 8) return (view.getUint8(at) - 128) / 2 ** 7;
    if (bits === 16) return view.getInt16(at, true) / 2 ** 15;
    if (bits === 24) return (view.getInt8(at + 2) * 2 ** 16 + view.getUint16(at, true)) / 2 ** 23;
    return view.getInt32(at, true) / 2 ** 31;
  };
  const samples = new Float32Array(channels * length);
  for (let i = 0; i < length; i++) {
    for (let c = 0; c < channels; c++) samples[c * length + i] = sample((i * channels + c) * width);
  }
  return { rate, samples: { dtype: 'float32', shape: [channels, length], data: samples } };
}
