import { type FileContent, writeFiles } from '../files.ts';
import { type EncodeOptions, encodeModel } from './encode.ts';
import { checkLocation } from './external.ts';
import type { OnnxModel } from './proto.ts';

export interface WriteOptions extends EncodeOptions {
  /** Keeps large initializers in a file of their own; needed above 2 GiB. Default: everything in one file. */
  externalData?: {
    /** Name of that file, in the model's folder; default: the model's name and `.data`. */
    location?: string;
    /** Initializers of at least this many bytes go there; default 1024. */
    threshold?: number;
  };
}

// Lets a runtime that maps the file use the weights in place, with aligned vector loads.
const alignment = 64;

/**
 * Writes an ONNX file, whole or not at all (the file of external data is in place before the model that names it).
 * Throws a {@link FormatError} if the model is not well formed.
 */
export async function writeOnnx(path: string, model: OnnxModel, options: WriteOptions = {}): Promise<void> {
  if (!options.externalData) return writeFiles([{ path, chunks: [encodeModel(model, options, () => undefined)] }]);
  const folder = /^.*[/\\]/.exec(path)?.[0] ?? '';
  const { location = `${path.slice(folder.length)}.data`, threshold = 1024 } = options.externalData;
  checkLocation(location, path);
  const chunks: Uint8Array[] = [];
  let end = 0;
  const bytes = encodeModel(model, options, data => {
    if (data.byteLength < threshold || data.byteLength === 0) return undefined;
    const padding = (alignment - (end % alignment)) % alignment;
    if (padding > 0) chunks.push(new Uint8Array(padding));
    const offset = end + padding;
    chunks.push(data);
    end = offset + data.byteLength;
    return { location, offset };
  });
  const files: FileContent[] = [
    { path: folder + location, chunks },
    { path, chunks: [bytes] },
  ];
  await writeFiles(files);
}
