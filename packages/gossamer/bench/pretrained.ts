// What the networks with real weights reach on the real data at hand: top-1 and top-5, in percent.
//   GOSSAMER_DATA=<folder> GOSSAMER_MODELS=<folder> npm run bench:pretrained [-- --json]
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { check, compile, type NDArray, type Tensor, tensor } from '@gossamer/tensor';
import { readArchive } from '../src/data/archive.ts';
import type { Batch, Dataset } from '../src/data/dataset.ts';
import { ImageDataset } from '../src/data/images.ts';
import { DataLoader } from '../src/data/loader.ts';
import { load } from '../src/data/registry.ts';
import { readData } from '../src/data/store.ts';
import { normalize } from '../src/data/transforms.ts';
import { CifarResNet } from '../src/models/resnet-cifar.ts';
import { SqueezeNet } from '../src/models/squeezenet.ts';
import { TinyDarknet } from '../src/models/tiny-darknet.ts';
import type { Module } from '../src/nn/module.ts';
import { percent, table } from '../src/text.ts';

interface Score {
  readonly network: string;
  readonly images: string;
  readonly count: number;
  readonly top1: number;
  readonly top5: number;
}

const folder = process.env.GOSSAMER_MODELS;
check(folder, 'set GOSSAMER_MODELS to the folder of the weights');

/** @param classOf the class of each output, where outputs are in an order of their own */
async function score(
  network: string,
  model: Module,
  images: string,
  data: Dataset,
  transform: (batch: Batch) => NDArray | Promise<NDArray>,
  classOf: (output: number) => number = i => i,
): Promise<Score> {
  model.eval();
  const run = compile((x: Tensor) => model.forward(x) as Tensor);
  let [top1, top5, count] = [0, 0, 0];
  for await (const batch of new DataLoader(data, { batchSize: 50 })) {
    const logits = await run(tensor(await transform(batch)));
    const values = await logits.data();
    const [rows, classes] = logits.shape;
    for (let row = 0; row < rows; row++) {
      const scores = values.subarray(row * classes, (row + 1) * classes);
      const best = [...scores.keys()]
        .sort((a, b) => scores[b] - scores[a])
        .slice(0, 5)
        .map(classOf);
      const label = Number(batch.labels.data[row]);
      if (best[0] === label) top1++;
      if (best.includes(label)) top5++;
      count++;
    }
  }
  await run.dispose();
  return { network, images, count, top1: top1 / count, top5: top5 / count };
}

const context = { indices: [], epoch: 0, random: undefined as never };
const imagenetStyle = normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const standardized = async (batch: Batch) => (await imagenetStyle(batch, context)).inputs;

/** Caffe's form: blue first, 0…255, the mean of each channel taken off. */
async function caffe({ inputs }: Batch): Promise<NDArray> {
  const plane = 227 * 227;
  const [n] = inputs.shape;
  const data = new Float32Array(n * 3 * plane);
  for (let image = 0; image < n; image++) {
    for (const [c, mean] of [104, 117, 123].entries()) {
      const from = (image * 3 + 2 - c) * plane;
      const to = (image * 3 + c) * plane;
      for (let i = 0; i < plane; i++) data[to + i] = Number(inputs.data[from + i]) - mean;
    }
  }
  return { dtype: 'float32', shape: inputs.shape, data };
}

const unit = async (batch: Batch): Promise<NDArray> => ({
  dtype: 'float32',
  shape: batch.inputs.shape,
  data: Float32Array.from(batch.inputs.data as Uint8Array, v => v / 255),
});

const scores: Score[] = [];
const lossless = await load('cifar-10-sample');
const { test } = await load('cifar-10');
for (const depth of [20, 32]) {
  const model = await CifarResNet.fromPretrained(`${folder}/resnet${depth}_cifar10.safetensors`);
  scores.push(await score(`ResNet-${depth}`, model, 'CIFAR-10, lossless sample', lossless.data, standardized));
  scores.push(await score(`ResNet-${depth}`, model, 'CIFAR-10 test, JPEG copy', test, standardized));
}
const sample = await load('imagenet-sample');
const squeezenet = await SqueezeNet.fromPretrained(`${folder}/squeezenet_v1.0_deepcompressed_imagenet.safetensors`);
const darknet = await TinyDarknet.fromPretrained(`${folder}/darknet_tiny_imagenet.safetensors`);
const wnids = (await readFile(`${folder}/darknet_tiny_imagenet.classes_wnid.txt`, 'utf8')).trim().split('\n');
const sorted = wnids.map(wnid => sample.wnids.indexOf(wnid));
// SqueezeNet wants 227×227: scaled when decoded, with sharp's cubic filter.
const tar = 'imagenet-sample-224/imagenet-sample-224.tar';
const scaled = new ImageDataset(await readArchive(await readData(tar), tar), {
  size: [227, 227],
  label: path => Number(/(\d{4})_[^/]*$/.exec(path)?.[1]),
});
for (const count of [250, sample.data.length]) {
  const images = `ImageNet sample, ${count === sample.data.length ? 'all' : 'the first'} ${count}`;
  scores.push(await score('SqueezeNet v1.0, 33 % density', squeezenet, images, scaled.take(count), caffe));
  scores.push(await score('Tiny Darknet', darknet, images, sample.data.take(count), unit, i => sorted[i]));
}
const { values } = parseArgs({ options: { json: { type: 'boolean' } } });
console.log(
  values.json
    ? JSON.stringify(scores, null, 1)
    : table(
        ['network', 'images', 'count', 'top-1', 'top-5'],
        scores.map(s => [s.network, s.images, String(s.count), percent(s.top1), percent(s.top5)]),
      ),
);
