import {
  check,
  type ImportedGraph,
  type ImportObserver,
  type ImportOptions,
  importOnnx,
  type OnnxModel,
  Random,
  readOnnx,
  type Tensor,
} from '@gossamer/tensor';
import { Module } from './module.ts';

export interface GraphModuleOptions extends ImportOptions {
  /**
   * Batch normalisation in training: `'batch'` (default) normalises with the statistics of the batch and moves the
   * running ones, as PyTorch's `train()`; `'frozen'` keeps using the running ones and leaves them as they are, for
   * fine-tuning with small batches.
   */
  readonly batchNorm?: 'batch' | 'frozen';
  /** Source of the masks of the file's Dropout nodes in training; default `new Random(0)`. A checkpoint keeps it. */
  readonly random?: Random;
}

/**
 * An ONNX model as a module: its parameters have the names of the file's initializers, `forward` takes the graph's
 * inputs in the file's order and returns its output, or a record of outputs by name if there are several. A file is an
 * inference model, so the module starts in evaluation mode; call `train()` to fine-tune it.
 *
 * ```ts
 * const model = await GraphModule.load('mobilenet.onnx');
 * const logits = model.forward(images);
 * ```
 */
export class GraphModule extends Module {
  readonly batchNorm: 'batch' | 'frozen';
  readonly random: Random;
  /** Told what every node of the file gave, whenever the module is called. */
  observer: ImportObserver | undefined;
  readonly #graph: ImportedGraph;

  constructor(model: OnnxModel, { batchNorm = 'batch', random = new Random(0), ...options }: GraphModuleOptions = {}) {
    super();
    this.training = false;
    this.batchNorm = batchNorm;
    this.random = random;
    this.#graph = importOnnx(model, options);
  }

  /** Reads an ONNX file (path, URL or bytes; external data beside it). */
  static async load(source: Parameters<typeof readOnnx>[0], options: GraphModuleOptions = {}): Promise<GraphModule> {
    return new GraphModule(await readOnnx(source), options);
  }

  /** Names, element types and shapes of the inputs, in the order in which `forward` takes them. */
  get inputs(): ImportedGraph['inputs'] {
    return this.#graph.inputs;
  }

  get outputs(): ImportedGraph['outputs'] {
    return this.#graph.outputs;
  }

  /** The output, or outputs by name if the graph has several. */
  override forward(...inputs: Tensor[]): Tensor | Record<string, Tensor> {
    check(
      inputs.length === this.inputs.length,
      () => `GraphModule: ${inputs.length} inputs given, expected ${this.inputs.map(i => i.name).join(', ')}`,
    );
    const results = this.run(Object.fromEntries(this.inputs.map(({ name }, i) => [name, inputs[i]])));
    return this.outputs.length === 1 ? results[this.outputs[0].name] : results;
  }

  /** All outputs for inputs by name. */
  run(feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
    const { batchNorm, random } = this;
    const mode = this.training ? { batchStatistics: batchNorm === 'batch', random } : undefined;
    return this.#graph.call(feeds, mode, this.observer);
  }

  /** The file's weights are members under its own names, which need not be names of fields. */
  override *members(): Generator<[string, unknown]> {
    yield* this.#graph.parameters;
    yield* super.members();
  }
}
