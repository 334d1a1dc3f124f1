import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { check, formatShape, GossamerError, type NDArray, type Spec, sizeOf, toFloat32 } from '@gossamer/tensor';
import { readCsv } from '../data/csv.ts';
import { ArrayDataset, type Batch, Dataset } from '../data/dataset.ts';
import { ImageDataset, readFolder } from '../data/images.ts';
import { readNpz } from '../data/npy.ts';
import { dataSets, load, type SetName } from '../data/registry.ts';
import { normalize, type Transform, toFloat } from '../data/transforms.ts';

/** `inputs` [n, …] and `labels` int32 [n]. */
export type Labelled = { readonly inputs: NDArray; readonly labels: NDArray };

/** Samples to learn from and others to test on, and how they become what a model takes. */
export interface LabelledData {
  readonly name: string;
  readonly train: Dataset<Labelled>;
  readonly test: Dataset<Labelled>;
  /** To float32 numbers of the model's shape. */
  readonly transforms: readonly Transform[];
  /** Shape of one sample as it comes from the data. */
  readonly sample: readonly number[];
  /** Number of classes: the largest label and one, or what the set says. */
  readonly classes: number;
}

export const dataHelp =
  'a named set (mnist, digits, cifar-10, …), a folder of images (one folder a class), an .npz with inputs and labels, or a .csv with a column label';
export const normalizeHelp =
  'how pixels become numbers: set (mean and deviation of the named set), unit (0…1), bytes (0…255), imagenet, or mean/deviation such as 0.5,0.5,0.5/0.25,0.25,0.25';

/** Mean and deviation of ImageNet's training images, by channel, of values 0…1. */
const imagenet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/** Share of the samples that are kept for the test where the source has no test part. */
const held = 0.2;

/**
 * Opens labelled data.
 *
 * @param input what the model takes: images of a folder are scaled to it, and samples brought into its order; without
 *   it samples keep the shape that they have
 */
export async function openData(source: string, normalize: string | undefined, input?: Spec): Promise<LabelledData> {
  const { mean, std, classes, ...parts } = await open(source, input);
  const { train, test } = await split(parts);
  const first = await train.get(0);
  const sample = first.inputs.shape;
  check(!input || sizeOf(input.shape.slice(1)) === sizeOf(sample), () => {
    return `--data ${source}: a sample is ${formatShape(sample)}, the model takes ${formatShape(input!.shape.slice(1))}`;
  });
  const target = input?.shape.slice(1) ?? sample;
  return {
    name: source,
    train,
    test,
    transforms: [scaling(normalize, mean, std), ...(input ? [arranged(sample, target)] : [])],
    sample,
    classes: classes ?? (await largestLabel(train)) + 1,
  };
}

interface Source {
  readonly train: Dataset<Labelled>;
  readonly test?: Dataset<Labelled>;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  readonly classes?: number;
}

async function open(source: string, input?: Spec): Promise<Source> {
  if (dataSets().some(set => set.name === source)) return openSet(source as SetName);
  const found = await stat(source).catch(() => null);
  if (found?.isDirectory()) return openFolder(source, input);
  if (found && /\.npz$/i.test(source)) return openNpz(source);
  if (found && /\.csv$/i.test(source)) return openCsv(source);
  const names = dataSets().map(set => set.name);
  throw new GossamerError(
    found
      ? `--data ${source}: expected a folder of images, an .npz or a .csv`
      : `--data ${source}: neither a file or folder nor a set; the sets are ${names.join(', ')}`,
  );
}

async function openSet(name: SetName): Promise<Source> {
  const set = (await load(name)) as Partial<Record<'train' | 'test' | 'data', Dataset>> & {
    mean?: readonly number[];
    std?: readonly number[];
    classes?: readonly string[];
  };
  const train = set.train ?? set.data;
  const first = train instanceof Dataset ? await train.get(0) : {};
  check(
    'inputs' in first && 'labels' in first && first.labels.shape.length === 0,
    `--data ${name}: this set has no inputs with one label each`,
  );
  const { mean, std, classes } = set;
  const [a, b] = [train, set.test] as [Dataset<Labelled>, Dataset<Labelled> | undefined];
  return { train: a, test: b, mean, std, ...(classes?.length && { classes: classes.length }) };
}

/** Where the model takes [n, channels, height, width] or [n, height, width, channels], images are scaled to that. */
async function openFolder(folder: string, input?: Spec): Promise<Source> {
  const shape = input?.shape.slice(1) ?? [];
  const last = shape.length === 3 && shape[2] <= 4 && shape[0] > 4;
  const [channels, height, width] = last ? [shape[2], shape[0], shape[1]] : shape;
  const images = new ImageDataset(await readFolder(folder), {
    ...(shape.length === 3 && { size: [height, width] as const, channels: channels as 1 | 3 | 4 }),
  });
  return { train: images, classes: images.classes.length };
}

