/** Rewrites that need no shapes: constant folding, batch normalisation into weights, epilogues, and known idioms. */
import type { Graph, Node } from '../load/graph.ts';
import { number, type Operators, operatorKey } from '../ops/operator.ts';
import { sizeOf, type Value } from '../values.ts';
import { FUSED } from './fused.ts';
import { type Optimized, Rewriting } from './program-graph.ts';
import { isControl } from './reads.ts';

/** Folded constants may not be much larger than what they are made from. */
const FOLD_LIMIT = 1 << 20;

/** An integer weight and what its dequantised constant was made from. */
export interface Quantized {
  readonly data: Int8Array | Uint8Array;
  readonly scale: Float32Array;
  readonly zeroPoint: Int8Array | Uint8Array | undefined;
  /** Axis of the scales when there are several. */
  readonly axis: number;
}

export interface Fused extends Optimized {
  /** Integer origins of float constants, by name. */
  readonly quantized: ReadonlyMap<string, Quantized>;
}

/** Rewrites the graph around a node; whether it has. */
export type Rule = (node: Node, g: Rewriting) => boolean;

function foldConstants(g: Rewriting, operators: Operators, quantized: Map<string, Quantized>): void {
  const context = {
    evaluate: () => {
      throw new Error('a subgraph is not folded');
    },
  };
  for (const node of g.nodes.slice()) {
    if (!node?.inputs.every(name => name === '' || g.constants.has(name))) continue;
    const operator = operators[operatorKey(node)];
    if (operator.dynamic || isControl(node)) continue;
    const inputs = node.inputs.map(name => (name === '' ? undefined : g.constants.get(name)));
    const infos = operator.infer?.(node, inputs);
    const given = inputs.reduce((sum, value) => sum + (value?.data.length ?? 0), 0);
    if (infos?.some(info => sizeOf(info.dims) > FOLD_LIMIT + 2 * given)) continue;
    const outputs = operator.run(node, inputs, context);
    if (
      node.op === 'DequantizeLinear' &&
      (inputs[0]!.type === 'int8' || inputs[0]!.type === 'uint8') &&
      !number(node, 'block_size', 0)
    ) {
      quantized.set(node.outputs[0], {
        data: inputs[0]!.data as Int8Array,
        scale: inputs[1]!.data as Float32Array,
        zeroPoint: inputs[2]?.data as Int8Array | undefined,
        axis: number(node, 'axis', 1),
      });
    }
    node.outputs.forEach((name, i) => {
      if (name && outputs[i]) g.constants.set(name, outputs[i]);
    });
    g.remove(node);
  }
}

const isFloat = (value: Value | undefined): value is Value & { data: Float32Array } => value?.type === 'float32';

/** A function of its own, which engines compile sooner than the middle of a long one. */
function multiply(y: Float32Array, x: Float32Array, factor: number, from: number, to: number): void {
  for (let i = from; i < to; i++) y[i] = x[i] * factor;
}

/** Conv → BatchNormalization: scales filters and biases; zeros stay zeros. */
const batchNormalization: Rule = (node, g) => {
  if (node.op !== 'BatchNormalization' || node.domain !== '' || number(node, 'training_mode', 0)) return false;
  const conv = g.sole(node.inputs[0], 'Conv');
  // Before version 14 further outputs mean training.
  if (!conv || node.outputs.slice(1).some(name => name !== '')) return false;
  const [gamma, beta, mean, variance] = node.inputs.slice(1).map(name => g.constants.get(name));
  const weight = g.constants.get(conv.inputs[1]);
  const bias = conv.inputs[2] ? g.constants.get(conv.inputs[2]) : undefined;
  if (![weight, gamma, beta, mean, variance].every(isFloat) || (conv.inputs[2] && !isFloat(bias))) return false;
  const epsilon = number(node, 'epsilon', 1e-5);
  const channels = weight!.dims[0];
  // Version 7 also knows statistics for every feature.
  if ([gamma, beta, mean, variance].some(value => value!.data.length !== channels)) return false;
  const size = weight!.data.length / channels;
  const source = weight!.data as Float32Array;
  const scaled = new Float32Array(source.length);
  const shifted = new Float32Array(channels);
  const at = (value: Value | undefined, i: number) => (value?.data[i] as number) ?? 0;
  for (let c = 0; c < channels; c++) {
    const factor = at(gamma, c) / Math.sqrt(at(variance, c) + epsilon);
    multiply(scaled, source, factor, c * size, (c + 1) * size);
    shifted[c] = (at(bias, c) - at(mean, c)) * factor + at(beta, c);
  }
  const w = g.constant(`${conv.inputs[1]}*`, { type: 'float32', dims: weight!.dims, data: scaled });
  const b = g.constant(`${conv.outputs[0]}+`, { type: 'float32', dims: [channels], data: shifted });
  g.replace([conv, node], { ...conv, inputs: [conv.inputs[0], w, b], outputs: [node.outputs[0]] });
  return true;
};

