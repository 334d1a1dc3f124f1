import * as ort from 'onnxruntime-node';
import { arrayType, type DType, type NDArray, sizeOf } from '../../dtype.ts';
import { Random } from '../../random.ts';
import { realize } from '../../realize.ts';
import { tensor } from '../../tensor.ts';
import { encodeOnnx } from '../encode.ts';
import { type ImportOptions, importOnnx } from '../import.ts';
import { type OnnxAttribute, type OnnxModel, type OnnxTensor, onnxModel, onnxNode, onnxValue } from '../proto.ts';

/** Seeded normal float32 data. */
export const randn = (shape: readonly number[], seed = 0, scale = 1): OnnxTensor => ({
  dtype: 'float32',
  shape: [...shape],
  data: new Random(seed).normal(sizeOf(shape)).map(v => v * scale),
});

/** Numbers under a shape; default a vector of int64. */
export function array(values: readonly number[], shape: readonly number[] = [values.length], dtype: DType = 'int64') {
  const data = new (arrayType(dtype))(values.length);
  values.forEach((v, i) => {
    data[i] = data instanceof BigInt64Array || data instanceof BigUint64Array ? BigInt(v) : v;
  });
  return { dtype, shape: [...shape], data } satisfies OnnxTensor;
}

export const floats = (values: readonly number[], shape: readonly number[] = [values.length]): OnnxTensor =>
  array(values, shape, 'float32');

export interface Case {
  /** Data that is fed. */
  readonly feeds?: readonly (OnnxTensor | null)[];
  /** Initializers that follow as further inputs; null leaves one out. */
  readonly constants?: readonly (OnnxTensor | null)[];
  readonly attributes?: Record<string, OnnxAttribute>;
  readonly opset?: number;
  readonly domain?: string;
  /** Element types of the outputs; default one of float32. */
  readonly outputs?: readonly DType[];
}

/** A model of one node. */
export function singleNode(opType: string, c: Case): { model: OnnxModel; feeds: Record<string, NDArray> } {
  const fed = (c.feeds ?? []).map((t, i) => [t ? `x${i}` : '', t] as const);
  const constants = (c.constants ?? []).map((t, i) => [t ? `c${i}` : '', t] as const);
  const outputs = c.outputs ?? ['float32'];
  const names = outputs.map((_, i) => `y${i}`);
  const model = onnxModel(
    {
      name: opType,
      inputs: fed.flatMap(([name, t]) => (t ? [onnxValue(name, t.dtype, [...t.shape])] : [])),
      outputs: outputs.map((dtype, i) => ({ name: names[i], dtype, shape: null })),
      initializers: new Map(constants.flatMap(([name, t]) => (t ? [[name, t]] : []))),
      nodes: [
        onnxNode(
          opType,
          [...fed, ...constants].map(([name]) => name),
          names,
          c.attributes ?? {},
          {
            name: 'node',
            domain: c.domain ?? '',
          },
        ),
      ],
    },
    { opsets: { '': c.opset ?? 17, ...(c.domain && { [c.domain]: 1 }) } },
  );
  return { model, feeds: Object.fromEntries(fed.flatMap(([name, t]) => (t ? [[name, t]] : []))) };
}

/** The outputs of ONNX Runtime itself. */
export async function runDirectly(model: OnnxModel, feeds: Record<string, NDArray>): Promise<Record<string, NDArray>> {
  const session = await ort.InferenceSession.create(encodeOnnx(model), { logSeverityLevel: 4 });
  const inputs = Object.entries(feeds).map(
    ([name, { dtype, data, shape }]) =>
      [name, new ort.Tensor(dtype as 'float32', data as Float32Array, shape)] as const,
  );
  const results = await session.run(Object.fromEntries(inputs));
  await session.release();
  return Object.fromEntries(
    Object.entries(results).map(([name, t]) => [
      name,
      {
        dtype: t.type as DType,
        shape: [...t.dims],
        data: sizeOf(t.dims) === 0 ? new Float32Array(0) : (t.data as Float32Array),
      },
    ]),
  );
}

/** The outputs by way of import. */
export async function runImported(
  model: OnnxModel,
  feeds: Record<string, NDArray>,
  options?: ImportOptions,
): Promise<Record<string, NDArray>> {
  const tensors = Object.entries(feeds).map(([name, t]) => [name, tensor(t)] as const);
  const results = importOnnx(model, options).call(Object.fromEntries(tensors));
  await realize(...Object.values(results));
  return Object.fromEntries(
    await Promise.all(Object.entries(results).map(async ([name, t]) => [name, await t.array()] as const)),
  );
}

/** What differs between two sets of outputs beyond `tolerance` (relative to 1 and to the value), or ''. */
export function difference(
  actual: Record<string, NDArray>,
  expected: Record<string, NDArray>,
  tolerance = 1e-5,
): string {
  for (const [name, e] of Object.entries(expected)) {
    const a = actual[name];
    if (!a) return `${name} is missing`;
    if (a.dtype !== e.dtype) return `${name} is ${a.dtype}, expected ${e.dtype}`;
    if (`${a.shape}` !== `${e.shape}`) return `${name} is [${a.shape}], expected [${e.shape}]`;
    for (let i = 0; i < e.data.length; i++) {
      const [u, v] = [Number(a.data[i]), Number(e.data[i])];
      if (u === v || (Number.isNaN(u) && Number.isNaN(v))) continue;
      if (!(Math.abs(u - v) <= tolerance * Math.max(1, Math.abs(v)))) return `${name}[${i}] is ${u}, expected ${v}`;
    }
  }
  return '';
}