async function openNpz(path: string): Promise<Source> {
  const arrays = readNpz(new Uint8Array(await readFile(path)), basename(path));
  const part = (x: string, y: string): ArrayDataset<Labelled> | undefined => {
    const [inputs, labels] = [arrays[x], arrays[y]];
    if (!inputs || !labels) return undefined;
    return new ArrayDataset({ inputs, labels: toInt32(labels, path) });
  };
  const train = part('inputs', 'labels') ?? part('x_train', 'y_train') ?? part('X_train', 'y_train') ?? part('X', 'y');
  check(train, () => {
    return `${path}: expected arrays inputs [n, …] and labels [n] (and test_inputs, test_labels); it holds ${Object.keys(arrays).join(', ')}`;
  });
  const test = part('test_inputs', 'test_labels') ?? part('x_test', 'y_test') ?? part('X_test', 'y_test');
  return { train, ...(test && { test }) };
}

function toInt32(labels: NDArray, path: string): NDArray<Int32Array> {
  check(
    labels.shape.length === 1,
    () => `${path}: labels are ${formatShape(labels.shape)}, expected one class a sample`,
  );
  return { dtype: 'int32', shape: labels.shape, data: Int32Array.from(labels.data as Float64Array, Number) };
}

async function openCsv(path: string): Promise<Source> {
  const { columns, length } = readCsv(await readFile(path, 'utf8'), { name: basename(path) });
  const { label: labels, ...features } = columns;
  check(labels, () => `${path}: no column label; columns are ${Object.keys(columns).join(', ')}`);
  const words = Array.isArray(labels) ? [...new Set(labels)].sort() : undefined;
  const ids = Array.isArray(labels)
    ? Int32Array.from(labels, word => words!.indexOf(word))
    : Int32Array.from(labels.data as Float64Array);
  const names = Object.keys(features);
  const data = new Float32Array(length * names.length);
  names.forEach((name, c) => {
    const column = features[name];
    check(!Array.isArray(column), `${path}: column ${name} holds words; only label may`);
    for (let row = 0; row < length; row++) data[row * names.length + c] = column.data[row];
  });
  const inputs: NDArray = { dtype: 'float32', shape: [length, names.length], data };
  return { train: new ArrayDataset({ inputs, labels: { dtype: 'int32', shape: [length], data: ids } }) };
}

async function split({ train, test }: Source): Promise<{ train: Dataset<Labelled>; test: Dataset<Labelled> }> {
  if (test) return { train, test };
  const [rest, part] = await train.split([1 - held, held], { seed: 0 });
  return { train: rest, test: part };
}

async function largestLabel(data: Dataset<Labelled>): Promise<number> {
  const { labels } = await data.all();
  let largest = 0;
  for (const label of labels.data) largest = Math.max(largest, Number(label));
  return largest;
}

function scaling(how: string | undefined, mean?: readonly number[], std?: readonly number[]): Transform {
  if (how === undefined || how === 'set') {
    check(how === undefined || (mean && std), '--normalize set: this data has no mean and deviation of its own');
    return mean && std ? normalize(mean, std) : toFloat();
  }
  if (how === 'unit') return toFloat();
  if (how === 'bytes') return onInputs(toFloat32OrBytes);
  if (how === 'imagenet') return normalize(imagenet.mean, imagenet.std);
  const numbers = how.split('/').map(part => part.split(',').map(Number));
  const valid = numbers.length === 2 && numbers.flat().every(Number.isFinite) && numbers[1].every(s => s > 0);
  check(valid, `--normalize ${how}: expected set, unit, bytes, imagenet, or means/deviations such as 0.5/0.25`);
  const [means, stds] = numbers.map(list => (list.length === 1 ? list[0] : list));
  return normalize(means, stds);
}

const toFloat32OrBytes = (array: NDArray): NDArray =>
  array.dtype === 'uint8'
    ? { dtype: 'float32', shape: array.shape, data: Float32Array.from(array.data as Uint8Array) }
    : toFloat32(array);

/** Channels last where the model wants them there; else the same numbers in the model's shape. */
function arranged(from: readonly number[], to: readonly number[]): Transform {
  const [channels, height, width] = from;
  const last = from.length === 3 && to.length === 3 && to[0] === height && to[1] === width && to[2] === channels;
  return onInputs(array => {
    const shape = [array.shape[0], ...to];
    if (!last || channels === 1) return { ...array, shape };
    const source = array.data as Float32Array;
    const data = new Float32Array(source.length);
    const plane = height * width;
    for (let start = 0, at = 0; start < source.length; start += channels * plane) {
      for (let i = 0; i < plane; i++) for (let c = 0; c < channels; c++) data[at++] = source[start + c * plane + i];
    }
    return { dtype: 'float32', shape, data };
  });
}

const onInputs =
  (change: (array: NDArray) => NDArray): Transform =>
  (batch: Batch) => ({ ...batch, inputs: change(batch.inputs) });
