import type { DType } from '../../dtype.ts';
import { check, GossamerError } from '../../errors.ts';
import { normalizeAxis } from '../../operator.ts';
import type { Random } from '../../random.ts';
import type { Tensor } from '../../tensor.ts';
import { dtypeOf } from '../datatype.ts';
import type { OnnxAttribute, OnnxNode, OnnxTensor } from '../proto.ts';
import { HostConstant } from './host-constant.ts';

/** What flows between the nodes of an imported graph: a lazy tensor, or an array that is known already. */
export type Value = Tensor | HostConstant;

/** How one ONNX operator becomes part of the graph: its outputs, those that nobody reads may be left out. */
export type Import = (call: Call) => Value | readonly (Value | undefined)[];

/** Behaviour of operators that differ in training. */
export interface TrainingMode {
  /** Batch statistics and running updates in BatchNormalization. */
  readonly batchStatistics: boolean;
  /** Source of dropout masks. */
  readonly random: Random;
}

/** Constants of at most this many elements are computed on the host; larger ones are cheaper in the runtime. */
export const foldLimit = 2 ** 16;

const kinds: Record<string, string> = { int: 'an integer', float: 'a number', string: 'a string' };

/** One use of an operator while a graph is imported: inputs, attributes, operator set version. */
export class Call {
  readonly node: OnnxNode;
  /** Version of the operator set that the node's domain has in the model. */
  readonly opset: number;
  readonly inputs: readonly (Value | undefined)[];
  readonly training: TrainingMode | undefined;
  readonly #read = new Set<string>();

  constructor(node: OnnxNode, opset: number, inputs: readonly (Value | undefined)[], training?: TrainingMode) {
    this.node = node;
    this.opset = opset;
    this.inputs = inputs;
    this.training = training;
  }

  fail(message: string): never {
    throw new GossamerError(message);
  }

  // ---- inputs

  /** Whether input `i` is there. */
  has(i: number): boolean {
    return this.inputs[i] !== undefined;
  }

  value(i: number): Value {
    return this.inputs[i] ?? this.fail(`input ${i} is missing`);
  }

  /** Input `i` as part of the graph. */
  tensor(i: number): Tensor {
    const value = this.value(i);
    return value instanceof HostConstant ? value.tensor : value;
  }

  optional(i: number): Tensor | undefined {
    return this.has(i) ? this.tensor(i) : undefined;
  }

  tensors(): Tensor[] {
    return this.inputs.map((_, i) => this.tensor(i));
  }

  /** Input `i` if its value is known now, else undefined. */
  known(i: number): HostConstant | undefined {
    const value = this.inputs[i];
    return value instanceof HostConstant ? value : undefined;
  }

  /** Input `i`, which must not depend on the data that is fed; `what` names it. */
  constant(i: number, what: string): HostConstant {
    const value = this.value(i);
    if (value instanceof HostConstant) return value;
    this.fail(
      `its ${what} (input ${i}, '${this.node.inputs[i]}') depends on the data that is fed or on a parameter; ` +
        'it must follow from constants and input shapes. Simplify the model (e.g. with onnxsim) or fix its input shapes',
    );
  }

  /** Integers of constant input `i`. */
  ints(i: number, what: string): number[] {
    const list = [...this.constant(i, what).values];
    check(list.every(Number.isInteger), () => `its ${what} [${list}] are not integers`);
    return list;
  }

  /** Whether all inputs are constants small enough to be computed on the host. */
  get folds(): boolean {
    return (
      this.inputs.length > 0 &&
      this.inputs.every(x => x === undefined || (x instanceof HostConstant && x.size <= foldLimit))
    );
  }

  constants(): HostConstant[] {
    return this.inputs.filter(x => x instanceof HostConstant);
  }

  // ---- outputs

  /** Whether output `i` has a name, so that somebody may read it. */
  wants(i: number): boolean {
    return Boolean(this.node.outputs[i]);
  }

  // ---- attributes

  int(name: string): number | undefined;
  int(name: string, fallback: number): number;
  int(name: string, fallback?: number): number | undefined {
    return (this.#attribute(name, 'int') as number | undefined) ?? fallback;
  }

  flag(name: string, fallback = false): boolean {
    return this.int(name, Number(fallback)) !== 0;
  }

  float(name: string, fallback: number): number {
    return (this.#attribute(name, 'float') as number | undefined) ?? fallback;
  }

  string(name: string, fallback: string): string {
    return (this.#attribute(name, 'string') as string | undefined) ?? fallback;
  }

  /** A string attribute that must be one of `options`; the first is the default. */
  choice<T extends string>(name: string, ...options: readonly T[]): T {
    const value = this.string(name, options[0]);
    check(options.includes(value as T), () => `attribute ${name} is '${value}', supported: ${options.join(', ')}`);
    return value as T;
  }

  intList(name: string): readonly number[] | undefined {
    return this.#attribute(name, 'ints') as readonly number[] | undefined;
  }

  floatList(name: string): readonly number[] | undefined {
    return this.#attribute(name, 'floats') as readonly number[] | undefined;
  }

  stringList(name: string): readonly string[] | undefined {
    return this.#attribute(name, 'strings') as readonly string[] | undefined;
  }

  tensorAttribute(name: string): OnnxTensor | undefined {
    return this.#attribute(name, 'tensor') as OnnxTensor | undefined;
  }

  /** An axis attribute, in [0, rank). */
  axis(fallback: number, rank: number, name = 'axis'): number {
    return normalizeAxis(`attribute ${name}`, this.int(name, fallback), rank);
  }

  /** Axes that are an attribute before operator set `since` and constant input `i` from then on; undefined if absent. */
  axes(i: number, since: number): readonly number[] | undefined {
    if (this.opset < since) return this.intList('axes');
    return this.has(i) ? this.ints(i, 'axes') : undefined;
  }

  /** An element type given as ONNX's number. */
  dtype(name: string): DType | undefined {
    const number = this.int(name);
    if (number === undefined) return undefined;
    return (
      dtypeOf(number) ??
      this.fail(`attribute ${name} is the element type ${number}, which cannot be computed with here`)
    );
  }

  /** Marks attributes that have no effect on the result. */
  ignore(...names: string[]): void {
    for (const name of names) this.#read.add(name);
  }

  /** Attributes of the node that nothing has asked for. */
  unread(): string[] {
    return Object.keys(this.node.attributes).filter(name => !this.#read.has(name));
  }

  #attribute(name: string, type: OnnxAttribute['type']): unknown {
    this.#read.add(name);
    const attribute = Object.hasOwn(this.node.attributes, name) ? this.node.attributes[name] : undefined;
    if (attribute === undefined) return undefined;
    check(
      attribute.type === type,
      () => `attribute ${name} is of kind ${attribute.type}, expected ${kinds[type] ?? type}`,
    );
    return attribute.value;
  }
}
