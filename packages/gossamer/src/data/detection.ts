import { check, FormatError, type NDArray } from '@gossamer/tensor';
import { Dataset } from './dataset.ts';
import { decodeImage } from './images.ts';
import { stackRows } from './rows.ts';

/** An image file and the objects in it. */
export interface Picture {
  readonly name: string;
  /** The encoded image. */
  bytes(): Uint8Array;
  readonly width: number;
  readonly height: number;
  /** float32 [objects, 4]: left, top, right, bottom in pixels from the upper left corner. */
  readonly boxes: NDArray<Float32Array>;
  /** Class of each object. */
  readonly labels: Int32Array;
}

/**
 * `inputs` uint8 [n, 3, height, width]; `boxes` float32 [n, most, 4] (left, top, right, bottom in pixels), `labels` int32
 * [n, most], where `most` is the largest number of objects in an image of the set. Images with fewer end in boxes of
 * zeros with label −1.
 */
export type DetectionBatch = {
  inputs: NDArray<Uint8Array>;
  boxes: NDArray<Float32Array>;
  labels: NDArray<Int32Array>;
};

/** Images with labelled boxes, decoded when a batch of them is asked for. */
export class DetectionDataset extends Dataset<DetectionBatch> {
  readonly pictures: readonly Picture[];
  readonly classes: readonly string[];
  /** Objects a row of `boxes` and `labels` has room for: the most that one image of the set has. */
  readonly most: number;
  readonly #size: readonly [number, number] | undefined;

  /** @param size [height, width] that images, with their boxes, are stretched to; default their own, which must then be one */
  constructor(pictures: readonly Picture[], classes: readonly string[], size?: readonly [number, number]) {
    super();
    check(pictures.length > 0, 'DetectionDataset: no pictures given');
    this.pictures = pictures;
    this.classes = classes;
    this.most = Math.max(...pictures.map(({ labels }) => labels.length));
    this.#size = size;
    const [first] = pictures;
    const odd = size ? undefined : pictures.find(p => p.width !== first.width || p.height !== first.height);
    check(!odd, () => {
      const [a, b] = [first, odd!].map(({ name, width, height }) => `${name} is ${width}×${height}`);
      return `DetectionDataset: ${a}, ${b}; give a size to stretch them to`;
    });
  }

  get length(): number {
    return this.pictures.length;
  }

  /** The same pictures, stretched to `size` = [height, width] together with their boxes. */
  resized(size: readonly [number, number]): DetectionDataset {
    return new DetectionDataset(this.pictures, this.classes, size);
  }

  override async batch(indices: ArrayLike<number>): Promise<DetectionBatch> {
    const list = Array.from(indices, index => {
      check(index in this.pictures, () => `batch: index ${index} of ${this.length} samples`);
      return this.pictures[index];
    });
    const images = await Promise.all(list.map(picture => this.#decode(picture)));
    const boxes = new Float32Array(list.length * this.most * 4);
    const labels = new Int32Array(list.length * this.most).fill(-1);
    list.forEach((picture, row) => {
      const [height, width] = this.#size ?? [picture.height, picture.width];
      const scale = [width / picture.width, height / picture.height];
      boxes.set(
        picture.boxes.data.map((edge, i) => edge * scale[i % 2]),
        row * this.most * 4,
      );
      labels.set(picture.labels, row * this.most);
    });
    return {
      inputs: stackRows(images),
      boxes: { dtype: 'float32', shape: [list.length, this.most, 4], data: boxes },
      labels: { dtype: 'int32', shape: [list.length, this.most], data: labels },
    };
  }

  async #decode({ name, bytes, width, height }: Picture): Promise<NDArray<Uint8Array>> {
    const image = await decodeImage(bytes(), { size: this.#size, fit: 'fill' }, name);
    const [, h, w] = image.shape;
    if (!this.#size && (h !== height || w !== width)) {
      throw new FormatError(`${name}: ${w}×${h} pixels, its annotation says ${width}×${height}`);
    }
    return image;
  }
}
