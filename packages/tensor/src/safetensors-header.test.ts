import { describe, expect, it } from 'vitest';
import { bytesPerElement, sizeOf } from './dtype.ts';
import { FormatError } from './errors.ts';
import { encodeSafetensors, openSafetensors } from './safetensors.ts';

/** A file with any header text, and `dataBytes` zeros behind it. */
function file(header: string | Uint8Array, dataBytes = 0, declared?: bigint): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, declared ?? BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

const tensor = (dtype: unknown, shape: unknown, offsets: unknown) =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });
const one = (dtype: unknown, shape: unknown, offsets: unknown, dataBytes = 4) =>
  file(`{"w":${tensor(dtype, shape, offsets)}}`, dataBytes);
const f32 = (begin: number, end: number) => tensor('F32', [(end - begin) / 4], [begin, end]);
const tooDeep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;

describe('a malformed file is refused with a message that names file, tensor and value', () => {
  it.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(0), /^bytes: not a safetensors file: 0 bytes/],
    ['less than a length', new Uint8Array(7), /7 bytes, at least 8/],
    ['a truncated header', file('{}', 0, 3n), /truncated: header of 3 bytes in a file of 10/],
    ['a header over the limit', file('{}', 0, 100_000_001n), /length 100000001 exceeds .* 100000000/],
    ['the largest length', file('{}', 0, 2n ** 64n - 1n), /length 18446744073709551615 exceeds/],
    ['an empty header', file(''), /does not begin with "\{"/],
    ['an array', file('[]'), /does not begin with "\{"/],
    ['a space before', file(' {}'), /does not begin with "\{"/],
    ['a byte order mark', file('\ufeff{}'), /does not begin with "\{"/],
    ['no JSON', file('{"w":'), /header is not valid JSON/],
    ['two values', file('{}{}'), /header is not valid JSON/],
    ['zeros as padding', file('{}\0\0'), /header is not valid JSON/],
    ['no UTF-8', file(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), /invalid UTF-8/],
    ['a name twice', file(`{"w":${f32(0, 4)},"\\u0077":${f32(4, 8)}}`, 8), /key "w" occurs twice/],
    [
      'a field twice',
      file('{"w":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'),
      /"dtype" occurs twice/,
    ],
    ['a metadata key twice', file('{"__metadata__":{"a":"1","a":"2"}}'), /key "a" occurs twice/],
    ['half a surrogate pair', file('{"\\ud800":{}}'), /not valid Unicode/],
    ['metadata that is no object', file('{"__metadata__":["a"]}'), /__metadata__ is \["a"\]/],
    ['metadata that is no string', file('{"__metadata__":{"epoch":3}}'), /__metadata__ entry "epoch" is 3, a string/],
    ['an entry that is no object', file('{"w":7}'), /tensor "w": 7 is not an object/],
    ['an entry nested without end', file(`{"w":${tooDeep}}`), /tensor "w": \[\[…\]\] is not an object/],
    ['no dtype', file('{"w":{"shape":[],"data_offsets":[0,4]}}', 4), /tensor "w": dtype undefined is not supported/],
    ['an unknown dtype', one('F33', [1], [0, 4]), /tensor "w": dtype "F33" is not supported: U64, /],
    ['a 4-bit float', one('F4', [8], [0, 4]), /tensor "w": dtype "F4" is not supported/],
    ['an 8-bit float of wrong length', one('F8_E4M3', [3], [0, 4]), /hold 4 bytes, but F8_E4M3 \[3\] takes 3/],
    ['a dtype out of a prototype', one('toString', [1], [0, 4]), /dtype "toString" is not supported/],
    ['a shape that is a number', one('F32', 1, [0, 4]), /tensor "w": shape 1 is not a list/],
    ['a negative dimension', one('F32', [-1], [0, 4]), /shape \[-1\]/],
    ['a negative zero', file('{"w":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}'), /shape \[0\]/],
    ['half a dimension', one('F32', [0.5], [0, 4]), /shape \[0.5\]/],
    ['a dimension in a string', one('F32', ['1'], [0, 4]), /shape \["1"\]/],
    ['a dimension of 2⁵³', one('F32', [2 ** 53], [0, 4]), /shape \[9007199254740992\]/],
    ['a product that overflows', one('F32', Array(40).fill(2 ** 52), [0, 4]), /takes Infinity/],
    [
      'a product of 2⁶⁴ + 4',
      one('U8', [4, 2 ** 31, 2 ** 31], [0, 4]),
      /hold 4 bytes, but U8 .* takes 18446744073709552000/,
    ],
    ['too few bytes', one('F32', [2], [0, 4]), /tensor "w": data_offsets \[0, 4\] hold 4 bytes, but F32 \[2\] takes 8/],
    ['too many bytes', one('F32', [1], [0, 8], 8), /hold 8 bytes, but F32 \[1\] takes 4/],
    ['no offsets', file('{"w":{"dtype":"U8","shape":[0]}}'), /data_offsets undefined/],
    ['three offsets', one('F32', [1], [0, 4, 4]), /data_offsets \[0, 4, 4\]/],
    ['offsets in reverse', one('F32', [1], [4, 0]), /data_offsets \[4, 0\]/],
    ['a negative offset', one('F32', [1], [-4, 0]), /data_offsets \[-4, 0\]/],
    ['data past the end', one('F32', [2], [0, 8]), /tensor "w" ends at byte \d+ of a file of \d+/],
    ['terabytes in a small file', one('F32', [2 ** 40], [0, 2 ** 42]), /tensor "w" ends at byte 43980/],
    ['a begin past the end', one('F32', [0], [2 ** 53 - 1, 2 ** 53 - 1]), /tensor "w" leaves a hole/],
    [
      'a hole at the start',
      one('F32', [1], [4, 8], 8),
      /tensor "w" leaves a hole before it: its data begins at 4, 0 exp/,
    ],
    [
      'a hole between',
      file(`{"a":${f32(0, 4)},"b":${f32(8, 12)}}`, 12),
      /tensor "b" leaves a hole .* at 8, 4 expected/,
    ],
    ['an overlap', file(`{"a":${f32(0, 8)},"b":${f32(4, 12)}}`, 12), /tensor "b" overlaps .* begins at 4, 8 expected/],
    ['the same data twice', file(`{"a":${f32(0, 4)},"b":${f32(0, 4)}}`, 4), /tensor "b" overlaps/],
    ['bytes left over', one('F32', [1], [0, 4], 5), /1 bytes after the last tensor's end/],
  ])('%s', async (_, bytes, message) => {
    const error = await openSafetensors(bytes).then(
      () => null,
      e => e,
    );
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(message);
    expect(error.message.length).toBeLessThan(400);
  });
});

