import { FormatError } from '@gossamer/tensor';
import { type ArchiveEntry, readArchive } from '../archive.ts';
import type { DetectionDataset } from '../detection.ts';
import { dataFile } from '../store.ts';
import { readVocPart, vocList } from '../voc.ts';
import { type Described, entry } from './entry.ts';

/** Images with labelled boxes. */
export interface DetectionSet extends Described {
  readonly train: DetectionDataset;
  readonly valid: DetectionDataset;
  /** Null where the copy lacks the images of the test part. */
  readonly test: DetectionDataset | null;
  readonly classes: readonly string[];
}

const bccdClasses = ['RBC', 'WBC', 'Platelets'];

async function bccdSet(bytes: Uint8Array, file: string): Promise<DetectionSet> {
  const entries = await readArchive(bytes, file);
  const part = (name: string) => readVocPart(entries, name, { classes: bccdClasses, name: file });
  const test = hasImages(entries, 'test', file) ? part('test') : null;
  return {
    name: 'bccd',
    description: `BCCD with its own split${test ? '' : ', a partial copy without the 72 test images: `test` is null'}`,
    train: part('train'),
    valid: part('val'),
    test,
    classes: bccdClasses,
  };
}

/** Whether an archive has the images that a list names: all of them, or it must have none. */
function hasImages(entries: readonly ArchiveEntry[], part: string, file: string): boolean {
  const stems = new Set(entries.map(({ name }) => /JPEGImages\/([^/]+)\.[^./]+$/.exec(name)?.[1]));
  const ids = vocList(entries, part, file);
  const missing = ids.filter(id => !stems.has(id));
  if (missing.length > 0 && missing.length < ids.length) {
    throw new FormatError(
      `${file}: ${missing.length} of ${ids.length} ${part} images are missing, first ${missing[0]}`,
    );
  }
  return missing.length === 0;
}

const bccd = entry<DetectionSet>(
  'bccd',
  'BCCD: 364 blood smears 640×480 RGB, boxes of cells of 3 kinds (Shenggan 2017)',
  [
    {
      files: [dataFile('bccd/BCCD_Dataset-1.0.zip', 'https://github.com/Shenggan/BCCD_Dataset/archive/v1.0.zip')],
      read: ([bytes]) => bccdSet(bytes, 'BCCD_Dataset-1.0.zip'),
    },
    {
      files: [dataFile('bccd/bccd_trainval.tar.gz')],
      read: ([bytes]) => bccdSet(bytes, 'bccd_trainval.tar'),
    },
  ],
);

export const detectionSets = { bccd };
