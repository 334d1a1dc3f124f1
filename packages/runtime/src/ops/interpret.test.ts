import { describe, expect, it } from 'vitest';
import { f32, i64, iota, scalar } from '../../test/tables.ts';
import type { Attribute, Graph, Node, SparseValue } from '../load/graph.ts';
import type { Value } from '../values.ts';
import { loadOperators } from './index.ts';
import { checkOperators, interpret } from './interpret.ts';

const operators = await loadOperators();

let count = 0;
const node = (op: string, inputs: string[], outputs: string[], attributes: Record<string, Attribute> = {}): Node => ({
  ...{ name: `${op}_${count++}`, op, domain: '', version: 21, inputs, outputs, attributes },
});

const graph = (
  inputs: string[],
  outputs: string[],
  nodes: Node[],
  constants: Record<string, Value | SparseValue> = {},
): Graph => ({
  name: 'g',
  nodes,
  inputs: inputs.map(name => ({ name, type: 'float32' })),
  outputs: outputs.map(name => ({ name, type: 'float32' })),
  initializers: new Map(Object.entries(constants)),
});

function compute(g: Graph, feeds: Record<string, Value>): unknown[][] {
  checkOperators(g, operators);
  return [...interpret(g, new Map(Object.entries(feeds)), operators).values()].map(({ data }) => [
    ...(data as Float32Array),
  ]);
}

describe('interpret', () => {
  it('computes a diamond, keeping what is still read', () => {
    const nodes = [
      node('Neg', ['x'], ['a']),
      node('Exp', ['a'], ['b']),
      node('Mul', ['a', 'b'], ['c']),
      node('Add', ['c', 'x'], ['y']),
    ];
    expect(compute(graph(['x'], ['y', 'a'], nodes), { x: f32([0, 1]) })).toEqual([
      [0, Math.fround(1 - Math.fround(Math.exp(-1)))],
      [-0, -1],
    ]);
  });

  it('gives back inputs and constants that are outputs, sparse ones written out', () => {
    const sparse: SparseValue = { type: 'float32', dims: [2, 2], indices: Int32Array.of(3), values: f32([5]) };
    expect(compute(graph(['x'], ['x', 'w'], [], { w: sparse }), { x: f32([1]) })).toEqual([[1], [0, 0, 0, 5]]);
  });

  it('leaves out optional inputs and outputs', () => {
    const nodes = [node('Clip', ['x', '', 'high'], ['y']), node('TopK', ['y', 'k'], ['', 'at'])];
    const g = graph(['x'], ['at'], nodes, { high: scalar('float32', 1), k: i64([1]) });
    expect(compute(g, { x: f32([0, 3, 2]) })).toEqual([[1n]]);
  });

  it('runs branches that read outer values, also after their last direct use', () => {
    const inner = graph([], ['r'], [node('Add', ['a', 'a'], ['r'])]);
    const outer = graph(
      [],
      ['s'],
      [node('If', ['p'], ['s'], { then_branch: inner, else_branch: graph([], ['x'], []) })],
    );
    const nodes = [
      node('Neg', ['x'], ['a']),
      node('Neg', ['a'], ['unused']),
      node('If', ['p'], ['y'], { then_branch: outer, else_branch: inner }),
    ];
    expect(compute(graph(['x', 'p'], ['y'], nodes), { x: f32([3]), p: scalar('bool', 1) })).toEqual([[-6]]);
  });

  it('loops with a body whose names shadow nothing outside', () => {
    const body = graph(
      ['i', 'go', 'sum'],
      ['go_on', 'next', 'scan'],
      [
        node('Identity', ['go'], ['go_on']),
        node('Add', ['sum', 'step'], ['next']),
        node('Identity', ['next'], ['scan']),
      ],
    );
    const g = graph(['x', 'n', 'go'], ['y', 'all'], [node('Loop', ['n', 'go', 'x'], ['y', 'all'], { body })], {
      step: f32([2]),
    });
    expect(compute(g, { x: f32([1]), n: scalar('int64', 3), go: scalar('bool', 1) })).toEqual([[7], [3, 5, 7]]);
  });

  it('is repeatable and does not change its feeds', () => {
    const g = graph(['x'], ['y'], [node('ScatterElements', ['x', 'i', 'u'], ['y'])], { i: i64([0]), u: f32([9]) });
    const x = iota(3);
    expect(compute(g, { x })).toEqual([[9, 1, 2]]);
    expect(compute(g, { x })).toEqual([[9, 1, 2]]);
    expect(x).toEqual(iota(3));
  });

  it('names what is missing', () => {
    const g = graph(['x'], ['y'], [node('Neg', ['x'], ['y'])]);
    expect(() => interpret(g, new Map(), operators)).toThrow(/Neg_\d+ \(Neg\): the value x is missing; feed it/);
  });
});

describe('checkOperators', () => {
  it('names operators and attributes that are unknown, in subgraphs too', () => {
    const wrong = graph([], ['y'], [node('Frobnicate', [], ['y'])]);
    expect(() => checkOperators(wrong, operators)).toThrow(
      /Frobnicate_\d+ \(Frobnicate\): operator Frobnicate is not supported/,
    );
    const branches = { then_branch: wrong, else_branch: wrong };
    expect(() => checkOperators(graph([], ['y'], [node('If', ['p'], ['y'], branches)]), operators)).toThrow(
      'Frobnicate',
    );
    const odd = graph([], ['y'], [node('Relu', ['x'], ['y'], { slope: 1 })]);
    expect(() => checkOperators(odd, operators)).toThrow('attribute slope of Relu-21 is not supported');
    expect(() => checkOperators(graph([], [], [node('toString', [], [])]), operators)).toThrow(
      'toString is not supported',
    );
  });
});
