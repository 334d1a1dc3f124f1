import { fromBinary } from '@bufbuild/protobuf';
import { FormatError } from '../errors.ts';
import { openRandomAccess, type Source } from '../files.ts';
import { decodeModel } from './decode.ts';
import { besideModel, ExternalData, type Locate } from './external.ts';
import type { OnnxModel } from './proto.ts';
import { scanMessages } from './scan.ts';
import { type ModelProto, ModelProtoSchema } from './schema/onnx_pb.ts';
import { validateModel } from './validate.ts';

export interface ReadOptions {
  /** What error messages call the model; default: its path, URL or file name. */
  name?: string;
  /** Where to find files of external data; default: in the model's folder if it was given by path or URL. */
  externalData?: Locate;
  /** Most bytes that all sparse tensors together may take once dense; default 2 GiB. */
  maxDenseBytes?: number;
}

/**
 * Reads an ONNX file: operator sets 7 to 26, nodes sorted into a valid order, every tensor at hand (views of the file
 * where alignment allows it, so bytes passed in must not be changed afterwards), sparse tensors made dense and marked
 * `sparse`. Of external data only the parts that tensors name are read. Throws a {@link FormatError} that starts with
 * the file's name and says which graph, node or tensor is wrong.
 */
export async function readOnnx(source: Source, options: ReadOptions = {}): Promise<OnnxModel> {
  const { name, bytes } = await readAll(source);
  const locate =
    options.externalData ?? (typeof source === 'string' || source instanceof URL ? besideModel(source) : undefined);
  const external = new ExternalData(locate);
  try {
    const model = await decodeModel(parse(bytes), external, options.maxDenseBytes ?? 2 ** 31);
    validateModel(model);
    return model;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new FormatError(`${options.name ?? name}: ${error.message}`, { cause: error });
  } finally {
    await external.close();
  }
}

// More than protobuf allows in one message.
const maxFileBytes = 2 ** 31;

async function readAll(source: Source): Promise<{ name: string; bytes: Uint8Array }> {
  if (source instanceof Uint8Array) return { name: 'ONNX model', bytes: source };
  const file = await openRandomAccess(source);
  try {
    if (file.size > maxFileBytes)
      throw new FormatError(`${file.name}: ${file.size} bytes, an ONNX file has at most 2 GiB (weights beside it)`);
    const bytes = new Uint8Array(file.size);
    await file.read(0, bytes);
    return { name: file.name, bytes };
  } finally {
    await file.close();
  }
}

function parse(bytes: Uint8Array): ModelProto {
  try {
    // A Node Buffer would hand out Buffers, which slice differently.
    const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    scanMessages(plain, ModelProtoSchema);
    return fromBinary(ModelProtoSchema, plain, { readUnknownFields: false });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FormatError(`not an ONNX file, or damaged: ${reason}`, { cause });
  }
}