it('opens what is unusual but legal', async () => {
  const header = `{"b":${f32(4, 8)},"0":${f32(0, 4)},"none":${tensor('F64', [3, 0], [4, 4])},"__proto__":${tensor(
    'U8',
    [],
    [8, 9],
  )},"":${tensor('BOOL', [1, 1, 1], [9, 10])}}  `;
  const opened = await openSafetensors(file(header, 10));
  expect(opened.names()).toEqual(['0', 'none', 'b', '__proto__', '']);
  expect((await opened.read('none')).shape).toEqual([3, 0]);
  expect((await opened.read('__proto__')).data).toEqual(Uint8Array.of(0));
  expect((await openSafetensors(file('{}'))).names()).toEqual([]);
});

/** Small numbers from a seed (mulberry32). */
function generator(seed: number): (below: number) => number {
  return below => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Opens and reads everything: the number of tensors, or null if the file was refused as it should be. */
async function survive(bytes: Uint8Array): Promise<number | null> {
  try {
    const opened = await openSafetensors(bytes);
    let total = 0;
    for (const name of opened.names()) {
      const { dtype, shape, data } = await opened.read(name);
      expect(data.length).toBe(sizeOf(shape));
      total += sizeOf(shape) * bytesPerElement(dtype);
    }
    expect(total).toBeLessThanOrEqual(bytes.length);
    return opened.names().length;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return null;
  }
}

describe('a damaged file is read or refused, nothing else', () => {
  const sound = encodeSafetensors(
    {
      weight: { dtype: 'float32', shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
      half: { dtype: 'bfloat16', shape: [4], data: Uint16Array.of(1, 2, 3, 4) },
      count: { dtype: 'int64', shape: [], data: BigInt64Array.of(5n) },
      mask: { dtype: 'bool', shape: [5], data: Uint8Array.of(0, 1, 1, 0, 1) },
    },
    { metadata: { format: 'pt' } },
  );

  it('cut at every length', async () => {
    for (let length = 0; length < sound.length; length++) expect(await survive(sound.slice(0, length))).toBeNull();
    expect(await survive(sound)).toBe(4);
  });

  it('4000 times with bytes changed, put in or taken out', async () => {
    const next = generator(1);
    let read = 0;
    for (let i = 0; i < 4000; i++) {
      const bytes = [...sound];
      for (let edits = 1 + next(3); edits > 0; edits--) {
        const at = next(bytes.length);
        const edit = next(4);
        if (edit === 0) bytes[at] = next(256);
        else if (edit === 1) bytes[at] ^= 1 << next(8);
        else if (edit === 2) bytes.splice(at, 0, next(256));
        else bytes.splice(at, 1 + next(4));
      }
      if ((await survive(Uint8Array.from(bytes))) !== null) read++;
    }
    expect(read).toBeGreaterThan(100); // damage in data and names goes unseen
    expect(read).toBeLessThan(3000);
  });

  it('4000 times with values of the header replaced', async () => {
    const next = generator(2);
    const values: unknown[] = [null, true, -1, 0.5, 1, 2, 4, 2 ** 31, 2 ** 53, 1e300, '', 'F32', 'F64', [], {}, [0, 8]];
    let read = 0;
    for (let i = 0; i < 4000; i++) {
      const header: Record<string, Record<string, unknown>> = JSON.parse(
        new TextDecoder().decode(sound.subarray(8, 8 + Number(new DataView(sound.buffer).getBigUint64(0, true)))),
      );
      const names = Object.keys(header);
      const name = names[next(names.length)];
      const field = ['dtype', 'shape', 'data_offsets', 'format', 'extra'][next(5)];
      const list = header[name][field];
      const value = values[next(values.length)];
      if (next(8) === 0) header[name] = value as Record<string, unknown>;
      else if (Array.isArray(list) && next(3) > 0) list[next(3)] = value;
      else header[name][field] = value;
      if ((await survive(file(JSON.stringify(header), next(3) === 0 ? next(64) : 45))) !== null) read++;
    }
    expect(read).toBeGreaterThan(100);
    expect(read).toBeLessThan(3000);
  });
});
