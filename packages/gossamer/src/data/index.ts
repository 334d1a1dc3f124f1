/** Data sets: readers of the usual formats, named sets, loaders and augmentation. */
export { type ArchiveEntry, gunzip, readArchive, readTar, readZip } from './archive.ts';
export { type BpeOptions, trainBpe } from './bpe.ts';
export { readCifar } from './cifar.ts';
export { type Corruption, type CorruptionLevel, corrupt, corruptions } from './corruptions.ts';
export { type CsvOptions, numbers, readCsv, strings, type Table } from './csv.ts';
export { ArrayDataset, type Batch, ConcatDataset, Dataset, type SplitOptions } from './dataset.ts';
export { type DetectionBatch, DetectionDataset, type Picture } from './detection.ts';
export { embeddedDigits } from './digits.ts';
export { fewShot } from './few-shot.ts';
export { batchGraphs, type GraphBatch } from './graphs.ts';
export { readIdx } from './idx.ts';
export { decodeImage, ImageDataset, type ImageSetOptions, type LabelledImages, readFolder } from './images.ts';
export { readLibsvm } from './libsvm.ts';
export { DataLoader, type LoaderOptions, type LoaderState } from './loader.ts';
export { readNpy, readNpz, writeNpy, writeNpz } from './npy.ts';
export { type Mesh, readObj } from './obj.ts';
export { type NodeGraph, readPlanetoid, readPlanetoidJson, readPlanetoidNpz } from './planetoid.ts';
export { dataSets, type LoadedSet, load, type SetName } from './registry.ts';
export { bpttWindows, type Sequences, tokenWindows } from './sequences.ts';
export type { DetectionSet } from './sets/detection.ts';
export type { MoleculeSet } from './sets/graphs.ts';
export type { ImageSet, PhotoSet } from './sets/images.ts';
export type { MeshSet, ViewSet } from './sets/scenes.ts';
export type { Recording, SoundSet } from './sets/sounds.ts';
export type { LabelledRows, RatingSet, Ratings, TableSet } from './sets/tables.ts';
export { END_OF_STORY, type ParallelSet, type TextSet } from './sets/text.ts';
export { type Csr, normalizeRows, toDense } from './sparse.ts';
export { dataFolder, type LoadOptions, readData } from './store.ts';
export {
  degrade,
  type Image,
  luma,
  type Pair,
  PatchDataset,
  psnr,
  resizeBicubic,
  ssim,
  toUnit,
} from './super-resolution.ts';
export { CharTokenizer, type Tokenizer, tokenizerFromJson, WordTokenizer } from './tokenizers.ts';
export type { Transform, TransformContext } from './transforms.ts';
export * as transforms from './transforms.ts';
export { type GraphSet, readTu, type TuFiles } from './tu.ts';
export { type Camera, type PosedImages, readViews, type Views } from './views.ts';
export { readVoc, readVocPart, type VocAnnotation } from './voc.ts';
export { readWav, type Sound } from './wav.ts';
