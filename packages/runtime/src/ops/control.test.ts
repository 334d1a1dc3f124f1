import { describe, expect, it } from 'vitest';
import { f32, i64, numbers, run, value } from '../../test/operators.ts';
import type { Graph } from '../load/graph.ts';
import type { DataType, Value } from '../values.ts';

/** A body with inputs and outputs of these shapes; what it computes is the test's `evaluate`. */
const body = (inputs: (number[] | undefined)[], outputs: (number | string)[][], type: DataType = 'float32'): Graph => ({
  name: 'body',
  nodes: [],
  inputs: inputs.map((dims, i) => ({ name: `in${i}`, type, dims })),
  outputs: outputs.map((dims, i) => ({ name: `out${i}`, type, dims })),
  initializers: new Map(),
});
const yes = value('bool', [], [1]);
const no = value('bool', [], [0]);
const first = (v: Value) => Number(v.data[0]);

describe('If', () => {
  it('runs one branch', () => {
    const branches = { then_branch: body([], [[1]]), else_branch: body([], [[1]]) };
    const evaluate = (graph: Graph) => [f32([1], [graph === branches.then_branch ? 1 : 2])];
    expect(numbers(run('If', [yes], { attributes: branches, evaluate }))).toEqual([1]);
    expect(numbers(run('If', [no], { attributes: branches, evaluate }))).toEqual([2]);
    expect(() => run('If', [yes], { attributes: {} })).toThrow(/then_branch is missing/);
  });
});

describe('Loop', () => {
  /** Adds the iteration's number to a sum; collects the sums; goes on while they are below a limit. */
  const sum =
    (limit: number) =>
    (_: Graph, [t, , s]: readonly Value[]) => {
      const next = f32([1], [first(s) + first(t)]);
      return [first(next) < limit ? yes : no, next, next];
    };
  const attributes = { body: body([[], [], [1]], [[], [1], [1]]) };
  const loop = (count: number | undefined, condition: Value | undefined, limit: number) =>
    run('Loop', [count === undefined ? undefined : i64([], [count]), condition, f32([1], [10])], {
      attributes,
      outputs: 2,
      evaluate: sum(limit),
    });

  it.each([
    [3, undefined, 99, 13, [10, 11, 13]],
    [undefined, yes, 13, 13, [10, 11, 13]],
    [9, yes, 11, 11, [10, 11]],
    [9, no, 99, 10, []],
    [0, undefined, 99, 10, []],
  ])('at most %s times while %j and below %i', (count, condition, limit, last, all) => {
    const [state, scan] = loop(count, condition, limit);
    expect(first(state)).toBe(last);
    expect([scan.dims, numbers([scan])]).toEqual([[all.length, 1], all]);
  });

  it('gives its counter in the shape that the body declares, and refuses outputs of changing shape', () => {
    const shapes: number[][] = [];
    run('Loop', [i64([1], [1]), undefined], {
      attributes: { body: body([[1], [1]], [[]]) },
      evaluate: (_, [t, c]) => {
        shapes.push([...t.dims], [...c.dims]);
        return [yes];
      },
    });
    expect(shapes).toEqual([[1], [1]]);
    const grow = (_: Graph, [t]: readonly Value[]) => [yes, f32([first(t)], [0])];
    expect(() =>
      run('Loop', [i64([], [3]), undefined], { attributes: { body: body([[], []], [[], ['n']]) }, evaluate: grow }),
    ).toThrow(/changes its shape from \[0\] to \[1\]/);
  });
});

describe('Scan', () => {
  /** Running sums of pairs: state and what is collected. */
  const cumulate = (_: Graph, [s, x]: readonly Value[]) => {
    const next = f32(
      [2],
      numbers([s]).map((v, i) => v + numbers([x])[i]),
    );
    return [next, next];
  };
  const graph = body([[2], [2]], [[2], [2]]);
  const start = f32([2], [0]);
  const scan = (x: Value, attributes: Record<string, number[]>) =>
    run('Scan', [start, x], {
      attributes: { body: graph, num_scan_inputs: 1, ...attributes },
      outputs: 2,
      evaluate: cumulate,
    });

  it('walks any axis in either direction and stacks along any axis', () => {
    const x = f32([2, 3], [1, 2, 3, 10, 20, 30]);
    const [last, all] = scan(x, { scan_input_axes: [-1] });
    expect([numbers([last]), all.dims, numbers([all])]).toEqual([
      [6, 60],
      [3, 2],
      [1, 10, 3, 30, 6, 60],
    ]);
    const [, columns] = scan(x, { scan_input_axes: [1], scan_output_axes: [-1], scan_input_directions: [1] });
    expect([columns.dims, numbers([columns])]).toEqual([
      [2, 3],
      [3, 5, 6, 30, 50, 60],
    ]);
    const [, reversed] = scan(x, { scan_input_axes: [1], scan_output_directions: [1] });
    expect(numbers([reversed])).toEqual([6, 60, 3, 30, 1, 10]);
  });

  it('version 8 has a batch, and lengths for its sequences', () => {
    const x = f32([2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8]);
    const [last, all] = run('Scan', [i64([2], [2, 1]), f32([2, 2], [0]), x], {
      version: 8,
      attributes: { body: graph, num_scan_inputs: 1 },
      outputs: 2,
      evaluate: cumulate,
    });
    expect(numbers([last])).toEqual([4, 6, 5, 6]);
    expect([all.dims, numbers([all])]).toEqual([
      [2, 2, 2],
      [1, 2, 4, 6, 5, 6, 0, 0],
    ]);
  });
});