/** Whether a constant is a vector along `axis` counted from the end (1: last) and 1 everywhere else. */
const isVector = (value: Value, fromEnd: number): boolean =>
  value.dims.every((dim, i) => dim === 1 || i === value.dims.length - fromEnd) && value.dims.length >= fromEnd;

/** MatMul or Conv without bias → Add of a constant vector. */
const bias: Rule = (node, g) => {
  if (node.op !== 'Add' || node.domain !== '') return false;
  for (const [x, c] of [node.inputs, [node.inputs[1], node.inputs[0]]]) {
    const base = g.sole(x, 'MatMul', 'Conv');
    const value = g.constants.get(c);
    if (!base || !isFloat(value) || base.inputs[2]) continue;
    const weight = g.constants.get(base.inputs[1]);
    if (!weight) continue;
    const conv = base.op === 'Conv';
    if (weight.dims.length !== (conv ? 4 : 2) || value.dims.length > (conv ? 4 : 2) || !isVector(value, conv ? 3 : 1))
      continue;
    if (value.data.length !== weight.dims[conv ? 0 : 1]) continue;
    // Conv takes a vector; MatMul's dimensions may be more than the product of a vector has.
    const b = conv ? g.constant(`${base.outputs[0]}+`, { ...value, dims: [value.data.length] }) : c;
    g.replace([base, node], {
      ...base,
      domain: conv ? '' : FUSED,
      inputs: [base.inputs[0], base.inputs[1], b],
      outputs: node.outputs,
    });
    return true;
  }
  return false;
};

/** A product's epilogue can still take something: its weight is a constant of the rank that kernels know. */
function extendable(base: Node | undefined, g: Rewriting): base is Node {
  if (!base || base.attributes.lo !== undefined) return false;
  const weight = g.constants.get(base.inputs[1]);
  return isFloat(weight) && weight.dims.length === (base.op === 'Conv' ? 4 : 2);
}

const padded = (inputs: readonly string[]): string[] => [0, 1, 2, 3].map(i => inputs[i] ?? '');

/** Product → Add of another value: the residual is added in the epilogue. */
const residual: Rule = (node, g) => {
  if (node.op !== 'Add' || node.domain !== '') return false;
  const [a, b] = node.inputs;
  if (a === b) return false;
  // The one computed later takes the other as its residual.
  const order = g.position(a) > g.position(b) ? [a, b] : [b, a];
  for (const [x, other] of [order, [order[1], order[0]]]) {
    const base = g.sole(x, 'Conv', 'MatMul', 'Gemm');
    if (!extendable(base, g) || base.inputs[3] || g.constants.has(other)) continue;
    const inputs = padded(base.inputs);
    inputs[3] = other;
    g.replace([base, node], { ...base, domain: FUSED, inputs, outputs: node.outputs });
    return true;
  }
  return false;
};

/** Product → Relu or Clip: a clamp in the epilogue. */
const clamp: Rule = (node, g) => {
  if ((node.op !== 'Relu' && node.op !== 'Clip') || node.domain !== '') return false;
  const base = g.sole(node.inputs[0], 'Conv', 'MatMul', 'Gemm');
  if (!extendable(base, g)) return false;
  let lo = 0;
  let hi = Number.POSITIVE_INFINITY;
  if (node.op === 'Clip') {
    const bound = (i: number, name: string, fallback: number) =>
      node.inputs[i] ? g.scalar(node.inputs[i]) : number(node, name, fallback);
    const [low, high] = [bound(1, 'min', -hi), bound(2, 'max', hi)];
    if (low === undefined || high === undefined || low > high) return false;
    [lo, hi] = [low, high];
  }
  const { attributes } = base;
  g.replace([base, node], {
    ...base,
    domain: FUSED,
    attributes: { ...attributes, lo, hi },
    inputs: padded(base.inputs),
    outputs: node.outputs,
  });
  return true;
};

/** The other factor or term of a commutative node. */
const other = (node: Node, name: string): string | undefined =>
  node.inputs[0] === name ? node.inputs[1] : node.inputs[1] === name ? node.inputs[0] : undefined;

const close = (a: number | undefined, b: number): boolean => a !== undefined && Math.abs(a - b) < 1e-4 * Math.abs(b);

const standard = (node: Node, op: string, inputs: string[], attributes: Node['attributes'] = {}): Node => ({
  name: node.name,
  op,
  domain: '',
  version: 23,
  inputs,
  outputs: node.outputs,
  attributes,
});

