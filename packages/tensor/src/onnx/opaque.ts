import type { DType, TypedArray } from '../dtype.ts';
import { GossamerError } from '../errors.ts';
import type { OnnxTensor } from './proto.ts';

/**
 * A tensor of an element type that Gossamer does not compute with (strings, complex numbers, float8, int4 …). It keeps
 * its place in the model and is written back as it was; asking for its `dtype` or `data` throws a
 * {@link GossamerError} that names it.
 */
export class OpaqueTensor implements OnnxTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** ONNX's name of the element type, e.g. `STRING`. */
  readonly elementType: string;
  /** The tensor's `TensorProto`. */
  readonly bytes: Uint8Array;

  constructor(name: string, shape: readonly number[], elementType: string, bytes: Uint8Array) {
    this.name = name;
    this.shape = shape;
    this.elementType = elementType;
    this.bytes = bytes;
  }

  get dtype(): DType {
    throw this.#refusal();
  }

  get data(): TypedArray {
    throw this.#refusal();
  }

  #refusal(): GossamerError {
    return new GossamerError(
      `tensor '${this.name}' [${this.shape.join(', ')}] has element type ${this.elementType}, which cannot be computed ` +
        'with here; convert it to float32 or an integer type before export',
    );
  }
}
