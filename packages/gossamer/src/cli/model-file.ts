import { stat } from 'node:fs/promises';
import { check, type DType, FormatError, formatShape, GossamerError, type Spec, traceGraph } from '@gossamer/tensor';
import { type OnnxModel, type OnnxValue, readOnnx } from '@gossamer/tensor/onnx';
import { GraphModule } from '../nn/graph-module.ts';
import type { Layer } from '../sparsity/layer.ts';
import { type ModelLayers, modelLayers } from '../sparsity/model.ts';
import { staticLayers } from './static-layers.ts';

export interface Input extends Spec {
  readonly name: string;
}

/** An ONNX file, read, and the weights in it that can be masked. */
export interface ModelFile {
  readonly path: string;
  /** Size of the file (without external data). */
  readonly bytes: number;
  readonly onnx: OnnxModel;
  /** What is fed, with all sizes known: one sample. */
  readonly inputs: readonly Input[];
  readonly layers: readonly Layer[];
  /** The model as a graph, with its layers' parameters; undefined if it cannot be traced. */
  readonly traced?: { readonly module: GraphModule; readonly found: ModelLayers };
  /** Why it could not be traced, so that neither FLOPs nor gradients are to be had. */
  readonly untraced?: string;
}

export type Shapes = Readonly<Record<string, readonly number[]>>;

/** Reads a model and finds its layers: by tracing it for one sample or, failing that, by looking at its nodes. */
export async function openModel(path: string, shapes: Shapes = {}): Promise<ModelFile> {
  const onnx = await readOnnx(path);
  const { size } = await stat(path);
  checkShapes(path, onnx, shapes);
  return modelFile({ path, bytes: size, onnx }, shapes);
}

/** The same for a model that is read, or made, already. */
export async function modelFile(
  file: Pick<ModelFile, 'path' | 'bytes' | 'onnx'>,
  shapes: Shapes = {},
): Promise<ModelFile> {
  const { path, onnx } = file;
  let inputs: readonly Input[] = [];
  try {
    inputs = resolveInputs(path, onnx, shapes);
    const module = new GraphModule(withFreeBatch(onnx));
    const found = await modelLayers(module, inputs);
    return { ...file, inputs, layers: found.layers, traced: { module, found } };
  } catch (error) {
    if (!(error instanceof GossamerError) || error instanceof FormatError) throw error;
    return { ...file, inputs, layers: staticLayers(onnx), untraced: error.message };
  }
}

/** The model for any number of samples at once: files often fix one, and their graph would take any. */
function withFreeBatch(onnx: OnnxModel): OnnxModel {
  const inputs = onnx.graph.inputs.map(i => (i.shape?.length ? { ...i, shape: [null, ...i.shape.slice(1)] } : i));
  return { ...onnx, graph: { ...onnx.graph, inputs } };
}

/** Samples that the graph takes at once: `wanted`, unless something in it only works with the number that the file fixes. */
export function graphBatch({ traced, inputs }: ModelFile, wanted: number): number {
  const [{ shape, dtype }] = inputs;
  try {
    const specs = [{ dtype, shape: [wanted, ...shape.slice(1)] }];
    const { outputs } = traceGraph((...xs) => traced!.module.forward(...xs), specs);
    if (outputs.every(o => o.node.shape[0] === wanted)) return wanted;
  } catch (error) {
    if (!(error instanceof GossamerError)) throw error;
  }
  return shape[0];
}

/** Values that a caller feeds. */
export const fedInputs = ({ graph }: OnnxModel): OnnxValue[] =>
  graph.inputs.filter(i => !graph.initializers.has(i.name));

/** Refuses a --shape for an input that is not there or has other sizes. */
function checkShapes(path: string, onnx: OnnxModel, shapes: Shapes): void {
  const inputs = fedInputs(onnx);
  for (const [name, given] of Object.entries(shapes)) {
    const input = inputs.find(i => i.name === name);
    const names = inputs.map(i => i.name).join(', ');
    check(input, `--shape ${name}=${given}: ${path} has no such input; its inputs are ${names}`);
    const { shape } = input;
    const fits =
      !shape || (given.length === shape.length && shape.every((d, i) => typeof d !== 'number' || d === given[i]));
    check(fits, () => `--shape ${name}=${given}: ${path} wants ${formatDimensions(shape)}`);
  }
}

/** The inputs with a size for every dimension: those given by --shape, the file's, and 1 for a free first one. */
export function resolveInputs(path: string, onnx: OnnxModel, shapes: Shapes = {}): Input[] {
  return fedInputs(onnx).map(({ name, dtype, shape, opaque }) => {
    check(dtype, `${path}: input ${name} has type ${opaque?.text ?? 'unknown'}, which cannot be computed with here`);
    const given = shapes[name];
    const hint = `give it with --shape ${name}=…`;
    check(given || shape, `${path}: the shape of input ${name} is not in the file: ${hint}`);
    const sizes = (given ?? shape!).map((d, axis) => {
      if (typeof d === 'number') return d;
      check(axis === 0, `${path}: input ${name} ${formatDimensions(shape!)} has a free size (axis ${axis}): ${hint}`);
      return 1;
    });
    return { name, dtype: dtype as DType, shape: sizes };
  });
}

/** A shape with free sizes, as `[batch, 3, ?, ?]`. */
export const formatDimensions = (shape: readonly (number | string | null)[] | null): string =>
  shape === null ? '[…]' : formatShape(shape.map(d => d ?? '?') as number[]);
