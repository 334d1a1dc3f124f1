import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NDArray } from './dtype.ts';
import { FormatError, GossamerError } from './errors.ts';
import { encodeSafetensors, openSafetensors, writeSafetensors } from './safetensors.ts';

const folders: string[] = [];
async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'gossamer-'));
  folders.push(path);
  return path;
}
afterAll(() => Promise.all(folders.map(path => rm(path, { recursive: true }))));

/** Every dtype, with the bit patterns that conversions tend to lose. */
const samples: Record<string, NDArray> = {
  f64: {
    dtype: 'float64',
    shape: [3],
    data: new Float64Array(BigUint64Array.of(0x7ff0000000000001n, 1n, 1n << 63n).buffer),
  },
  f32: {
    dtype: 'float32',
    shape: [2, 2],
    data: new Float32Array(Uint32Array.of(0x7fc12345, 0xffa00001, 0x80000000, 1).buffer),
  },
  f16: { dtype: 'float16', shape: [3], data: Uint16Array.of(0x7e01, 0xfc01, 0x8000) },
  bf16: { dtype: 'bfloat16', shape: [1, 3], data: Uint16Array.of(0x7fc1, 0xff81, 1) },
  i64: { dtype: 'int64', shape: [2], data: BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n) },
  i32: { dtype: 'int32', shape: [2], data: Int32Array.of(-(2 ** 31), 2 ** 31 - 1) },
  i16: { dtype: 'int16', shape: [2], data: Int16Array.of(-32768, 32767) },
  i8: { dtype: 'int8', shape: [3], data: Int8Array.of(-128, 127, 0) },
  u64: { dtype: 'uint64', shape: [1], data: BigUint64Array.of(2n ** 64n - 1n) },
  u32: { dtype: 'uint32', shape: [1], data: Uint32Array.of(2 ** 32 - 1) },
  u16: { dtype: 'uint16', shape: [1], data: Uint16Array.of(65535) },
  u8: { dtype: 'uint8', shape: [3], data: Uint8Array.of(0, 1, 255) },
  bool: { dtype: 'bool', shape: [3], data: Uint8Array.of(1, 0, 1) },
  scalar: { dtype: 'float32', shape: [], data: Float32Array.of(3.5) },
  empty: { dtype: 'int64', shape: [0, 7], data: new BigInt64Array(0) },
  'слой "\\\n.0': { dtype: 'uint8', shape: [1], data: Uint8Array.of(9) },
};

const bits = ({ dtype, shape, data }: NDArray) => ({
  dtype,
  shape: [...shape],
  type: data.constructor.name,
  bytes: [...new Uint8Array(data.buffer, data.byteOffset, data.byteLength)],
});

async function readAll(source: string | URL | Uint8Array | Blob) {
  await using file = await openSafetensors(source);
  const tensors: Record<string, ReturnType<typeof bits>> = {};
  for (const name of file.names()) tensors[name] = bits(await file.read(name));
  return { tensors, metadata: file.metadata };
}

const expected = Object.fromEntries(Object.entries(samples).map(([name, tensor]) => [name, bits(tensor)]));
const messageOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    error => `${error.name}: ${error.message}`,
  );

