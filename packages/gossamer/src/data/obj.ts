import { FormatError, type NDArray } from '@gossamer/tensor';
import { utf8 } from './bytes.ts';

/** A surface of triangles. */
export interface Mesh {
  /** float32 [vertices, 3]. */
  readonly vertices: NDArray<Float32Array>;
  /** int32 [triangles, 3]: rows of `vertices`, counter-clockwise seen from outside where the model keeps to it. */
  readonly faces: NDArray<Int32Array>;
  /** float32 [normals, 3], as the file gives them; null where there are none. */
  readonly normals: NDArray<Float32Array> | null;
  /** int32 [triangles, 3]: rows of `normals`, −1 for a face without; null where no face has any. */
  readonly normalFaces: NDArray<Int32Array> | null;
  /** float32 [coordinates, 2]: places u, v in a texture; null where there are none. */
  readonly uvs: NDArray<Float32Array> | null;
  /** int32 [triangles, 3]: rows of `uvs`, −1 for a face without; null where no face has any. */
  readonly uvFaces: NDArray<Int32Array> | null;
}

/** Statements that say nothing about the surface: names, groups, materials, display, points and lines. */
const ignored = new Set(
  'o g s mg mtllib usemtl maplib usemap bevel c_interp d_interp lod shadow_obj trace_obj p l'.split(' '),
);

/**
 * Reads the polygons of a Wavefront OBJ file. Polygons of more than three corners become fans around their first, which is
 * exact for convex ones. What follows a vertex's three coordinates (weight, colour) and a texture's two is left out;
 * negative numbers count back from the last vertex so far. Throws a FormatError with the line for a number or corner that
 * is malformed, a corner that refers to nothing, and free-form curves and surfaces.
 */
export function readObj(bytes: Uint8Array, name = 'obj'): Mesh {
  const points: Record<'v' | 'vt' | 'vn', number[]> = { v: [], vt: [], vn: [] };
  const faces: Record<'v' | 'vt' | 'vn', number[]> = { v: [], vt: [], vn: [] };
  const lines = utf8(bytes, name).split(/\r?\n/);
  for (let i = 0; i < lines.length; i++) {
    const at = `${name}: line ${i + 1}`;
    let line = lines[i];
    // A backslash joins a line to the next one.
    while (line.endsWith('\\') && i + 1 < lines.length) line = `${line.slice(0, -1)} ${lines[++i]}`;
    const comment = line.indexOf('#');
    const [keyword, ...words] = (comment < 0 ? line : line.slice(0, comment)).trim().split(/\s+/);
    if (keyword === 'v' || keyword === 'vn') points[keyword].push(...coordinates(words, 3, 3, at));
    else if (keyword === 'vt') points.vt.push(...coordinates(words, 1, 2, at));
    else if (keyword === 'f' || keyword === 'fo') addFace(words, points, faces, at);
    else if (keyword !== '' && !ignored.has(keyword)) {
      throw new FormatError(`${at}: '${keyword}' is no statement of a polygon mesh`);
    }
  }
  if (faces.v.length === 0) throw new FormatError(`${name}: holds no faces`);
  const float = (data: number[], width: number): NDArray<Float32Array> => ({
    dtype: 'float32',
    shape: [data.length / width, width],
    data: Float32Array.from(data),
  });
  const corners = (data: number[]): NDArray<Int32Array> => ({
    dtype: 'int32',
    shape: [data.length / 3, 3],
    data: Int32Array.from(data),
  });
  const used = (data: number[]): NDArray<Int32Array> | null => (data.some(row => row >= 0) ? corners(data) : null);
  return {
    vertices: float(points.v, 3),
    faces: corners(faces.v),
    normals: points.vn.length > 0 ? float(points.vn, 3) : null,
    normalFaces: used(faces.vn),
    uvs: points.vt.length > 0 ? float(points.vt, 2) : null,
    uvFaces: used(faces.vt),
  };
}

/** The first `count` numbers of a statement that must have `least`; missing ones are 0. */
function coordinates(words: readonly string[], least: number, count: number, at: string): number[] {
  const values = words.map(Number);
  if (values.length < least || !values.every(Number.isFinite)) {
    throw new FormatError(`${at}: '${words.join(' ')}' are not ${least} or more numbers`);
  }
  return Array.from({ length: count }, (_, i) => values[i] ?? 0);
}

const kinds = ['v', 'vt', 'vn'] as const;
const widths = { v: 3, vt: 2, vn: 3 } as const;

/** Corners `v`, `v/vt`, `v//vn` or `v/vt/vn`, all of one kind, as a fan of triangles. */
function addFace(
  words: readonly string[],
  points: Readonly<Record<'v' | 'vt' | 'vn', number[]>>,
  faces: Readonly<Record<'v' | 'vt' | 'vn', number[]>>,
  at: string,
): void {
  if (words.length < 3) throw new FormatError(`${at}: a face of ${words.length} corners, expected 3 or more`);
  const corners = words.map(word => {
    const match = /^(-?\d+)(?:\/(-?\d+)?(?:\/(-?\d+))?)?$/.exec(word);
    if (!match) throw new FormatError(`${at}: '${word}' is no corner of a face`);
    return kinds.map((kind, k) => {
      if (match[k + 1] === undefined) return -1;
      const count = points[kind].length / widths[kind];
      const number = Number(match[k + 1]);
      const row = number < 0 ? count + number : number - 1;
      if (row < 0 || row >= count) {
        throw new FormatError(`${at}: corner '${word}' refers to '${kind}' ${number} of ${count}`);
      }
      return row;
    });
  });
  kinds.forEach((kind, k) => {
    if (corners.some(corner => corner[k] < 0 !== corners[0][k] < 0)) {
      throw new FormatError(`${at}: only some of its corners have a '${kind}'`);
    }
    for (let i = 2; i < corners.length; i++) faces[kind].push(corners[0][k], corners[i - 1][k], corners[i][k]);
  });
}
