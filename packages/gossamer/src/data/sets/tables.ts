import { FormatError, type NDArray } from '@gossamer/tensor';
import { entryBytes, readArchive } from '../archive.ts';
import { latin1, utf8 } from '../bytes.ts';
import { numbers, readCsv, strings } from '../csv.ts';
import { ArrayDataset } from '../dataset.ts';
import { readLibsvm } from '../libsvm.ts';
import { expectArrays, readNpz } from '../npy.ts';
import { toDense } from '../sparse.ts';
import { dataFile } from '../store.ts';
import { type Described, entry } from './entry.ts';

/** Rows of numbers with classes: `inputs` float32 [n, features], `labels` int32 [n]. */
export type LabelledRows = { inputs: NDArray<Float32Array>; labels: NDArray<Int32Array> };

export interface TableSet extends Described {
  readonly train: ArrayDataset<LabelledRows>;
  readonly test: ArrayDataset<LabelledRows>;
  readonly classes: readonly string[];
}

function labelled(
  x: NDArray,
  y: NDArray,
  classOf: (label: number) => number = label => label,
): ArrayDataset<LabelledRows> {
  return new ArrayDataset({
    inputs: { dtype: 'float32', shape: x.shape, data: Float32Array.from(x.data as Float32Array, Number) },
    labels: { dtype: 'int32', shape: y.shape, data: Int32Array.from(y.data as Float32Array, v => classOf(Number(v))) },
  });
}

const madelonSite = 'https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary/';
const madelonInfo = { name: 'madelon', classes: ['-1', '+1'] };
const sign = (label: number): number => (label > 0 ? 1 : 0);

const madelon = entry<TableSet>('madelon', 'Madelon: 500 features of which 20 matter, 2 classes (Guyon et al. 2004)', [
  {
    files: ['madelon', 'madelon.t'].map(name => dataFile(`tabular/${name}`, madelonSite + name)),
    read: contents => {
      const [train, test] = contents.map(bytes => {
        const { inputs, labels } = readLibsvm(utf8(bytes, 'madelon'), 500, 'madelon');
        return labelled(toDense(inputs), labels, sign);
      });
      const description = 'Madelon: 2000 training rows; the 600 rows of the UCI validation set are the test part';
      return { ...madelonInfo, description, train, test };
    },
  },
  {
    files: [dataFile('tabular/madelon.npz')],
    read: ([bytes]) => {
      const arrays = expectArrays(readNpz(bytes), ['X_train', 'y_train', 'X_test', 'y_test'], 'madelon.npz');
      return {
        ...madelonInfo,
        description:
          'Madelon, a partial copy: the first 1170 of 2000 training rows; the 600 rows of the UCI validation set are the ' +
          'test part',
        train: labelled(arrays.X_train, arrays.y_train, sign),
        test: labelled(arrays.X_test, arrays.y_test, sign),
      };
    },
  },
]);

const isolet = entry<TableSet>('isolet', 'ISOLET: spoken letters, 617 features, 26 classes (Fanty & Cole 1990)', [
  {
    files: [dataFile('tabular/isolet.npz')],
    read: async ([bytes]) => {
      const { X, y } = expectArrays(readNpz(bytes), ['X', 'y'], 'isolet.npz');
      const [train, test] = await labelled(X, y).split(0.8, { stratify: 'labels' });
      return {
        name: 'isolet',
        description:
          'ISOLET, a partial copy: 1560 of 7797 utterances, 60 of each letter, split here into 1248 training and 312 test ' +
          'rows (stratified, seed 0)',
        train: new ArrayDataset(await train.all()),
        test: new ArrayDataset(await test.all()),
        classes: [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'],
      };
    },
  },
]);

/** Who gave what how many stars: `users`, `items` int32 [n] from 0, `ratings` float32 [n] 1…5, `times` int32 [n] (Unix seconds). */
export type Ratings = {
  users: NDArray<Int32Array>;
  items: NDArray<Int32Array>;
  ratings: NDArray<Float32Array>;
  times: NDArray<Int32Array>;
};

export interface RatingSet extends Described {
  readonly train: ArrayDataset<Ratings>;
  readonly test: ArrayDataset<Ratings>;
  readonly users: number;
  /** Title of each item. */
  readonly titles: readonly string[];
  /** uint8 [items, 19]: which of the 19 genres each item has. */
  readonly genres: NDArray<Uint8Array>;
}

const [USERS, ITEMS, GENRES] = [943, 1682, 19];

function readRatings(bytes: Uint8Array, name: string): ArrayDataset<Ratings> {
  const header = ['user', 'item', 'rating', 'time'];
  const types = { user: 'int32', item: 'int32', rating: 'float32', time: 'int32' } as const;
  const table = readCsv(utf8(bytes, name), { delimiter: '\t', header, types, quotes: false, name });
  const shape = [table.length];
  const ids = (key: string, limit: number): NDArray<Int32Array> => {
    const data = Int32Array.from(numbers(table, key, name).data, id => id - 1);
    if (data.some(id => id < 0 || id >= limit)) throw new FormatError(`${name}: a ${key} number is not in 1…${limit}`);
    return { dtype: 'int32', shape, data };
  };
  return new ArrayDataset({
    users: ids('user', USERS),
    items: ids('item', ITEMS),
    ratings: numbers(table, 'rating', name) as NDArray<Float32Array>,
    times: numbers(table, 'time', name) as NDArray<Int32Array>,
  });
}

function ratingSet([base, test, item]: readonly Uint8Array[]): RatingSet {
  const name = 'u.item';
  // Titles are Latin-1. Columns: number, title, two dates, address, genres.
  const table = readCsv(latin1(item), { delimiter: '|', header: false, quotes: false, name, types: { 1: 'string' } });
  if (table.length !== ITEMS) throw new FormatError(`${name}: ${table.length} lines, expected ${ITEMS}`);
  const flags = Array.from({ length: GENRES }, (_, genre) => numbers(table, String(5 + genre), name).data);
  const data = Uint8Array.from({ length: ITEMS * GENRES }, (_, i) => flags[i % GENRES][Math.floor(i / GENRES)]);
  return {
    name: 'movielens-100k',
    description: 'MovieLens-100k, split ua: 10 ratings of each user are the test part',
    train: readRatings(base, 'ua.base'),
    test: readRatings(test, 'ua.test'),
    users: USERS,
    titles: strings(table, '1', name),
    genres: { dtype: 'uint8', shape: [ITEMS, GENRES], data },
  };
}

const movielensFiles = ['ua.base', 'ua.test', 'u.item'];

const movielens = entry<RatingSet>(
  'movielens-100k',
  'MovieLens-100k: 943 users rate 1682 films (Harper & Konstan 2015)',
  [
    {
      files: [dataFile('movielens-100k/ml-100k.zip', 'https://files.grouplens.org/datasets/movielens/ml-100k.zip')],
      read: async ([zip]) => {
        const entries = await readArchive(zip, 'ml-100k.zip');
        return ratingSet(movielensFiles.map(name => entryBytes(entries, name, 'ml-100k.zip')));
      },
    },
    { files: movielensFiles.map(name => dataFile(`movielens-100k/${name}.gz`)), read: ratingSet },
  ],
);

export const tableSets = { madelon, isolet, 'movielens-100k': movielens };
