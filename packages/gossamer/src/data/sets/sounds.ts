import { FormatError } from '@gossamer/tensor';
import { readArchive } from '../archive.ts';
import { dataFile } from '../store.ts';
import { readWav, type Sound } from '../wav.ts';
import { type Described, entry } from './entry.ts';

/** A recording, its class and who spoke. */
export interface Recording extends Sound {
  readonly label: number;
  readonly speaker: string;
  /** Number of the recording among those of the same label and speaker. */
  readonly index: number;
}

export interface SoundSet extends Described {
  readonly train: readonly Recording[];
  readonly test: readonly Recording[];
  readonly classes: readonly string[];
}

/** Recordings whose index is below `limit` are the test part. */
async function recordings(archive: Uint8Array, limit: number, description: string): Promise<SoundSet> {
  const all: Recording[] = [];
  for (const file of await readArchive(archive, 'spoken-digits')) {
    const match = /(?:^|\/)recordings\/(\d)_([a-z]+)_(\d+)\.wav$/.exec(file.name);
    if (!match) continue;
    all.push({
      ...readWav(file.bytes(), file.name),
      label: Number(match[1]),
      speaker: match[2],
      index: Number(match[3]),
    });
  }
  if (all.length === 0) throw new FormatError('spoken-digits: the archive holds no recordings/*.wav');
  return {
    name: 'spoken-digits',
    description,
    train: all.filter(({ index }) => index >= limit),
    test: all.filter(({ index }) => index < limit),
    classes: Array.from({ length: 10 }, (_, digit) => String(digit)),
  };
}

const spokenDigits = entry<SoundSet>(
  'spoken-digits',
  'Free Spoken Digit Dataset: digits by 6 speakers, 8 kHz (Jackson)',
  [
    {
      files: [
        dataFile(
          'spoken-digits/free-spoken-digit-dataset-1.0.9.tar.gz',
          'https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz',
        ),
      ],
      read: ([tar]) => recordings(tar, 5, 'Free Spoken Digit Dataset; recordings 0–4 are the test part, as published'),
    },
    {
      files: [dataFile('spoken-digits/fsdd_train_idx5-24.tar.gz')],
      read: ([tar]) =>
        recordings(
          tar,
          8,
          'Free Spoken Digit Dataset, a partial copy: recordings 5–24 of each digit and speaker, of which 5–7 are the test ' +
            'part here (the published one is 0–4)',
        ),
    },
  ],
);

export const soundSets = { 'spoken-digits': spokenDigits };
