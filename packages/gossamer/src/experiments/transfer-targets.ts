import type { NDArray } from '@gossamer/tensor';
import { ArrayDataset, type Dataset } from '../data/dataset.ts';
import { load } from '../data/registry.ts';
import type { Target } from '../methods/vision/reprogram-lottery-tickets.ts';

// Grey data sets of ten classes that a network of clothes is adapted to: `inputs` uint8 [n, 1, height, width].

/**
 * @param train most training images of each target
 * @param test most test images
 */
export async function transferTargets(smoke: boolean, train: number, test: number): Promise<Target[]> {
  const target = async (name: string, data: { train: Dataset; test: Dataset }, keep = 10): Promise<Target> => ({
    name,
    classes: 10,
    train: await grey(data.train, train, keep),
    test: await grey(data.test, test, keep),
  });
  if (smoke) return [await target('digits', await load('digits'))];
  return [
    await target('MNIST', await load('mnist')),
    await target('CIFAR-10, grey', await load('cifar-10')),
    await target('COIL-20, 10 objects', await load('coil20')),
  ];
}

/** The first `count` images of classes 0 … `keep` − 1, in grey. */
async function grey(data: Dataset, count: number, keep: number): Promise<ArrayDataset> {
  const { labels } = await data.all();
  const rows = Array.from(labels.data as Int32Array, (label, i) => (label < keep ? i : -1)).filter(i => i >= 0);
  const { inputs, labels: kept } = await data.batch(rows.slice(0, count));
  return new ArrayDataset({ inputs: luminance(inputs), labels: kept });
}

/** ITU-R BT.601 luminance of RGB images; grey ones as they are. */
function luminance(images: NDArray): NDArray {
  const [n, channels, height, width] = images.shape;
  if (channels === 1) return images;
  const plane = height * width;
  const from = images.data as Uint8Array;
  const data = new Uint8Array(n * plane);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < plane; k++) {
      const at = 3 * i * plane + k;
      data[i * plane + k] = Math.round(0.299 * from[at] + 0.587 * from[at + plane] + 0.114 * from[at + 2 * plane]);
    }
  }
  return { dtype: 'uint8', shape: [n, 1, height, width], data };
}
