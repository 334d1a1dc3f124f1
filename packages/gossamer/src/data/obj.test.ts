import { FormatError } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { readObj } from './obj.ts';

const read = (text: string) => readObj(new TextEncoder().encode(text), 'm.obj');
const square = 'v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n';

describe('readObj', () => {
  it('reads triangles and cuts polygons into fans', () => {
    const mesh = read(`# a square\n${square}f 1 2 3\nf 1 2 3 4\n`);
    expect(mesh).toEqual({
      vertices: {
        dtype: 'float32',
        shape: [4, 3],
        data: Float32Array.from([0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0]),
      },
      faces: { dtype: 'int32', shape: [3, 3], data: Int32Array.from([0, 1, 2, 0, 1, 2, 0, 2, 3]) },
      normals: null,
      normalFaces: null,
      uvs: null,
      uvFaces: null,
    });
  });

  it('keeps the area of a convex polygon', () => {
    const corners = Array.from({ length: 7 }, (_, i) => [
      Math.cos((i * 2 * Math.PI) / 7),
      Math.sin((i * 2 * Math.PI) / 7),
    ]);
    const { vertices, faces } = read(`${corners.map(([x, y]) => `v ${x} ${y} 0`).join('\n')}\nf 1 2 3 4 5 6 7`);
    let area = 0;
    for (let i = 0; i < faces.data.length; i += 3) {
      const [a, b, c] = [...faces.data.subarray(i, i + 3)].map(row => vertices.data.subarray(3 * row, 3 * row + 2));
      area += ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) / 2;
    }
    expect(area).toBeCloseTo((7 / 2) * Math.sin((2 * Math.PI) / 7), 6);
  });

  it('reads textures and normals of their own numbering, per face', () => {
    const mesh = read(
      `${square}vt 0.25 0.5\nvt 0.75\nvn 0 0 1\nf 1/2/1 2/1/1 3/1/1\nf 1//1 2//1 3//1\nf 1/1 2/2 3/1\nf 1 2 3`,
    );
    expect(mesh.uvs).toEqual({ dtype: 'float32', shape: [2, 2], data: Float32Array.from([0.25, 0.5, 0.75, 0]) });
    expect(mesh.normals).toEqual({ dtype: 'float32', shape: [1, 3], data: Float32Array.from([0, 0, 1]) });
    expect([...mesh.uvFaces!.data]).toEqual([1, 0, 0, -1, -1, -1, 0, 1, 0, -1, -1, -1]);
    expect([...mesh.normalFaces!.data]).toEqual([0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1]);
  });

  it('counts negative numbers back from the last so far', () => {
    expect([...read(`${square}f -4 -3 -1\nv 9 9 9\nf -1 1 2`).faces.data]).toEqual([0, 1, 3, 4, 0, 1]);
  });

  it('takes CRLF, continued lines, comments, colours, exponents and other statements in its stride', () => {
    const text =
      'mtllib a.mtl\r\no thing\r\ng\r\nv 1e-1 +2 -.5 1.0\r\nv 0 0 0 0.5 0.5 0.5 # red\r\n' +
      'v 1 1 1\r\ns off\r\nusemtl red\r\nl 1 2\r\nf 1 2 \\\r\n 3\r\n\r\n';
    const { vertices, faces } = read(text);
    expect([vertices.shape, [...vertices.data.subarray(0, 3)]]).toEqual([[3, 3], [...Float32Array.of(0.1, 2, -0.5)]]);
    expect([...faces.data]).toEqual([0, 1, 2]);
  });

  it.each([
    ['', 'm.obj: holds no faces'],
    [square, 'm.obj: holds no faces'],
    ['v 0 0\n', "m.obj: line 1: '0 0' are not 3 or more numbers"],
    ['v 0 0 nan\n', 'line 1'],
    ['v 0 0 Infinity\n', 'line 1'],
    [`${square}f 1 2\n`, 'line 5: a face of 2 corners'],
    [`${square}f 1 2 5\n`, "line 5: corner '5' refers to 'v' 5 of 4"],
    [`${square}f 0 1 2\n`, "line 5: corner '0' refers to 'v' 0 of 4"],
    [`${square}f -5 1 2\n`, "refers to 'v' -5 of 4"],
    [`${square}f 1/1 2/1 3/1\n`, "refers to 'vt' 1 of 0"],
    [`${square}vt 0 0\nf 1/1 2/1 3\n`, "line 6: only some of its corners have a 'vt'"],
    [`${square}f 1.5 2 3\n`, "'1.5' is no corner"],
    [`${square}f 1/2/ 2 3\n`, "'1/2/' is no corner"],
    [`${square}f 1 \\\n2 3\n\nf x 2 3`, "line 8: 'x' is no corner"],
    ['cstype bezier\n', "line 1: 'cstype' is no statement of a polygon mesh"],
    ['PK\u0003\u0004', 'is no statement'],
  ])('refuses %j', (text, message) => {
    expect(() => read(text)).toThrow(message);
    expect(() => read(text)).toThrow(FormatError);
  });

  it('refuses bytes that are no text', () => {
    expect(() => readObj(Uint8Array.of(0xff, 0xfe))).toThrow(FormatError);
  });
});