describe('round trip', () => {
  const metadata = { format: 'pt', note: 'é\n"' };

  it('keeps every bit of every dtype, from bytes, a Blob, a path and a file URL', async () => {
    const bytes = encodeSafetensors(samples, { metadata });
    const path = join(await folder(), 'all.safetensors');
    expect(await writeSafetensors(path, new Map(Object.entries(samples)), { metadata })).toBe(path);
    expect(await writeSafetensors(null, samples, { metadata })).toEqual(bytes);
    expect(new Uint8Array(await readFile(path))).toEqual(bytes);
    for (const source of [bytes, new Blob([bytes]), path, pathToFileURL(path)]) {
      expect(await readAll(source)).toEqual({ tensors: expected, metadata });
    }
  });

  it('writes what the reference implementation writes', () => {
    const bytes = encodeSafetensors({
      b: { dtype: 'uint8', shape: [1], data: Uint8Array.of(7) },
      a: { dtype: 'uint8', shape: [2], data: Uint8Array.of(8, 9) },
      c: { dtype: 'float32', shape: [1], data: Float32Array.of(1) },
    });
    const header =
      '{"c":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},' +
      '"b":{"dtype":"U8","shape":[1],"data_offsets":[6,7]}}';
    const padded = Math.ceil(header.length / 8) * 8;
    expect(new TextDecoder().decode(bytes.subarray(8, 8 + padded))).toBe(header.padEnd(padded, ' '));
    expect([...bytes.subarray(0, 8)]).toEqual([padded, 0, 0, 0, 0, 0, 0, 0]);
    expect([...bytes.subarray(8 + padded)]).toEqual([0, 0, 0x80, 0x3f, 8, 9, 7]);
  });

  it('writes views of larger and of shared memory', async () => {
    const shared = new Int32Array(new SharedArrayBuffer(16), 4, 2);
    shared.set([5, 6]);
    const part = new Float32Array([1, 2, 3, 4]).subarray(1, 3);
    const path = join(await folder(), 'views.safetensors');
    await writeSafetensors(path, {
      shared: { dtype: 'int32', shape: [2], data: shared },
      part: { dtype: 'float32', shape: [2], data: part },
    });
    await using file = await openSafetensors(path);
    expect([...(await file.read('shared')).data]).toEqual([5, 6]);
    expect([...(await file.read('part')).data]).toEqual([2, 3]);
  });

  it('leaves no temporary file, nor touches the old file, if writing fails', async () => {
    const dir = await folder();
    const path = join(dir, 'm.safetensors');
    await writeSafetensors(path, samples);
    const before = await readFile(path);
    await mkdir(join(dir, 'taken.safetensors'));
    expect(await messageOf(writeSafetensors(join(dir, 'taken.safetensors'), samples))).toMatch(
      /^GossamerError: .*taken\.safetensors: cannot be written: /,
    );
    expect(await messageOf(writeSafetensors(join(dir, 'no', 'm.safetensors'), samples))).toMatch(/ENOENT/);
    expect((await readdir(dir)).sort()).toEqual(['m.safetensors', 'taken.safetensors']);
    expect(await readFile(path)).toEqual(before);
  });
});

describe('lazy reading', () => {
  it('tells dtype, shape and place without reading the data', async () => {
    const bytes = encodeSafetensors(samples);
    const file = await openSafetensors(bytes);
    const { byteOffset, byteLength, dtype, shape } = file.info('bf16');
    expect({ byteLength, dtype, shape }).toEqual({ byteLength: 6, dtype: 'bfloat16', shape: [1, 3] });
    expect([...bytes.subarray(byteOffset, byteOffset + byteLength)]).toEqual(expected.bf16.bytes);
    expect([file.has('bf16'), file.has('bf17')]).toEqual([true, false]);
  });

  it('reads a tensor beyond 4 GiB out of a file that never fits in the test', async () => {
    const path = join(await folder(), 'large.safetensors');
    const huge = 5 * 2 ** 30;
    const header = JSON.stringify({
      huge: { dtype: 'U8', shape: [huge], data_offsets: [0, huge] },
      last: { dtype: 'F32', shape: [2], data_offsets: [huge, huge + 8] },
    });
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(header.length));
    await writeFile(path, Buffer.concat([prefix, Buffer.from(header)]));
    const { open } = await import('node:fs/promises');
    const handle = await open(path, 'r+');
    await handle.write(new Uint8Array(Float32Array.of(1.5, -2).buffer), 0, 8, 8 + header.length + huge); // a sparse file
    await handle.close();
    await using file = await openSafetensors(path);
    expect(file.info('last').byteOffset).toBe(8 + header.length + huge);
    expect([...(await file.read('last')).data]).toEqual([1.5, -2]);
  });

  it('converts 8-bit floats to float32', async () => {
    const header = JSON.stringify({ w: { dtype: 'F8_E4M3', shape: [3], data_offsets: [0, 3] } });
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(header.length));
    const file = await openSafetensors(Buffer.concat([prefix, Buffer.from(header), Buffer.of(0x7e, 0xb8, 0)]));
    expect(file.info('w')).toMatchObject({ dtype: 'float32', code: 'F8_E4M3', byteLength: 3 });
    expect([...(await file.read('w')).data]).toEqual([448, -1, 0]);
  });

  it('refuses a BOOL that is neither 0 nor 1', async () => {
    const bytes = encodeSafetensors({ mask: { dtype: 'bool', shape: [2], data: Uint8Array.of(1, 1) } });
    bytes[bytes.length - 1] = 2;
    const file = await openSafetensors(bytes);
    await expect(file.read('mask')).rejects.toThrow(new FormatError('bytes: tensor "mask": element 1 of a BOOL is 2'));
  });

  it('names what is missing, closed or cannot be opened', async () => {
    const dir = await folder();
    const path = join(dir, 'a.safetensors');
    await writeSafetensors(path, { w: samples.f32, v: samples.i8 });
    const file = await openSafetensors(path);
    expect(() => file.info('x')).toThrow(new GossamerError(`${path}: no tensor "x"; it holds 2: "w", "v"`));
    await file.close();
    await file.close();
    expect(await messageOf(file.read('w'))).toBe(
      `GossamerError: ${path}: tensor "w" cannot be read: the file is closed`,
    );
    expect(await messageOf(openSafetensors(join(dir, 'none')))).toMatch(
      /^GossamerError: .*none: cannot be opened: ENOENT/,
    );
    expect(await messageOf(openSafetensors('/dev/null'))).toBe('GossamerError: /dev/null: is not a regular file');
    const cut = join(dir, 'cut.safetensors');
    await writeFile(cut, (await readFile(path)).subarray(0, -3));
    expect(await messageOf(openSafetensors(cut))).toMatch(/^FormatError: .*cut\.safetensors: tensor "v" ends at byte/);
  });
});

