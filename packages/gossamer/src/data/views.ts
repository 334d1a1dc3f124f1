import { FormatError, type NDArray } from '@gossamer/tensor';
import { z } from 'zod';
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

const positive = z.number().positive();
const row = z.tuple([z.number(), z.number(), z.number(), z.number()]);
const last = z.tuple([z.literal(0), z.literal(0), z.literal(0), z.literal(1)]);
const intrinsics = {
  ...{ w: positive.optional(), h: positive.optional(), camera_angle_x: z.number().gt(0).lt(Math.PI).optional() },
  ...{ fl_x: positive.optional(), fl_y: positive.optional(), cx: z.number().optional(), cy: z.number().optional() },
  ...{ k1: z.number().default(0), k2: z.number().default(0), p1: z.number().default(0), p2: z.number().default(0) },
};
const transforms = z.object({
  ...intrinsics,
  frames: z
    .array(z.object({ file_path: z.string().min(1), transform_matrix: z.tuple([row, row, row, last]) }))
    .nonempty(),
});

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
  const { frames, ...lens } = parse(utf8(entryBytes(entries, file, name), where), where);
  const views = frames
    .map(({ file_path, transform_matrix }) => ({ path: imagePath(file_path), matrix: transform_matrix }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  const images: NDArray<Uint8Array>[] = [];
  for (const { path } of views) {
    images.push(await decodeImage(entryBytes(entries, path, name), { channels }, `${name}: ${path}`));
  }
  const { w: width = images[0].shape[2], h: height = images[0].shape[1] } = lens;
  const odd = images.findIndex(({ shape }) => shape[1] !== height || shape[2] !== width);
  if (odd >= 0) {
    const [, h, w] = images[odd].shape;
    throw new FormatError(`${name}: ${views[odd].path} has ${w}×${h} pixels, expected ${width}×${height}`);
  }
  const angle = lens.camera_angle_x;
  const fx = lens.fl_x ?? (angle === undefined ? undefined : width / 2 / Math.tan(angle / 2));
  if (fx === undefined) throw new FormatError(`${where}: has neither 'fl_x' nor 'camera_angle_x'`);
  const { fl_y: fy = fx, cx = width / 2, cy = height / 2, k1, k2, p1, p2 } = lens;
  return {
    data: new ArrayDataset({
      inputs: stackRows(images),
      poses: {
        dtype: 'float32',
        shape: [views.length, 4, 4],
        data: Float32Array.from(views.flatMap(({ matrix }) => matrix.flat())),
      },
    }),
    camera: { width, height, fx, fy, cx, cy, k1, k2, p1, p2 },
    names: views.map(({ path }) => path),
  };
}

function parse(text: string, where: string): z.infer<typeof transforms> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new FormatError(`${where}: not JSON: ${(error as Error).message}`);
  }
  const result = transforms.safeParse(json);
  if (result.success) return result.data;
  const [{ path, message }] = result.error.issues;
  throw new FormatError(`${where}: ${path.join('.') || 'the file'}: ${message}`);
}

/** A frame's path as the archive has it; synthetic scenes leave out `.png`. */
const imagePath = (path: string): string => {
  const clean = path.replace(/^(\.\/)+/, '');
  return /\.[a-z]+$/i.test(clean) ? clean : `${clean}.png`;
};
