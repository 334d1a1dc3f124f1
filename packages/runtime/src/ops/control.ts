/** Control flow: subgraphs run through the context, which knows the outer values. */
import './common.ts';
import type { Graph, Node } from '../load/graph.ts';
import { type DataType, sizeOf, type Value, zeros } from '../values.ts';
import { copyStrided } from './broadcast.ts';
import { axisOf, need, scalar, stridesOf } from './numeric.ts';
import { type Context, fail, type Inputs, number, numbers, type Operators, subgraph } from './operator.ts';

const body = (node: Node, name: string): Graph => subgraph(node, name) ?? fail(node, `attribute ${name} is missing`);

const truth = (value: Value): boolean => Boolean(value.data[0]);

/** Slice `t` of a value along an axis, without that axis. */
function slice(value: Value, axis: number, t: number): Value {
  const dims = value.dims.filter((_, d) => d !== axis);
  const data = zeros(value.type, sizeOf(dims));
  const strides = stridesOf(value.dims);
  const rest = strides.filter((_, d) => d !== axis);
  copyStrided(
    value.type,
    dims,
    { data: value.data, strides: rest, start: t * strides[axis] },
    { data, strides: stridesOf(dims) },
  );
  return { type: value.type, dims, data };
}

/** Values of one shape joined along a new axis; without any, an empty value of the type and shape that is declared. */
function stack(
  node: Node,
  parts: readonly Value[],
  axis: number,
  declared: () => { type: DataType; dims: number[] },
): Value {
  const { type, dims } = parts[0] ?? declared();
  const place = axis < 0 ? axis + dims.length + 1 : axis;
  const all = [...dims.slice(0, place), parts.length, ...dims.slice(place)];
  const data = zeros(type, sizeOf(all));
  const strides = stridesOf(all);
  const rest = strides.filter((_, d) => d !== place);
  parts.forEach((part, t) => {
    if (String(part.dims) !== String(dims))
      fail(node, `scan output changes its shape from [${dims}] to [${part.dims}]`);
    copyStrided(
      type,
      dims,
      { data: part.data, strides: stridesOf(dims) },
      { data, strides: rest, start: t * strides[place] },
    );
  });
  return { type, dims: all, data };
}

/** Type and shape of a subgraph's output as the file states them; unknown dimensions of an output that never was are 0. */
const declared = (node: Node, graph: Graph, index: number) => () => {
  const { name, type, dims } = graph.outputs[index];
  return {
    type: type ?? fail(node, `output '${name}' of the body was never computed and has no declared type`),
    dims: (dims ?? []).map(size => (typeof size === 'number' ? size : 0)),
  };
};

/** Runs a scan over sequences without a batch axis. */
function scan(
  node: Node,
  context: Context,
  graph: Graph,
  states: readonly Value[],
  sequences: readonly Value[],
  options: {
    inputAxes: number[];
    inputReversed: number[];
    outputAxes: number[];
    outputReversed: number[];
    length: number;
  },
): Value[] {
  const { inputAxes, inputReversed, outputAxes, outputReversed, length } = options;
  let current = [...states];
  const collected: Value[][] = Array.from({ length: graph.outputs.length - states.length }, () => []);
  for (let t = 0; t < length; t++) {
    const items = sequences.map((sequence, i) => slice(sequence, inputAxes[i], inputReversed[i] ? length - 1 - t : t));
    const outputs = context.evaluate(graph, [...current, ...items]);
    current = outputs.slice(0, states.length);
    for (const [k, parts] of collected.entries()) parts.push(outputs[states.length + k]);
  }
  return [
    ...current,
    ...collected.map((parts, k) =>
      stack(node, outputReversed[k] ? parts.reverse() : parts, outputAxes[k], declared(node, graph, states.length + k)),
    ),
  ];
}

const filled = (values: number[] | undefined, count: number): number[] =>
  Array.from({ length: count }, (_, i) => values?.[i] ?? 0);

function lengthOf(node: Node, sequences: readonly Value[], axes: readonly number[]): number {
  const lengths = sequences.map((sequence, i) => sequence.dims[axes[i]]);
  if (lengths.some(length => length !== lengths[0])) fail(node, `scan inputs have different lengths [${lengths}]`);
  return lengths[0];
}