describe('shards', () => {
  it('are written with an index and open as one file by index, URL or folder', async () => {
    const dir = await folder();
    const path = join(dir, 'model.safetensors');
    const metadata = { format: 'pt' };
    const index = await writeSafetensors(path, samples, { maxShardBytes: 24, metadata });
    expect(index).toBe(`${path}.index.json`);
    const { metadata: totals, weight_map: map } = JSON.parse(await readFile(index, 'utf8'));
    const total = Object.values(samples).reduce((n, { data }) => n + data.byteLength, 0);
    expect(totals).toEqual({ total_size: total });
    const shards = [...new Set<string>(Object.values(map))];
    expect(shards.length).toBeGreaterThan(3);
    expect((await readdir(dir)).sort()).toEqual([...shards, 'model.safetensors.index.json'].sort());
    expect(shards[0]).toBe(`model-00001-of-0000${shards.length}.safetensors`);
    for (const source of [index, pathToFileURL(index), dir]) {
      expect(await readAll(source)).toEqual({ tensors: expected, metadata });
    }
    for (const shard of shards) {
      const { tensors } = await readAll(join(dir, shard));
      const bytes = Object.values(tensors).reduce((n, tensor) => n + tensor.bytes.length, 0);
      expect(bytes <= 24 || Object.keys(tensors).length === 1).toBe(true);
    }
  });

  it('are one plain file if all fits', async () => {
    const dir = await folder();
    const path = join(dir, 'model.safetensors');
    expect(await writeSafetensors(path, samples, { maxShardBytes: 1e6 })).toBe(path);
    expect(await readdir(dir)).toEqual(['model.safetensors']);
    expect((await readAll(dir)).tensors).toEqual(expected);
    expect(await messageOf(writeSafetensors(path, samples, { maxShardBytes: 0 }))).toMatch(
      /maxShardBytes 0: a positive/,
    );
  });

  it('do not open by a folder that holds two models, or none', async () => {
    const dir = await folder();
    expect(await messageOf(openSafetensors(dir))).toMatch(/GossamerError: .* holds no \.safetensors file/);
    await writeSafetensors(join(dir, 'model.safetensors'), samples, { maxShardBytes: 24 });
    await writeSafetensors(join(dir, 'model.safetensors'), samples);
    expect(await messageOf(openSafetensors(dir))).toMatch(
      /several models; name one of .*index\.json", .*safetensors"$/,
    );
  });

  describe('a malformed index is refused', () => {
    let dir: string;
    beforeAll(async () => {
      const parent = await folder();
      dir = join(parent, 'model');
      await mkdir(join(dir, 'sub'), { recursive: true });
      await writeSafetensors(join(parent, 'outside.safetensors'), { w: samples.f32 });
      await writeSafetensors(join(dir, 'shard.safetensors'), { w: samples.f32 });
      await writeSafetensors(join(dir, 'sub', 'shard.safetensors'), { v: samples.i8 });
      await writeFile(join(dir, 'broken.safetensors'), 'broken');
    });
    const open = async (text: string) => {
      const path = join(dir, 'm.safetensors.index.json');
      await writeFile(path, text);
      return openSafetensors(path);
    };
    const map = (shard: unknown, tensor = 'w') => JSON.stringify({ weight_map: { [tensor]: shard } });

    it.each<[string, string, RegExp]>([
      ['no JSON', '{', /not valid JSON/],
      ['no object', '[]', /no object "weight_map"/],
      ['no map', '{"weight_map":[]}', /no object "weight_map"/],
      ['a tensor twice', '{"weight_map":{"w":"shard.safetensors","w":"b"}}', /key "w" occurs twice/],
      ['a missing shard', map('none.safetensors'), /index\.json: shard "none\.safetensors" cannot be opened: .*ENOENT/],
      ['a folder as shard', map('sub'), /shard "sub" cannot be opened: .*not a regular file/],
      ['a broken shard', map('broken.safetensors'), /broken\.safetensors: not a safetensors file: 6 bytes/],
      ['a missing tensor', map('shard.safetensors', 'v'), /tensor "v" is not in its shard "shard\.safetensors"/],
      ...['../outside.safetensors', 'sub/../../outside.safetensors', '/etc/passwd', '..\\outside', 'C:x', 'file:///x']
        .concat(['', '.', 'a//b', 'a\0b', './shard.safetensors', '\ud800'])
        .map((path): [string, string, RegExp] => [
          `the path ${JSON.stringify(path)}`,
          map(path),
          /tensor "w": shard .* is not the path of a file in the index's own folder/,
        ]),
      ['a number as path', map(3), /shard 3 is not the path/],
    ])('%s', async (_, text, message) => {
      const error = await open(text).then(
        () => null,
        e => e,
      );
      expect(error).toBeInstanceOf(FormatError);
      expect(error.message).toMatch(message);
    });

    it('but a shard in a folder below, or tensors that the index leaves out, are fine', async () => {
      await using file = await open(map('sub/shard.safetensors', 'v'));
      expect(bits(await file.read('v'))).toEqual(expected.i8);
    });
  });
});

