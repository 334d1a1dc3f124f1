import { FormatError, type NDArray } from '@gossamer/tensor';
import { type ArchiveEntry, entryBytes } from './archive.ts';
import { utf8 } from './bytes.ts';
import { ArrayDataset } from './dataset.ts';
import { decodeImage } from './images.ts';
import { stackRows } from './rows.ts';

/** A pinhole camera with lens distortion (Brown–Conrady, as in OpenCV), all lengths in pixels. */
export interface Camera {
  readonly width: number;
  readonly height: number;
  /** Focal lengths. */
  readonly fx: number;
  readonly fy: number;
  /** Where the optical axis meets the image, from its upper left corner. */
  readonly cx: number;
  readonly cy: number;
  /** Radial (k) and tangential (p) distortion; 0 for none. */
  readonly k1: number;
  readonly k2: number;
  readonly p1: number;
  readonly p2: number;
}

/**
 * `inputs` uint8 [n, channels, height, width]; `poses` float32 [n, 4, 4], camera to world: column 3 is where the camera
 * stands, columns 0–2 are its right, up and backward directions (OpenGL: it looks along −z).
 */
export type PosedImages = { inputs: NDArray<Uint8Array>; poses: NDArray<Float32Array> };

/** Photographs of one scene, and where they were taken from. */
export interface Views {
  readonly data: ArrayDataset<PosedImages>;
  /** Shared by all views. */
  readonly camera: Camera;
  /** Path of each image. */
  readonly names: readonly string[];
}

interface Frame {
  readonly path: string;
  /** 16 numbers, row by row. */
  readonly pose: readonly number[];
}

/**
 * Reads posed images in the format of NeRF's synthetic scenes (Mildenhall et al. 2020, arXiv:2003.08934) and instant-ngp
 * (Müller et al. 2022, arXiv:2201.05989): `transforms.json` and the images it names, sorted by path. Without `fl_x` the
 * focal length follows from `camera_angle_x`; without `cx` and `cy` the axis meets the middle of the image. Throws a
 * FormatError for a missing field or image, a matrix that is no pose, and images of another size than the file says.
 *
 * @param entries files of an archive (`readArchive`) or folder (`readFolder`)
 * @param options.transforms name of the JSON file, default `transforms.json` (synthetic scenes: `transforms_train.json`)
 * @param options.channels 3 (default) or 4 (with transparency)
 */
export async function readViews(
  entries: readonly ArchiveEntry[],
  options: { transforms?: string; channels?: 3 | 4; name?: string } = {},
): Promise<Views> {
  const { transforms: file = 'transforms.json', channels = 3, name = 'views' } = options;
  const where = `${name}: ${file}`;
  const scene = parse(utf8(entryBytes(entries, file, name), where), where);
  const frames = readFrames(scene.frames, where);
  const images: NDArray<Uint8Array>[] = [];
  for (const { path } of frames) {
    images.push(await decodeImage(entryBytes(entries, path, name), { channels }, `${name}: ${path}`));
  }
  const [, height, width] = images[0].shape;
  const camera = readCamera(scene, width, height, where);
  const odd = images.findIndex(({ shape }) => shape[1] !== camera.height || shape[2] !== camera.width);
  if (odd >= 0) {
    const [, h, w] = images[odd].shape;
    throw new FormatError(`${name}: ${frames[odd].path} is ${w}×${h}, expected ${camera.width}×${camera.height}`);
  }
  return {
    data: new ArrayDataset({
      inputs: stackRows(images),
      poses: {
        dtype: 'float32',
        shape: [frames.length, 4, 4],
        data: Float32Array.from(frames.flatMap(({ pose }) => pose)),
      },
    }),
    camera,
    names: frames.map(({ path }) => path),
  };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function parse(text: string, where: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new FormatError(`${where}: not JSON: ${(error as Error).message}`);
  }
  if (!isRecord(json)) throw new FormatError(`${where}: holds no object`);
  return json;
}

/** The intrinsics; `width` and `height` are those of the first image. */
function readCamera(scene: Record<string, unknown>, width: number, height: number, where: string): Camera {
  const given = (key: string, low = Number.NEGATIVE_INFINITY, high = Number.POSITIVE_INFINITY): number | undefined => {
    const value = scene[key];
    if (value === undefined || (typeof value === 'number' && value > low && value < high)) return value;
    throw new FormatError(`${where}: '${key}' is ${JSON.stringify(value)}, expected a number in (${low}, ${high})`);
  };
  const [w, h] = [given('w', 0) ?? width, given('h', 0) ?? height];
  const angle = given('camera_angle_x', 0, Math.PI);
  const fx = given('fl_x', 0) ?? (angle === undefined ? undefined : w / 2 / Math.tan(angle / 2));
  if (fx === undefined) throw new FormatError(`${where}: has neither 'fl_x' nor 'camera_angle_x'`);
  return {
    width: w,
    height: h,
    fx,
    fy: given('fl_y', 0) ?? fx,
    cx: given('cx') ?? w / 2,
    cy: given('cy') ?? h / 2,
    k1: given('k1') ?? 0,
    k2: given('k2') ?? 0,
    p1: given('p1') ?? 0,
    p2: given('p2') ?? 0,
  };
}

function readFrames(list: unknown, where: string): Frame[] {
  if (!Array.isArray(list) || list.length === 0) throw new FormatError(`${where}: 'frames' is no list of views`);
  const frames = list.map((frame: unknown, i) => {
    const { file_path: path, transform_matrix: rows } = isRecord(frame) ? frame : {};
    if (typeof path !== 'string' || path === '') throw new FormatError(`${where}: frame ${i} has no 'file_path'`);
    const square =
      Array.isArray(rows) && rows.length === 4 && rows.every(row => Array.isArray(row) && row.length === 4);
    const pose: unknown[] = square ? rows.flat() : [];
    if (!square || !pose.every(Number.isFinite) || String(rows[3]) !== '0,0,0,1') {
      throw new FormatError(
        `${where}: 'transform_matrix' of ${path} is no 4×4 matrix of numbers that ends in 0, 0, 0, 1`,
      );
    }
    return { path: imagePath(path), pose: pose as number[] };
  });
  return frames.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** A frame's path as the archive has it; synthetic scenes leave out `.png`. */
const imagePath = (path: string): string => {
  const clean = path.replace(/^(\.\/)+/, '');
  return /\.[a-z]+$/i.test(clean) ? clean : `${clean}.png`;
};