/** x · Sigmoid(x) and x · HardSigmoid(x). */
const gated: Rule = (node, g) => {
  if (node.op !== 'Mul' || node.domain !== '') return false;
  for (const name of node.inputs) {
    const gate = g.sole(name, 'Sigmoid', 'HardSigmoid');
    if (!gate || other(node, name) !== gate.inputs[0]) continue;
    if (gate.op === 'HardSigmoid' && !(close(number(gate, 'alpha', 0.2), 1 / 6) && number(gate, 'beta', 0.5) === 0.5))
      continue;
    const made = standard(node, gate.op === 'Sigmoid' ? 'Silu' : 'HardSwish', [gate.inputs[0]]);
    g.replace([gate, node], gate.op === 'Sigmoid' ? { ...made, domain: FUSED } : made);
    return true;
  }
  return false;
};

/** 0.5 · x · (1 + Erf(x / √2)), in the orders that exporters write. */
const gelu: Rule = (node, g) => {
  if (node.op !== 'Mul' || node.domain !== '') return false;
  const match = (sum: string | undefined, x: string | undefined, rest: readonly Node[]): boolean => {
    const add = sum ? g.sole(sum, 'Add') : undefined;
    if (!add || !x) return false;
    const erfName = add.inputs.find(name => g.producer(name, 'Erf'));
    const erf = erfName ? g.sole(erfName, 'Erf') : undefined;
    if (!erf || g.scalar(other(add, erfName!)) !== 1) return false;
    const scaled = g.sole(erf.inputs[0], 'Div', 'Mul');
    if (!scaled) return false;
    const divides = scaled.op === 'Div' && scaled.inputs[0] === x && close(g.scalar(scaled.inputs[1]), Math.SQRT2);
    const factor = scaled.op === 'Mul' ? other(scaled, x) : undefined;
    if (!divides && !close(g.scalar(factor), Math.SQRT1_2)) return false;
    g.replace([scaled, erf, add, ...rest, node], standard(node, 'Gelu', [x]));
    return true;
  };
  for (const name of node.inputs) {
    const rest = other(node, name)!;
    const inner = g.sole(name, 'Mul');
    if (inner) {
      for (const sum of inner.inputs) {
        const second = other(inner, sum)!;
        // (x · sum) · 0.5, (0.5 · sum) · x and (0.5 · x) · sum below
        if (g.scalar(rest) === 0.5 && match(sum, second, [inner])) return true;
        if (g.scalar(second) === 0.5 && match(sum, rest, [inner])) return true;
      }
      const half = inner.inputs.find(i => g.scalar(i) === 0.5);
      if (half !== undefined && match(rest, other(inner, half), [inner])) return true;
    }
  }
  return false;
};

/** The scalar added under a root: Sqrt(Add(x, ε)). */
function rootOf(g: Rewriting, name: string): { variance: string; epsilon: number; nodes: Node[] } | undefined {
  const root = g.sole(name, 'Sqrt');
  const add = root && g.sole(root.inputs[0], 'Add');
  if (!add) return undefined;
  const variance = add.inputs.find(i => g.scalar(i) === undefined);
  const epsilon = variance === undefined ? undefined : g.scalar(other(add, variance));
  return variance === undefined || epsilon === undefined ? undefined : { variance, epsilon, nodes: [root, add] };
}

/** ReduceMean over the last axis with the axis kept; axes as attribute or constant input. */
function lastMean(g: Rewriting, node: Node | undefined): node is Node {
  if (!node || number(node, 'keepdims', 1) !== 1) return false;
  const axes = node.inputs[1]
    ? [...(g.constants.get(node.inputs[1])?.data ?? [])].map(Number)
    : (node.attributes.axes as number[]);
  return axes?.length === 1 && axes[0] === -1;
}

const squareOf = (g: Rewriting, name: string): { of: string; node: Node } | undefined => {
  const node = g.sole(name, 'Pow', 'Mul');
  if (!node) return undefined;
  const square = node.op === 'Pow' ? g.scalar(node.inputs[1]) === 2 : node.inputs[0] === node.inputs[1];
  return square ? { of: node.inputs[0], node } : undefined;
};

/** A factor or summand for each item of the last axis; a single one might be meant for all of them. */
const isScale = (value: Value | undefined): boolean =>
  isFloat(value) && value.dims.length === 1 && value.data.length > 1;