describe('what cannot be written is refused', () => {
  const byte = (data: Uint8Array, shape = [data.length]): NDArray => ({ dtype: 'uint8', shape, data });
  it.each<[string, () => unknown, RegExp]>([
    [
      'a wrong shape',
      () => encodeSafetensors({ w: byte(Uint8Array.of(1), [2]) }),
      /"w": shape \[2\] does not describe 1/,
    ],
    ['a negative shape', () => encodeSafetensors({ w: byte(Uint8Array.of(1), [-1, -1]) }), /shape \[-1, -1\]/],
    [
      'a wrong array',
      () => encodeSafetensors({ w: { ...samples.f32, dtype: 'bfloat16' } }),
      /needs a Uint16Array, got a Float/,
    ],
    [
      'a bool of 2',
      () => encodeSafetensors({ w: { dtype: 'bool', shape: [1], data: Uint8Array.of(2) } }),
      /element 0 of a/,
    ],
    [
      'the reserved name',
      () => encodeSafetensors({ __metadata__: samples.u8 }),
      /"__metadata__": the name is reserved/,
    ],
    [
      'a name twice',
      () =>
        encodeSafetensors([
          ['w', samples.u8],
          ['w', samples.i8],
        ]),
      /"w" is given twice/,
    ],
    ['half a character', () => encodeSafetensors({ '\ud800': samples.u8 }), /not valid Unicode/],
    ['metadata', () => encodeSafetensors({}, { metadata: { n: 3 as unknown as string } }), /entry "n": a string/],
  ])('%s', (_, write, message) => {
    expect(write).toThrow(GossamerError);
    expect(write).toThrow(message);
  });
});

it('opens a real file', async context => {
  const folder = process.env.GOSSAMER_MODELS;
  const path = join(folder ?? '', 'resnet20_cifar10.safetensors');
  context.skip(folder === undefined, 'GOSSAMER_MODELS is not set');
  context.skip(!existsSync(path), `${path} is not there`);
  await using file = await openSafetensors(path);
  expect(file.info('conv1.weight')).toMatchObject({ dtype: 'float32', shape: [16, 3, 3, 3], byteLength: 1728 });
  const data = (await file.read('conv1.weight')).data as Float32Array;
  expect(data.every(x => Number.isFinite(x) && Math.abs(x) < 10)).toBe(true);
  expect(new Set(data).size).toBeGreaterThan(400);
  const tensors = new Map<string, NDArray>();
  for (const name of file.names()) tensors.set(name, await file.read(name));
  expect(await readAll(encodeSafetensors(tensors, { metadata: file.metadata }))).toEqual(await readAll(path));
});
