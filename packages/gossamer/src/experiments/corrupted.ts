import { Random } from '@gossamer/tensor';
import { type Corruption, type CorruptionLevel, corrupt, corruptions } from '../data/corruptions.ts';
import { ArrayDataset, type Dataset } from '../data/dataset.ts';
import { load } from '../data/registry.ts';
import { concatRows } from '../data/rows.ts';
import { compose, normalize, resize } from '../data/transforms.ts';

/**
 * The first test images of a set at every level of each corruption, prepared like those of `images`: out-of-distribution
 * data. One data set a kind, the three levels one after the other.
 */
export async function corruptedImages(
  name: 'fashion-mnist' | 'mnist' | 'cifar-10' | 'digits',
  test: number,
  size: number,
): Promise<ReadonlyMap<Corruption, Dataset>> {
  const set = await load(name);
  const indices = Array.from({ length: Math.min(test, set.test.length) }, (_, i) => i);
  const batch = await set.test.batch(indices);
  const shrink = batch.inputs.shape[2] === size ? [] : [resize(size)];
  const made = Object.keys(corruptions).map(async kind => {
    const levels = ([1, 2, 3] as const).map((level: CorruptionLevel) =>
      compose(
        ...shrink,
        corrupt(kind as Corruption, level),
        normalize(set.mean, set.std),
      )(batch, {
        indices,
        epoch: 0,
        random: new Random(0).fork(kind).fork(level),
      }),
    );
    const parts = await Promise.all(levels);
    const data = new ArrayDataset({
      inputs: concatRows(parts.map(p => p.inputs)),
      labels: concatRows(parts.map(p => p.labels)),
    });
    return [kind as Corruption, data] as const;
  });
  return new Map(await Promise.all(made));
}
