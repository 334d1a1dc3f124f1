import { describe, expect, it } from 'vitest';
import { FormatError } from '../errors.ts';
import { checkGraph } from './check.ts';
import type { Graph, Node } from './graph.ts';

const node = (op: string, inputs: string[], outputs: string[], attributes: Node['attributes'] = {}): Node => ({
  name: op.toLowerCase(),
  op,
  domain: '',
  version: 13,
  inputs,
  outputs,
  attributes,
});
const graph = (nodes: Node[], inputs = ['x'], outputs = ['y'], constants: string[] = []): Graph => ({
  name: 'g',
  nodes,
  inputs: inputs.map(name => ({ name, type: 'float32' })),
  outputs: outputs.map(name => ({ name, type: 'float32' })),
  initializers: new Map(constants.map(name => [name, { type: 'float32', dims: [0], data: new Float32Array(0) }])),
});
const order = (g: Graph): string[] => checkGraph(g).nodes.map(({ op }) => op);

describe('checkGraph', () => {
  it('keeps an order that is valid', () => {
    const nodes = [node('B', ['x'], ['b']), node('A', ['x', '', 'w'], ['a', '']), node('C', ['a', 'b'], ['y'])];
    expect(checkGraph(graph(nodes, ['x'], ['y'], ['w']))).toEqual(graph(nodes, ['x'], ['y'], ['w']));
  });

  it('sorts any other order of random graphs', () => {
    let seed = 1;
    const random = (n: number): number => (seed = Math.imul(seed, 48271) >>> 0) % n;
    for (let round = 0; round < 50; round++) {
      const nodes = Array.from({ length: 20 }, (_, i) =>
        node(`N${i}`, [i === 0 ? 'x' : `v${random(i)}`, i === 0 ? 'x' : `v${random(i)}`], [`v${i}`]),
      );
      const shuffled = nodes
        .map(n => ({ n, key: random(1000) }))
        .sort((a, b) => a.key - b.key)
        .map(({ n }) => n);
      const done = new Set(['x']);
      for (const { inputs, outputs } of checkGraph(graph(shuffled, ['x'], ['v19'])).nodes) {
        for (const name of inputs) expect(done).toContain(name);
        for (const name of outputs) done.add(name);
      }
      expect(done.size).toBe(21);
    }
  });

  it('counts what a nested graph takes from outside as an input of its node', () => {
    const body = graph([node('Neg', ['late'], ['z'])], [], ['z']);
    const nodes = [node('If', ['x'], ['y'], { then_branch: body }), node('Late', ['x'], ['late'])];
    expect(order(graph(nodes))).toEqual(['Late', 'If']);
    const twice = graph([node('If', [], ['w'], { then_branch: body })], [], ['w']);
    expect(order(graph([node('If', ['x'], ['y'], { branches: [twice] }), nodes[1]]))).toEqual(['Late', 'If']);
  });

  it('sorts within nested graphs', () => {
    const body = graph([node('B', ['a'], ['z']), node('A', ['x'], ['a'])], [], ['z']);
    const [outer] = checkGraph(graph([node('If', ['x'], ['y'], { then_branch: body })])).nodes;
    expect((outer.attributes.then_branch as Graph).nodes.map(({ op }) => op)).toEqual(['A', 'B']);
  });

  it('takes inputs and constants for outputs, and a name again in a nested graph', () => {
    expect(order(graph([], ['x'], ['x', 'w'], ['w']))).toEqual([]);
    const body = graph([node('Neg', ['x'], ['y'])], ['x']);
    expect(order(graph([node('Loop', ['x'], ['y'], { body })]))).toEqual(['Loop']);
  });

  it('sorts a chain of 50,000 nodes in reverse', () => {
    const nodes = Array.from({ length: 50_000 }, (_, i) => node('N', [`v${i}`], [`v${i + 1}`])).reverse();
    expect(checkGraph(graph(nodes, ['v0'], ['v50000'])).nodes[0].inputs).toEqual(['v0']);
  });

  const inner = (...nodes: Node[]): Graph =>
    graph([node('If', ['x'], ['y'], { then_branch: graph(nodes, [], ['z']) })]);
  it.each<[string, Graph, string]>([
    [
      'an input of a node that is nowhere',
      graph([node('Add', ['x', 'q'], ['y'])]),
      "add (Add): input 'q' is defined nowhere",
    ],
    [
      'two definitions',
      graph([node('A', ['x'], ['y']), node('B', ['x'], ['y'])]),
      "b (B): output 'y' is already defined",
    ],
    ['two in one node', graph([node('A', ['x'], ['y', 'y'])]), "a (A): output 'y' is already defined"],
    ['a second definition of an input', graph([node('A', ['x'], ['x'])]), 'the graph has a cycle: a (A) → a (A)'],
    ['the same without a cycle', graph([node('A', [], ['x'])]), "a (A): output 'x' is already defined"],
    [
      'a second definition of a constant',
      graph([node('A', ['x'], ['y'])], ['x'], ['y'], ['y']),
      "output 'y' is already defined",
    ],
    ['an input given twice', graph([], ['x', 'x'], ['x']), "graph: input 'x' is given twice"],
    ['an output that nothing produces', graph([node('A', ['x'], ['a'])]), "graph: output 'y' is produced by no node"],
    [
      'a cycle',
      graph([node('A', ['x', 'b'], ['y']), node('B', ['y'], ['b'])]),
      'the graph has a cycle: b (B) → a (A) → b (B)',
    ],
    ['a nested input that is nowhere', inner(node('A', ['q'], ['z'])), "a (A): input 'q' is defined nowhere"],
    [
      'a nested output that nothing produces',
      inner(),
      "if (If): attribute then_branch: output 'z' is produced by no node",
    ],
    [
      'a nested graph that needs its own result',
      inner(node('A', ['y'], ['z'])),
      'the graph has a cycle: if (If) → if (If)',
    ],
    [
      'a domain that is not imported',
      graph([{ ...node('A', ['x'], ['y']), version: 0 }]),
      'a (A): the model imports no operator set',
    ],
  ])('refuses %s', (_, g, message) => {
    expect(() => checkGraph(g)).toThrow(FormatError);
    expect(() => checkGraph(g)).toThrow(message);
  });
});
