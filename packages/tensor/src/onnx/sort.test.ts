import { describe, expect, it } from 'vitest';
import { FormatError } from '../errors.ts';
import { graph, type OnnxNode, onnxNode } from './proto.ts';
import { topologicalSort } from './sort.ts';

const relu = (from: string, to: string): OnnxNode => onnxNode('Relu', [from], [to], {}, { name: `to_${to}` });
const order = (nodes: OnnxNode[]): string[] => topologicalSort(nodes).map(n => n.outputs[0]);

describe('topologicalSort', () => {
  it('keeps an order that is already valid', () => {
    expect(order([relu('x', 'b'), relu('x', 'a'), relu('b', 'c')])).toEqual(['b', 'a', 'c']);
  });

  it('puts producers first', () => {
    expect(order([relu('b', 'c'), relu('a', 'b'), relu('x', 'a')])).toEqual(['a', 'b', 'c']);
  });

  it('counts what a nested graph takes from outside', () => {
    const branch = graph({
      name: 'then',
      nodes: [relu('a', 'inner')],
      inputs: [],
      outputs: [{ name: 'inner', dtype: null, shape: null }],
      initializers: new Map(),
    });
    const choice = onnxNode('If', ['condition'], ['y'], { then_branch: branch, else_branch: branch });
    expect(order([choice, relu('x', 'a')])).toEqual(['a', 'y']);
  });

  it('names the nodes of a cycle', () => {
    const nodes = [
      relu('x', 'a'),
      onnxNode('Add', ['a', 'd'], ['b'], {}, { name: 'loop' }),
      relu('b', 'c'),
      relu('c', 'd'),
    ];
    expect(() => topologicalSort(nodes)).toThrow(FormatError);
    expect(() => topologicalSort(nodes)).toThrow(/cycle: .*Add 'loop'/);
    expect(() => topologicalSort([relu('a', 'a')])).toThrow("cycle: Relu 'to_a' → Relu 'to_a'");
  });

  it('sorts a reversed chain of 30,000 nodes', () => {
    const n = 30_000;
    const nodes = Array.from({ length: n }, (_, i) => relu(`t${n - i - 1}`, `t${n - i}`));
    expect(order(nodes)).toEqual(Array.from({ length: n }, (_, i) => `t${i + 1}`));
  });
});