function runScan(node: Node, given: Inputs, context: Context): Value[] {
  const graph = body(node, 'body');
  const count = number(node, 'num_scan_inputs') ?? fail(node, 'attribute num_scan_inputs is missing');
  const batched = node.version < 9;
  const values = given.slice(batched ? 1 : 0).map((_, i) => need(node, given, batched ? i + 1 : i));
  const states = values.slice(0, values.length - count);
  const sequences = values.slice(values.length - count);
  const outputs = graph.outputs.length - states.length;
  if (!batched) {
    const inputAxes = filled(numbers(node, 'scan_input_axes'), count).map((axis, i) =>
      axisOf(node, axis, sequences[i].dims.length),
    );
    return scan(node, context, graph, states, sequences, {
      inputAxes,
      inputReversed: filled(numbers(node, 'scan_input_directions'), count),
      outputAxes: filled(numbers(node, 'scan_output_axes'), outputs),
      outputReversed: filled(numbers(node, 'scan_output_directions'), outputs),
      length: lengthOf(node, sequences, inputAxes),
    });
  }
  // Version 8: axis 0 is the batch, axis 1 the sequence; shorter sequences leave the rest of their outputs zero.
  const longest = lengthOf(
    node,
    sequences,
    filled(undefined, count).map(() => 1),
  );
  const batch = sequences[0].dims[0];
  const results = Array.from({ length: batch }, (_, n) => {
    const length = given[0] ? Number(given[0].data[n]) : longest;
    const own = scan(
      node,
      context,
      graph,
      states.map(state => slice(state, 0, n)),
      sequences.map(sequence => slice(sequence, 0, n)),
      {
        inputAxes: filled(undefined, count),
        inputReversed: filled(numbers(node, 'directions'), count),
        outputAxes: filled(undefined, outputs),
        outputReversed: filled(undefined, outputs),
        length,
      },
    );
    return own.map((value, k) => (k < states.length ? value : lengthen(value, longest)));
  });
  return graph.outputs.map((_, k) =>
    stack(
      node,
      results.map(each => each[k]),
      0,
      declared(node, graph, k),
    ),
  );
}

/** A value padded with zeros along its first axis. */
function lengthen(value: Value, length: number): Value {
  if (value.dims[0] === length) return value;
  const dims = [length, ...value.dims.slice(1)];
  const data = zeros(value.type, sizeOf(dims));
  const strides = stridesOf(dims);
  copyStrided(value.type, value.dims, { data: value.data, strides }, { data, strides });
  return { type: value.type, dims, data };
}

export const operators: Operators = {
  If: {
    attributes: ['then_branch', 'else_branch'],
    dynamic: true,
    run: (node, inputs, context) =>
      context.evaluate(body(node, truth(need(node, inputs, 0)) ? 'then_branch' : 'else_branch'), []),
  },
  Loop: {
    attributes: ['body'],
    dynamic: true,
    run(node, inputs, context) {
      const graph = body(node, 'body');
      const limit = inputs[0] ? scalar(inputs[0]) : Infinity;
      // A body may declare its counter and condition as scalars or as vectors of one element.
      const shape = (input: number) => (graph.inputs[input]?.dims?.length === 1 ? [1] : []);
      let go = inputs[1] ? truth(inputs[1]) : true;
      let states = inputs.slice(2).map((_, i) => need(node, inputs, i + 2));
      const count = states.length;
      const collected: Value[][] = Array.from({ length: graph.outputs.length - 1 - count }, () => []);
      for (let t = 0; go && t < limit; t++) {
        const iteration: Value = { type: 'int64', dims: shape(0), data: BigInt64Array.of(BigInt(t)) };
        const condition: Value = { type: 'bool', dims: shape(1), data: Uint8Array.of(1) };
        const outputs = context.evaluate(graph, [iteration, condition, ...states]);
        go = truth(outputs[0]);
        states = outputs.slice(1, 1 + count);
        for (const [k, parts] of collected.entries()) parts.push(outputs[1 + count + k]);
      }
      return [...states, ...collected.map((parts, k) => stack(node, parts, 0, declared(node, graph, 1 + count + k)))];
    },
  },
  Scan: {
    attributes: [
      'body',
      'num_scan_inputs',
      'directions',
      'scan_input_axes',
      'scan_input_directions',
      'scan_output_axes',
      'scan_output_directions',
    ],
    dynamic: true,
    run: runScan,
  },
};
