import { Random } from '@gossamer/tensor';
import { ArrayDataset, type Dataset } from '../data/dataset.ts';
import { load } from '../data/registry.ts';
import { normalize, resize } from '../data/transforms.ts';

export interface Images {
  readonly train: ArrayDataset;
  readonly test: ArrayDataset;
}

/**
 * The first images of a set, normalised, scaled to `size` × `size` pixels; `digits` come with the package, for smoke runs.
 *
 * @param train number of training images
 * @param test number of test images
 */
export async function images(
  name: 'fashion-mnist' | 'mnist' | 'cifar-10' | 'digits',
  train: number,
  test: number,
  size: number,
): Promise<Images> {
  const set = await load(name);
  const prepare = async (data: Dataset, count: number) => {
    const context = { indices: [], epoch: 0, random: new Random(0) };
    const batch = await data.take(count).all();
    const shrunk = batch.inputs.shape[2] === size ? batch : await resize(size)(batch, context);
    return new ArrayDataset(await normalize(set.mean, set.std)(shrunk, context));
  };
  return { train: await prepare(set.train, train), test: await prepare(set.test, test) };
}
