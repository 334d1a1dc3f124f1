import { FormatError } from '@gossamer/tensor';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import type { ArchiveEntry } from './archive.ts';
import { readViews } from './views.ts';

const png = async (width: number, height: number, value: number): Promise<Uint8Array> =>
  new Uint8Array(
    await sharp(Buffer.alloc(width * height * 4, value), { raw: { width, height, channels: 4 } })
      .png()
      .toBuffer(),
  );

const images = { 'scene/images/1.png': await png(4, 2, 11), 'scene/images/2.png': await png(4, 2, 22) };
const pose = (x: number): number[][] => [
  [1, 0, 0, x],
  [0, 0, -1, 2],
  [0, 1, 0, 3],
  [0, 0, 0, 1],
];
const frames = [
  { file_path: 'images/2.png', transform_matrix: pose(20), sharpness: 3 },
  { file_path: './images/1', transform_matrix: pose(10) },
];
const scene = (json: unknown, files: Record<string, Uint8Array> = images): ArchiveEntry[] => [
  ...Object.entries(files).map(([name, bytes]) => ({ name, bytes: () => bytes })),
  {
    name: 'scene/transforms.json',
    bytes: () => new TextEncoder().encode(typeof json === 'string' ? json : JSON.stringify(json)),
  },
];

describe('readViews', () => {
  it('gives images and poses, sorted by path', async () => {
    const { data, names } = await readViews(scene({ fl_x: 5, frames }));
    expect(names).toEqual(['images/1.png', 'images/2.png']);
    expect([data.fields.inputs.shape, data.fields.poses.shape]).toEqual([
      [2, 3, 2, 4],
      [2, 4, 4],
    ]);
    expect([data.fields.inputs.data[0], data.fields.inputs.data.at(-1)]).toEqual([11, 22]);
    expect([...data.fields.poses.data]).toEqual([...pose(10).flat(), ...pose(20).flat()]);
    const clear = await readViews(scene({ fl_x: 5, frames }), { channels: 4 });
    expect(clear.data.fields.inputs.shape).toEqual([2, 4, 2, 4]);
  });

  it('reads the intrinsics, or derives them from the field of view', async () => {
    const none = { k1: 0, k2: 0, p1: 0, p2: 0 };
    // At a quarter turn the focal length is half the width.
    const { camera } = await readViews(scene({ camera_angle_x: Math.PI / 2, frames }));
    expect(camera).toEqual({ width: 4, height: 2, fx: expect.closeTo(2, 12), fy: camera.fx, cx: 2, cy: 1, ...none });
    const given = { w: 4, h: 2, fl_x: 5, fl_y: 6, cx: 1.9, cy: 1.1, k1: 0.1, k2: 0.2, p1: 0.3, p2: 0.4 };
    const { w, h, fl_x, fl_y, ...rest } = given;
    expect((await readViews(scene({ ...given, camera_angle_x: 1, frames }))).camera).toEqual({
      ...{ width: w, height: h, fx: fl_x, fy: fl_y },
      ...rest,
    });
  });

  const broken = (matrix: unknown): unknown => ({
    fl_x: 5,
    frames: [{ file_path: 'images/1.png', transform_matrix: matrix }],
  });
  it.each([
    ['{', 'views: transforms.json: not JSON'],
    ['[]', 'holds no object'],
    [{ fl_x: 5 }, "'frames' is no list of views"],
    [{ fl_x: 5, frames: [] }, "'frames' is no list of views"],
    [{ fl_x: 5, frames: [null] }, "frame 0 has no 'file_path'"],
    [{ frames }, "has neither 'fl_x' nor 'camera_angle_x'"],
    [{ fl_x: 0, frames }, "'fl_x' is 0, expected a number in (0, Infinity)"],
    [{ fl_x: '5', frames }, `'fl_x' is "5"`],
    [{ camera_angle_x: 4, frames }, "'camera_angle_x' is 4"],
    [{ fl_x: 5, w: 8, h: 4, frames }, 'images/1.png is 4×2, expected 8×4'],
    [broken(undefined), "'transform_matrix' of images/1.png is no 4×4 matrix"],
    [broken(pose(1).slice(1)), 'no 4×4 matrix'],
    [broken([...pose(1).slice(0, 3), [0, 0, 0, 2]]), 'no 4×4 matrix'],
    [broken([['1', 0, 0, 0], ...pose(1).slice(1)]), 'no 4×4 matrix'],
    [broken([[null, 0, 0, 0], ...pose(1).slice(1)]), 'no 4×4 matrix'],
    [{ fl_x: 5, frames: [{ ...frames[0], file_path: '../../etc/passwd.png' }] }, '../../etc/passwd.png is missing'],
  ])('refuses %j', async (json, message) => {
    await expect(readViews(scene(json))).rejects.toThrow(message);
    await expect(readViews(scene(json))).rejects.toThrow(FormatError);
  });

  it('refuses a scene without its file, and images of different sizes', async () => {
    await expect(readViews([])).rejects.toThrow('views: transforms.json is missing');
    const odd = { ...images, 'scene/images/2.png': await png(2, 2, 0) };
    await expect(readViews(scene({ fl_x: 5, frames }, odd))).rejects.toThrow('images/2.png is 2×2, expected 4×2');
  });
});
