import type { InferenceSession, Tensor as OrtTensor, TypedTensor } from 'onnxruntime-common';
import { arrayType, type DType, type NDArray, sizeOf, type TypedArray } from '../dtype.ts';
import { GossamerError } from '../errors.ts';
import type { Executable } from './executor.ts';

type Ort = {
  Tensor: typeof OrtTensor;
  InferenceSession: { create(bytes: Uint8Array, o: object): Promise<InferenceSession> };
};

/**
 * Wraps an ONNX Runtime session; node.ts and web.ts differ only in which runtime they pass and its options.
 *
 * @param writesInto whether the runtime writes to the memory of pre-allocated outputs
 */
export async function loadSession(
  ort: Ort,
  model: Uint8Array,
  options: object,
  { writesInto }: { writesInto: boolean },
): Promise<Executable> {
  let session: InferenceSession;
  try {
    session = await ort.InferenceSession.create(model, options);
  } catch (error) {
    throw new GossamerError(`ONNX Runtime refused the compiled graph: ${(error as Error).message}`, { cause: error });
  }
  const { inputNames, outputNames } = session;
  const specs = (session as unknown as { outputMetadata: readonly { type: string; shape: readonly number[] }[] })
    .outputMetadata;
  const wrap = (dtype: DType, data: TypedArray, shape: readonly number[]) =>
    new ort.Tensor(dtype as 'float32', data as Float32Array, shape);
  return {
    inputNames,
    outputNames,
    run: async (feeds, into) => {
      const inputs: Record<string, OrtTensor> = {};
      feeds.forEach((x: NDArray, i) => {
        inputs[inputNames[i]] = wrap(x.dtype, x.data, x.shape) as OrtTensor;
      });
      const fetches: Record<string, OrtTensor | null> = {};
      outputNames.forEach((name, i) => {
        const memory = writesInto ? into?.[i] : undefined;
        fetches[name] = memory ? (wrap(specs[i].type as DType, memory, specs[i].shape) as OrtTensor) : null;
      });
      const results = await session.run(inputs, fetches).catch(cause => {
        throw new GossamerError(`ONNX Runtime failed: ${(cause as Error).message}`, { cause });
      });
      return outputNames.map((name, i) => {
        const memory = writesInto ? into?.[i] : undefined;
        if (memory) return memory;
        const result = results[name] as TypedTensor<'float32'>;
        const data = result.data as unknown as TypedArray;
        return sizeOf(result.dims) === 0 ? new (arrayType(result.type as DType))(0) : data;
      });
    },
    release: () => session.release(),
  };
}
