import { readArchive } from '../archive.ts';
import type { ArrayDataset } from '../dataset.ts';
import { type Mesh, readObj } from '../obj.ts';
import { dataFile } from '../store.ts';
import { type Camera, type PosedImages, readViews } from '../views.ts';
import { type Described, entry } from './entry.ts';

/** Photographs of one scene with their cameras, in two parts. */
export interface ViewSet extends Described {
  readonly train: ArrayDataset<PosedImages>;
  readonly test: ArrayDataset<PosedImages>;
  readonly camera: Camera;
}

/** Every how many views one is held out, from the first on: the split of Mildenhall et al. (2019, arXiv:1905.00889). */
const HELD_OUT = 8;

const fox = entry<ViewSet>('fox', 'Fox: photographs of a stuffed fox with cameras (Müller et al. 2022)', [
  {
    files: [dataFile('nerf/fox_135x240.tar.gz')],
    read: async ([tar]) => {
      const { data, camera } = await readViews(await readArchive(tar, 'fox'), { name: 'fox' });
      const order = Array.from({ length: data.length }, (_, i) => i);
      const [train, test] = [false, true].map(held => data.gather(order.filter(i => (i % HELD_OUT === 0) === held)));
      return {
        name: 'fox',
        description:
          `The fox of instant-ngp, a partial copy: ${data.length} of 50 views, scaled to 135×240 (1/8); every eighth by ` +
          `file name, from the first on, is the test part (${test.length} views)`,
        train,
        test,
        camera,
      };
    },
  },
]);

const meshNames = ['cow', 'fandisk', 'spot', 'stanford-bunny', 'teapot'] as const;

export interface MeshSet extends Described {
  readonly meshes: Readonly<Record<(typeof meshNames)[number], Mesh>>;
}

const meshSite = 'https://github.com/alecjacobson/common-3d-test-models/raw/master/data/';

const meshes = entry<MeshSet>('meshes', 'Five common test meshes: cow, fandisk, spot, Stanford bunny, Utah teapot', [
  {
    files: meshNames.map(name => dataFile(`meshes/${name}.obj.gz`, `${meshSite}${name}.obj`)),
    read: contents => {
      const read = meshNames.map((name, i) => [name, readObj(contents[i], `${name}.obj`)]);
      return {
        name: 'meshes',
        description: 'Test meshes of the collection common-3d-test-models, each under its own terms',
        meshes: Object.fromEntries(read),
      };
    },
  },
]);

export const sceneSets = { fox, meshes };
