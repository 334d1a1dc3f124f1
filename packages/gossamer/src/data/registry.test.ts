import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NDArray } from '@gossamer/tensor';
import { zipSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { readArchive } from './archive.ts';
import { readLibsvm } from './libsvm.ts';
import { dataSets, load, type SetName } from './registry.ts';
import { END_OF_STORY } from './sets/text.ts';
import { toDense } from './sparse.ts';
import { readData } from './store.ts';

const there = (path: string): boolean => existsSync(`${process.env.GOSSAMER_DATA}/${path}`);

/** Whether the data folder has this part of a set; a missing one is reported as the reason to skip. */
function has(path: string): boolean {
  const found = there(path);
  if (!found) console.log(`registry: test of ${path} skipped: it is not in GOSSAMER_DATA`);
  return found;
}

const counts = (labels: Int32Array): number[] => {
  const result: number[] = [];
  for (const label of labels) result[label] = (result[label] ?? 0) + 1;
  return result;
};

/** Mean and standard deviation of each channel, values 0…1. */
function statistics({ shape, data }: NDArray<Uint8Array>): { mean: number[]; std: number[] } {
  const [n, channels, height, width] = shape;
  const plane = height * width;
  const [sum, squares] = [new Float64Array(channels), new Float64Array(channels)];
  for (let i = 0, at = 0; i < n * channels; i++) {
    for (const end = at + plane; at < end; at++) {
      sum[i % channels] += data[at] / 255;
      squares[i % channels] += (data[at] / 255) ** 2;
    }
  }
  const mean = [...sum].map(total => total / (n * plane));
  return { mean, std: mean.map((m, c) => Math.sqrt(squares[c] / (n * plane) - m * m)) };
}

const offline = { download: false };

describe('load', () => {
  it('lists sets and refuses unknown names', async () => {
    const names = dataSets().map(({ name }) => name);
    expect(names).toContain('mnist');
    const manual = dataSets().filter(({ automatic }) => !automatic);
    expect(manual.map(({ name }) => name).sort()).toEqual([
      'cifar-10-sample',
      'coil20',
      'dubois',
      'fox',
      'imagenet-sample',
      'isolet',
      'tinystories',
    ]);
    await expect(load('imagenet' as SetName)).rejects.toThrow(`no data set 'imagenet'; known are ${names.join(', ')}`);
    await expect(load('toString' as SetName)).rejects.toThrow('no data set');
  });

  it('says what to put where', async () => {
    const failed = load('mnist', { folder: '/nowhere', download: false });
    await expect(failed).rejects.toThrow('/nowhere/mnist/train-images-idx3-ubyte.gz  from https://');
  });

  it('needs no data for digits', async () => {
    const { train, mean, std } = await load('digits');
    const { mean: m, std: s } = statistics(train.fields.inputs);
    expect([m[0] - mean[0], s[0] - std[0]].every(d => Math.abs(d) < 1e-4)).toBe(true);
  });
});

describe('images', () => {
  it.skipIf(!has('mnist/t10k-labels-idx1-ubyte.gz'))('mnist', async () => {
    const { train, test, mean, std } = await load('mnist', offline);
    expect([train.fields.inputs.shape, test.fields.inputs.shape]).toEqual([
      [60000, 1, 28, 28],
      [10000, 1, 28, 28],
    ]);
    expect(counts(train.fields.labels.data)).toEqual([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    expect(counts(test.fields.labels.data)).toEqual([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    const found = statistics(train.fields.inputs);
    expect([found.mean[0], found.std[0]]).toEqual([expect.closeTo(mean[0], 4), expect.closeTo(std[0], 4)]);
  });

  it.skipIf(!has('fashion-mnist/train-labels-idx1-ubyte.gz'))('fashion-mnist', async () => {
    const { train, test, mean, std, description } = await load('fashion-mnist', offline);
    if (there('fashion-mnist/t10k-labels-idx1-ubyte.gz')) return;
    expect([train.length, test.length]).toEqual([50000, 10000]);
    expect(description).toContain('without its test files');
    const [a, b] = [counts(train.fields.labels.data), counts(test.fields.labels.data)];
    expect(a.map((count, label) => count + b[label])).toEqual(new Array(10).fill(6000));
    const found = statistics(train.fields.inputs);
    expect([found.mean[0], found.std[0]]).toEqual([expect.closeTo(mean[0], 2), expect.closeTo(std[0], 2)]);
  });

  it.skipIf(!has('cifar-10/data_batch_2.bin.gz') || there('cifar-10/data_batch_3.bin.gz'))(
    'a partial cifar-10',
    async () => {
      const { train, test, mean, std, description } = await load('cifar-10', offline);
      expect(description).toContain('partial');
      expect(counts(train.fields.labels.data)).toEqual(new Array(10).fill(2000));
      expect(counts(test.fields.labels.data)).toEqual(new Array(10).fill(400));
      const found = statistics(train.fields.inputs);
      for (let c = 0; c < 3; c++) {
        expect([found.mean[c], found.std[c]]).toEqual([expect.closeTo(mean[c], 2), expect.closeTo(std[c], 2)]);
      }
    },
  );

  it.skipIf(!has('cifar-10/lossless_train_100.bin.gz'))('cifar-10-sample', async () => {
    const { data } = await load('cifar-10-sample', offline);
    expect(counts(data.fields.labels.data)).toEqual(new Array(10).fill(10));
  });

  it.skipIf(!has('tabular/coil20.npz'))('coil20', async () => {
    const { train, test, mean, std } = await load('coil20', offline);
    const [a, b] = [counts(train.fields.labels.data), counts(test.fields.labels.data)];
    expect(a.map((count, label) => count + b[label])).toEqual(new Array(20).fill(72));
    const found = statistics(train.fields.inputs);
    expect([found.mean[0], found.std[0]]).toEqual([expect.closeTo(mean[0], 3), expect.closeTo(std[0], 3)]);
  });

  it.skipIf(!has('imagenet-sample-224/classes.tsv'))('imagenet-sample', async () => {
    const { data, classes, wnids } = await load('imagenet-sample', offline);
    expect([data.length, classes.length]).toEqual([700, 1000]);
    expect([...data.labels].every(label => ![3, 6, 9].includes(label % 10))).toBe(true);
    expect(data.names.every((name, i) => name.endsWith(`_${wnids[data.labels[i]]}.jpg`))).toBe(true);
    expect((await data.batch([0, 699])).inputs.shape).toEqual([2, 3, 224, 224]);
  });

  it.skipIf(!has('omniglot/images_background_small1.zip'))('omniglot', async () => {
    const { data, classes } = await load('omniglot', offline);
    expect(data.length).toBe(2720);
    expect(counts(data.labels)).toEqual(new Array(136).fill(20));
    expect(new Set(classes.map(name => name.split('/')[0])).size).toBe(5);
    const { inputs } = await data.batch([0, 1000]);
    expect(inputs.shape).toEqual([2, 1, 105, 105]);
    expect(new Set(inputs.data)).toEqual(new Set([0, 255]));
  });

  it.skipIf(!has('omniglot/one-shot-classification_all_runs.zip'))('omniglot-runs', async () => {
    const { runs } = await load('omniglot-runs', offline);
    expect(runs.length).toBe(20);
    for (const { train, test, answers } of runs) {
      expect([train.shape, test.shape]).toEqual([
        [20, 1, 105, 105],
        [20, 1, 105, 105],
      ]);
      expect([...answers].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    }
  });

  it.skipIf(!has('super-resolution/Set14/img_014_HR.png'))('set5, set14, bsd100', async () => {
    for (const [name, count] of [
      ['set5', 5],
      ['set14', 14],
      ['bsd100', 20],
    ] as const) {
      const { images } = await load(name, offline);
      expect(images.length).toBe(count);
      for (const { shape } of images) expect(shape.map((n, axis) => (axis ? n % 4 : n))).toEqual([3, 0, 0]);
    }
  });
});

describe('scenes and detection', () => {
  it.skipIf(!has('bccd/bccd_trainval.tar.gz') || there('bccd/BCCD_Dataset-1.0.zip'))('a partial bccd', async () => {
    const { train, valid, test, classes, description } = await load('bccd', offline);
    expect([train.length, valid.length, test]).toEqual([205, 87, null]);
    expect(description).toContain('partial');
    const pictures = [...train.pictures, ...valid.pictures];
    expect(new Set(pictures.map(({ name }) => name)).size).toBe(292);
    const cells = counts(Int32Array.from(pictures.flatMap(({ labels }) => [...labels])));
    expect(classes.map((name, label) => [name, cells[label]])).toEqual([
      ['RBC', 3350],
      ['WBC', 301],
      ['Platelets', 292],
    ]);
    const { inputs, boxes } = await valid.batch([0, 86]);
    expect([inputs.shape, boxes.shape]).toEqual([
      [2, 3, 480, 640],
      [2, valid.most, 4],
    ]);
    // White cells are stained violet: green is darker in their boxes than in the whole image.
    const sample = await valid.get(0);
    const box = boxes.data.subarray(4 * sample.labels.data.indexOf(1));
    const green = (left: number, top: number, right: number, bottom: number): number => {
      let sum = 0;
      for (let y = top; y < bottom; y++)
        for (let x = left; x < right; x++) sum += sample.inputs.data[(480 + y) * 640 + x];
      return sum / ((right - left) * (bottom - top));
    };
    expect(green(box[0], box[1], box[2], box[3])).toBeLessThan(0.95 * green(0, 0, 640, 480));
  });

  it.skipIf(!has('bccd/bccd_trainval.tar.gz'))('bccd refuses an archive that lacks some test images', async () => {
    const entries = await readArchive(await readData('bccd/bccd_trainval.tar.gz'));
    const files = Object.fromEntries(
      entries.filter(({ name }) => name.includes('ImageSets')).map(({ name, bytes }) => [name, bytes()]),
    );
    const [test] = new TextDecoder().decode(files['BCCD/ImageSets/Main/test.txt']).split('\n');
    const folder = mkdtempSync(join(tmpdir(), 'gossamer-registry-'));
    try {
      mkdirSync(join(folder, 'bccd'));
      const zip = zipSync({ ...files, [`BCCD/JPEGImages/${test.trim()}.jpg`]: new Uint8Array(1) });
      writeFileSync(join(folder, 'bccd/BCCD_Dataset-1.0.zip'), zip);
      await expect(load('bccd', { folder, ...offline })).rejects.toThrow('71 of 72 test images are missing');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.skipIf(!has('nerf/fox_135x240.tar.gz'))('fox', async () => {
    const { train, test, camera } = await load('fox', offline);
    expect([train.fields.inputs.shape, test.fields.inputs.shape]).toEqual([
      [37, 3, 240, 135],
      [6, 3, 240, 135],
    ]);
    expect([camera.width, camera.height, camera.fx, camera.k2]).toEqual([135, 240, 171.94, -0.0805099]);
    for (const { poses } of [train.fields, test.fields]) {
      for (let view = 0; view < poses.shape[0]; view++) {
        const m = poses.data.subarray(16 * view, 16 * view + 16);
        // The rotation is one: its columns are orthonormal and right-handed.
        const dot = (a: number, b: number): number => m[a] * m[b] + m[a + 4] * m[b + 4] + m[a + 8] * m[b + 8];
        for (const [a, b] of [
          [0, 0],
          [1, 1],
          [2, 2],
          [0, 1],
          [0, 2],
          [1, 2],
        ]) {
          expect(dot(a, b)).toBeCloseTo(a === b ? 1 : 0, 5);
        }
        expect(
          m[0] * (m[5] * m[10] - m[6] * m[9]) -
            m[1] * (m[4] * m[10] - m[6] * m[8]) +
            m[2] * (m[4] * m[9] - m[5] * m[8]),
        ).toBeCloseTo(1, 5);
      }
    }
  });

  it.skipIf(!has('meshes/cow.obj.gz'))('meshes', async () => {
    const { meshes } = await load('meshes', offline);
    const sizes = Object.entries(meshes).map(([name, m]) => [name, m.vertices.shape[0], m.faces.shape[0]]);
    expect(sizes).toEqual([
      ['cow', 2903, 5804],
      ['fandisk', 6475, 12946],
      ['spot', 2930, 5856],
      ['stanford-bunny', 35947, 69451],
      ['teapot', 3644, 6320],
    ]);
    expect([meshes.spot.uvs?.shape, meshes.spot.uvFaces?.shape, meshes.cow.uvs]).toEqual([[3225, 2], [5856, 3], null]);
    // Closed surfaces without holes: each edge is walked once in either direction, and V − E + F = 2.
    for (const { vertices, faces } of [meshes.fandisk, meshes.spot]) {
      const edges = new Set<number>();
      const [n, corners] = [vertices.shape[0], faces.data];
      for (let i = 0; i < corners.length; i++) edges.add(corners[i] * n + corners[i % 3 === 2 ? i - 2 : i + 1]);
      expect(edges.size).toBe(corners.length);
      expect([...edges].every(edge => edges.has((edge % n) * n + Math.floor(edge / n)))).toBe(true);
      expect(n - edges.size / 2 + faces.shape[0]).toBe(2);
    }
  });
});

describe('graphs', () => {
  it.skipIf(!has('planetoid/ind.cora.x'))('cora and citeseer', async () => {
    const [cora, citeseer] = [await load('cora', offline), await load('citeseer', offline)];
    expect([cora.nodes, cora.classes, cora.edges.shape[1]]).toEqual([2708, 7, 10556]);
    expect([citeseer.nodes, citeseer.classes, citeseer.edges.shape[1]]).toEqual([3327, 6, 9104]);
    // The public split trains on 20 papers of each class.
    expect(counts(cora.train.map(node => cora.labels[node]))).toEqual(new Array(7).fill(20));
  });

  it.skipIf(!has('graph-classification/MUTAG/MUTAG_A.txt.gz'))('mutag and proteins', async () => {
    const mutag = await load('mutag', offline);
    expect([mutag.length, mutag.nodeLabels?.length, mutag.edges.shape[1]]).toEqual([188, 3371, 7442]);
    expect([mutag.nodeKinds, mutag.edgeKinds, counts(mutag.labels)]).toEqual([7, 4, [63, 125]]);
    const proteins = await load('proteins', offline);
    expect([proteins.length, proteins.edges.shape[1], counts(proteins.labels)]).toEqual([1113, 162088, [663, 450]]);
    expect([proteins.nodeKinds, proteins.nodeAttributes?.shape]).toEqual([3, [43471, 1]]);
  });

  it.skipIf(!there('graph-classification/MUTAG/MUTAG_A.txt.gz'))(
    'mutag from the canonical zip is the same',
    async () => {
      const parts = ['A', 'graph_indicator', 'graph_labels', 'node_labels', 'edge_labels'];
      const files: Record<string, Uint8Array> = {};
      for (const part of parts) {
        files[`MUTAG/MUTAG_${part}.txt`] = await readData(`graph-classification/MUTAG/MUTAG_${part}.txt.gz`);
      }
      const folder = mkdtempSync(join(tmpdir(), 'gossamer-registry-'));
      try {
        mkdirSync(join(folder, 'graph-classification'));
        writeFileSync(join(folder, 'graph-classification/MUTAG.zip'), zipSync(files));
        expect(await load('mutag', { folder, ...offline })).toEqual(await load('mutag', offline));
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  );

  it.skipIf(!has('molhiv/HIV.csv.gz'))('molhiv', async () => {
    const { smiles, labels, train, valid, test } = await load('molhiv', offline);
    expect([smiles.length, counts(labels)[1]]).toEqual([41913, 1487]);
    expect(new Set([...train, ...valid, ...test]).size).toBe(train.length + valid.length + test.length);
    for (const part of [valid, test]) expect(part.filter(i => labels[i] === 1).length).toBeCloseTo(149, -1);
  });
});

describe('text', () => {
  it.skipIf(!has('text/tinyshakespeare.txt'))('tiny-shakespeare', async () => {
    const { train, valid, test } = await load('tiny-shakespeare', offline);
    expect([train.length, valid.length, test.length]).toEqual([1003855, 55769, 55770]);
    expect(new Set(train + valid + test).size).toBe(65);
  });

  it.skipIf(!has('text/wikitext-2/valid.txt') || there('text/wikitext-2/train.txt'))(
    'wikitext-2, valid alone',
    async () => {
      const { train, valid, test, description } = await load('wikitext-2', offline);
      expect(description).toContain('validation split alone');
      expect((train + valid + test).split(/\s+/).filter(Boolean).length).toBe(213886);
    },
  );

  it.skipIf(!has('text/ptb.zip'))('ptb', async () => {
    const { train, valid, test } = await load('ptb', offline);
    expect([train.length, valid.length, test.length]).toEqual([5101618, 399782, 449945]);
  });

  it.skipIf(!has('text/tinystories_1600k.txt.gz'))('tinystories', async () => {
    const { train, valid, test } = await load('tinystories', offline);
    expect((train + valid + test).split(END_OF_STORY).length - 1).toBe(1849);
    for (const part of [train, valid]) expect(part.endsWith(`${END_OF_STORY}\n`)).toBe(true);
  });

  it.skipIf(!has('text/multi30k/train.en.gz'))('multi30k', async () => {
    const { train, valid, test } = await load('multi30k', offline);
    expect([train.en.length, valid.de.length, test.en.length]).toEqual([29000, 1014, 1000]);
  });
});

describe('tables and sounds', () => {
  it.skipIf(!has('tabular/madelon.npz'))('madelon', async () => {
    const { train, test } = await load('madelon', offline);
    expect([train.fields.inputs.shape, test.fields.inputs.shape]).toEqual([
      [1170, 500],
      [600, 500],
    ]);
    expect(counts(test.fields.labels.data)).toEqual([300, 300]);
  });

  it.skipIf(!has('tabular/madelon.t.gz'))('madelon: the LIBSVM text holds the test part of the npz', async () => {
    const { inputs, labels } = readLibsvm(new TextDecoder().decode(await readData('tabular/madelon.t.gz')), 500);
    const { test, classes } = await load('madelon', offline);
    expect(toDense(inputs)).toEqual(test.fields.inputs);
    expect([...labels.data]).toEqual(Array.from(test.fields.labels.data, label => Number(classes[label])));
  });

  it.skipIf(!has('tabular/isolet.npz'))('isolet', async () => {
    const { train, test } = await load('isolet', offline);
    expect(counts(train.fields.labels.data)).toEqual(new Array(26).fill(48));
    expect(counts(test.fields.labels.data)).toEqual(new Array(26).fill(12));
    expect(train.fields.inputs.data.every(value => value >= -1 && value <= 1)).toBe(true);
  });

  it.skipIf(!has('movielens-100k/ua.base.gz'))('movielens-100k', async () => {
    const { train, test, titles, genres, users } = await load('movielens-100k', offline);
    expect([train.length, test.length, users, titles.length]).toEqual([90570, 9430, 943, 1682]);
    expect(counts(test.fields.users.data)).toEqual(new Array(943).fill(10));
    expect(titles[0]).toBe('Toy Story (1995)');
    expect([...genres.data.subarray(0, 19)].flatMap((on, genre) => (on ? [genre] : []))).toEqual([3, 4, 5]);
  });

  it.skipIf(!has('spoken-digits/fsdd_train_idx5-24.tar.gz'))('spoken-digits', async () => {
    const { train, test } = await load('spoken-digits', offline);
    expect([train.length, test.length]).toEqual([1020, 180]);
    expect(new Set(train.map(({ speaker }) => speaker)).size).toBe(6);
    expect(train.every(({ rate, samples }) => rate === 8000 && samples.shape[0] === 1 && samples.shape[1] > 800)).toBe(
      true,
    );
  });
});
