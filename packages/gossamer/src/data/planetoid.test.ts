import { existsSync, readFileSync } from 'node:fs';
import { FormatError } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { decompress } from './archive.ts';
import { writeNpz } from './npy.ts';
import { type PlanetoidFiles, readPlanetoid, readPlanetoidJson, readPlanetoidNpz } from './planetoid.ts';

const folder = `${process.env.GOSSAMER_DATA}/planetoid`;
const real = existsSync(`${folder}/ind.cora.x`);
if (!real) console.log('planetoid: real-data tests skipped: GOSSAMER_DATA has no planetoid/ind.cora.x');

const bytes = (name: string): Uint8Array => new Uint8Array(readFileSync(`${folder}/${name}`));
const keys = ['x', 'tx', 'allx', 'y', 'ty', 'ally', 'graph', 'test.index'] as const;
const original = (set: string): PlanetoidFiles =>
  Object.fromEntries(keys.map(key => [key, bytes(`ind.${set}.${key}`)])) as PlanetoidFiles;

const tiny = {
  shape: [3, 2, 2],
  feat_row: [0, 2],
  feat_col: [1, 0],
  feat_val: [1, 1],
  labels: [0, 1, -1],
  edge_index: [
    [0, 1],
    [1, 0],
  ],
  train_idx: [0],
  val_idx: [1],
  test_idx: [2],
};
const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

describe('converted graphs', () => {
  it('reads the same from JSON and npz', () => {
    const graph = readPlanetoidJson(json(tiny));
    expect(graph.features).toEqual({
      shape: [3, 2],
      offsets: Int32Array.from([0, 1, 1, 2]),
      columns: Int32Array.from([1, 0]),
      values: Float32Array.from([1, 1]),
    });
    const arrays = Object.entries(tiny).map(([key, value]) => {
      const data = Int32Array.from(value.flat());
      return [key, { dtype: 'int32' as const, shape: key === 'edge_index' ? [2, 2] : [data.length], data }];
    });
    expect(readPlanetoidNpz(writeNpz(Object.fromEntries(arrays)))).toEqual(graph);
  });

  it.each([
    ['a missing array', { ...tiny, labels: undefined }],
    ['text for numbers', { ...tiny, labels: ['a', 'b', 'c'] }],
    ['unsorted features', { ...tiny, feat_row: [2, 0] }],
    ['a feature past the end', { ...tiny, feat_col: [2, 0] }],
    [
      'an edge past the end',
      {
        ...tiny,
        edge_index: [
          [0, 3],
          [1, 0],
        ],
      },
    ],
    ['too few labels', { ...tiny, labels: [0] }],
    ['a class past the end', { ...tiny, labels: [0, 1, 2] }],
    ['nothing', null],
  ])('refuses %s', (_, value) => {
    expect(() => readPlanetoidJson(json(value))).toThrow(FormatError);
  });
});

describe.skipIf(!real)('the real files', () => {
  it.each([
    ['cora', 2708, 1433, 49216, 10556, 140, 0],
    ['citeseer', 3327, 3703, 105165, 9104, 120, 15],
  ])(
    '%s: the pickles, npz and JSON hold one graph',
    async (set, nodes, features, entries, edges, train, unlabelled) => {
      const graph = readPlanetoid(original(set));
      expect(graph.features.shape).toEqual([nodes, features]);
      expect(graph.features.values.length).toBe(entries);
      expect(graph.features.values.every(value => value === 1)).toBe(true);
      expect(graph.edges.shape).toEqual([2, edges]);
      expect([graph.train.length, graph.val.length, graph.test.length]).toEqual([train, 500, 1000]);
      expect(graph.labels.filter(label => label < 0).length).toBe(unlabelled);
      expect(readPlanetoidNpz(bytes(`${set}.npz`))).toEqual(graph);
      expect(readPlanetoidJson(await decompress(bytes(`${set}.json.gz`)))).toEqual(graph);
    },
  );

  it('refuses files that do not belong together or are cut', () => {
    const files = original('cora');
    expect(() => readPlanetoid({ ...files, x: files.y })).toThrow('must be CSR');
    expect(() => readPlanetoid({ ...files, tx: files.allx })).toThrow(FormatError);
    expect(() => readPlanetoid({ ...files, graph: bytes('ind.citeseer.graph') })).toThrow('leaves the 2708 nodes');
    expect(() => readPlanetoid({ ...files, allx: files.allx.subarray(0, 9000) })).toThrow('truncated');
    expect(() => readPlanetoid({ ...files, 'test.index': new TextEncoder().encode('1\n2\n') })).toThrow(FormatError);
  });
});
