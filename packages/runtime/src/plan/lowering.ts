/** What turns a node into kernel calls sees of it. */
import type { Node } from '../load/graph.ts';
import type { Info } from '../values.ts';
import type { Builder } from './builder.ts';
import type { Address, Emitter } from './emitter.ts';
import type { Quantized } from './fuse.ts';
import type { NodeReport } from './plan.ts';

/** Emits the steps of a node; returns false, having emitted none, to leave the node to the plain operator. */
export type Lower = (lowering: Lowering) => boolean;

/** By operator, as in the registry of plain ones. */
export type Lowerings = Readonly<Record<string, Lower>>;

/** Work outside the memory; `view` finds floats at their final address. */
export type DeviceRun = (view: (address: Address, floats: number) => Float32Array) => Promise<void>;

/** A constant input that is the same for all shapes; `key` is unique to it among all keys of constants. */
export interface Weight {
  readonly data: Float32Array;
  readonly dims: readonly number[];
  readonly key: string;
}

export class Lowering {
  readonly #builder: Builder;
  readonly node: Node;
  readonly inputs: readonly (Info | undefined)[];
  readonly outputs: readonly Info[];
  readonly report: NodeReport;

  constructor(
    builder: Builder,
    node: Node,
    inputs: readonly (Info | undefined)[],
    outputs: readonly Info[],
    report: NodeReport,
  ) {
    this.#builder = builder;
    this.node = node;
    this.inputs = inputs;
    this.outputs = outputs;
    this.report = report;
  }

  get emitter(): Emitter {
    return this.#builder;
  }

  /** The integer weight that a float constant input was made from. */
  quantized(i: number): Quantized | undefined {
    return this.#builder.quantized(this.node.inputs[i]);
  }

  /** A float32 constant input that is the same for all shapes; else undefined. */
  weight(i: number): Weight | undefined {
    const value = this.inputs[i]?.value;
    const key = value?.type === 'float32' ? this.#builder.key(this.node.inputs[i]) : undefined;
    return key === undefined ? undefined : { data: value!.data as Float32Array, dims: value!.dims, key };
  }

  /** Names the contents of a constant input that is the same for all shapes; else undefined. */
  key(i: number): string | undefined {
    return this.inputs[i]?.value && this.#builder.key(this.node.inputs[i]);
  }

  /** Address of an input; constants are put into memory on first use. */
  x(i: number): Address {
    return this.#builder.address(this.node.inputs[i]);
  }

  /** Address of an output. */
  y(i = 0): Address {
    return this.#builder.address(this.node.outputs[i]);
  }

  /** Output 0 takes over input `i`'s memory where nothing else needs it (elementwise operators). */
  reuse(i: number): Address {
    this.#builder.places.reuse(this.node, i);
    return this.y();
  }

  /** Output `o` is input `i`'s memory under another shape, or the part of it that begins at byte `offset`. */
  alias(i: number, o = 0, offset = 0): void {
    this.#builder.alias(this.node.inputs[i], this.node.outputs[o], offset);
  }

  /** Whether input `i` has been written at byte `offset` of output 0 already: a concatenation need not copy it. */
  inPlace(i: number, offset: number): boolean {
    return this.#builder.places.contains(this.node.outputs[0], this.node.inputs[i], offset);
  }

  /** The node runs elsewhere. */
  device(run: DeviceRun): void {
    this.#builder.device(run);
  }
}