/** x / √(mean(x²) + ε) · scale, written with Div, or with Reciprocal and Mul. */
const rmsNorm: Rule = (node, g) => {
  if (node.op !== 'Mul' || node.domain !== '') return false;
  for (const name of node.inputs) {
    const scale = other(node, name)!;
    if (!isScale(g.constants.get(scale))) continue;
    const normal = g.sole(name, 'Div', 'Mul');
    if (!normal) continue;
    for (const x of normal.op === 'Div' ? [normal.inputs[0]] : normal.inputs) {
      const inverse = other(normal, x)!;
      const reciprocal = normal.op === 'Mul' ? g.sole(inverse, 'Reciprocal') : undefined;
      const root = rootOf(g, reciprocal ? reciprocal.inputs[0] : inverse);
      if (!root || (normal.op === 'Mul') !== (reciprocal !== undefined)) continue;
      const mean = g.sole(root.variance, 'ReduceMean');
      const square = lastMean(g, mean) ? squareOf(g, mean.inputs[0]) : undefined;
      if (!square || square.of !== x) continue;
      const nodes = [square.node, mean!, ...root.nodes, ...(reciprocal ? [reciprocal] : []), normal, node];
      g.replace(nodes, { ...standard(node, 'RMSNorm', [x, scale], { epsilon: root.epsilon }), domain: FUSED });
      return true;
    }
  }
  return false;
};

/** (x − mean) / √(mean((x − mean)²) + ε) · scale + bias. */
const layerNorm: Rule = (node, g) => {
  if (node.op !== 'Add' || node.domain !== '') return false;
  for (const name of node.inputs) {
    const offset = other(node, name)!;
    const scaled = g.sole(name, 'Mul');
    if (!scaled || !isFloat(g.constants.get(offset))) continue;
    const weight = scaled.inputs.find(i => isFloat(g.constants.get(i)));
    const normal = weight === undefined ? undefined : g.sole(other(scaled, weight)!, 'Div');
    const root = normal && rootOf(g, normal.inputs[1]);
    const variance = root && g.sole(root.variance, 'ReduceMean');
    const square = root && lastMean(g, variance) ? squareOf(g, variance.inputs[0]) : undefined;
    if (!square || square.of !== normal!.inputs[0]) continue;
    const centred = g.producer(square.of, 'Sub');
    const uses = square.node.op === 'Mul' ? 3 : 2;
    const mean = centred && g.sole(centred.inputs[1], 'ReduceMean');
    if (!centred || g.uses(square.of) !== uses || !lastMean(g, mean) || mean.inputs[0] !== centred.inputs[0]) continue;
    const parameters = [weight!, offset].map(i => g.constants.get(i)!);
    if (!parameters.every(isScale) || parameters[0].data.length !== parameters[1].data.length) continue;
    g.replace(
      [mean, centred, square.node, variance!, ...root!.nodes, normal!, scaled, node],
      standard(node, 'LayerNormalization', [centred.inputs[0], weight!, offset], { axis: -1, epsilon: root!.epsilon }),
    );
    return true;
  }
  return false;
};

/** Operators whose later outputs need not be made: exporters name them all the same. */
const OPTIONAL_OUTPUTS = ['LayerNormalization', 'BatchNormalization', 'MaxPool', 'Dropout'];

/** Later outputs that nothing reads go; Dropout outside of training is Identity. */
const unread: Rule = (node, g) => {
  if (node.domain !== '' || !OPTIONAL_OUTPUTS.includes(node.op)) return false;
  const last = node.outputs.findLastIndex((name, i) => i === 0 || g.uses(name) > 0);
  const outputs = node.outputs.slice(0, last + 1);
  if (node.op === 'Dropout' && last === 0 && (node.version < 12 || !node.inputs[2] || g.scalar(node.inputs[2]) === 0)) {
    g.replace([node], { ...node, op: 'Identity', inputs: [node.inputs[0]], outputs, attributes: {} });
    return true;
  }
  if (outputs.length === node.outputs.length) return false;
  g.replace([node], { ...node, outputs });
  return true;
};

/** Longer idioms before those that are a part of them; epilogues last, which would hide the beginning of one. */
const RULES: readonly (readonly Rule[])[] = [
  [unread],
  [batchNormalization, bias, gated, gelu, layerNorm],
  [rmsNorm],
  [residual, clamp],
];

/** Folds and fuses, by `more` rules too. The result computes the same function on every input shape. */
export function fuse(graph: Graph, operators: Operators, more: readonly Rule[] = []): Fused {
  const g = new Rewriting(graph);
  const quantized = new Map<string, Quantized>();
  foldConstants(g, operators, quantized);
  // In order of computation, so that a chain conv → norm → add → relu is collected front to back.
  for (const rules of [...RULES.slice(0, -1), more, ...RULES.slice(-1)]) {
    for (let i = 0; i < g.nodes.length; i++) {
      for (let node = g.nodes[i], again = true; again && node; node = g.nodes[i]) {
        again = rules.some(rule => rule(node!, g));
      }
    }
  }
  return { ...g.finish(), quantized };
}
