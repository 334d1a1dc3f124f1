import { describe, expect, it } from 'vitest';
import { FormatError } from '../errors.ts';
import type { Graph, Model } from './graph.ts';
import { parseModel } from './model.ts';
import { attribute, file, float, graph, header, int, node, nodeFields, type Part, part } from './testing.ts';

interface Definition {
  inputs: string[];
  outputs: string[];
  nodes: Part[];
  attributes?: string[];
  /** AttributeProto fields of attributes with defaults. */
  defaults?: Part[];
  overload?: string;
}

/** A function of the domain 'f' (field 25 of a model), written for operator set 15. */
const define = (name: string, { inputs, outputs, nodes, attributes = [], defaults = [], overload }: Definition): Part =>
  part(
    25,
    part(1, name),
    ...inputs.map(input => part(4, input)),
    ...outputs.map(output => part(5, output)),
    ...attributes.map(attribute => part(6, attribute)),
    ...nodes.map(fields => part(7, fields)),
    part(9, int(2, 15)),
    part(10, 'f'),
    ...defaults.map(fields => part(11, fields)),
    ...(overload ? [part(13, overload)] : []),
  );
const call = (op: string, inputs: string[], outputs: string[], ...rest: Part[]): Part =>
  node(op, inputs, outputs, part(7, 'f'), ...rest);
const inner = (op: string, inputs: string[], outputs: string[], ...rest: Part[]): Part =>
  nodeFields(op, inputs, outputs, part(7, 'f'), ...rest);
const reference = (name: string, kind: number, to: string): Part => attribute(name, kind, part(21, to));

const parse = (...parts: Part[]): Promise<Model> => parseModel(file(header(), ...parts));
/** `Op(inputs)→outputs` for every node. */
const listing = ({ nodes }: Graph): string[] => nodes.map(n => `${n.op}(${n.inputs})→${n.outputs}`);

const square = define('Square', { inputs: ['a'], outputs: ['b'], nodes: [nodeFields('Mul', ['a', 'a'], ['b'])] });
const quartic = define('Quartic', {
  inputs: ['a'],
  outputs: ['b'],
  nodes: [inner('Square', ['a'], ['t']), inner('Square', ['t'], ['b'])],
});

describe('functions of a model', () => {
  it('become their nodes, with names of their own and the version they were written for', async () => {
    const { nodes } = (await parse(square, graph(call('Square', ['x'], ['t']), call('Square', ['t'], ['y'])))).graph;
    expect(nodes).toEqual([
      {
        name: 'Square#0/Mul_0',
        op: 'Mul',
        domain: '',
        version: 15,
        inputs: ['x', 'x'],
        outputs: ['t'],
        attributes: {},
      },
      {
        name: 'Square#1/Mul_0',
        op: 'Mul',
        domain: '',
        version: 15,
        inputs: ['t', 't'],
        outputs: ['y'],
        attributes: {},
      },
    ]);
  });

  it('may call each other; inner values never meet', async () => {
    const model = await parse(quartic, square, graph(call('Quartic', ['x'], ['t']), call('Quartic', ['t'], ['y'])));
    expect(listing(model.graph)).toEqual([
      'Mul(x,x)→Quartic#0/t',
      'Mul(Quartic#0/t,Quartic#0/t)→t',
      'Mul(t,t)→Quartic#3/t',
      'Mul(Quartic#3/t,Quartic#3/t)→y',
    ]);
  });

  it('leave out what the call leaves out', async () => {
    const f = define('F', {
      inputs: ['a', 'b', 'c'],
      outputs: ['p', 'q', 'r'],
      nodes: [nodeFields('Op', ['a', 'b', 'c'], ['p', 'q', 'r'])],
    });
    const model = await parse(f, graph(call('F', ['x', '', 'x'], ['', 'y']), call('F', ['x'], [])));
    expect(listing(model.graph)).toEqual(['Op(x,,x)→F#0/p,y,F#0/r', 'Op(x,,)→F#1/p,F#1/q,F#1/r']);
  });

  it('may hand an input through, and give an output twice', async () => {
    const f = define('F', { inputs: ['a'], outputs: ['a', 'b', 'b'], nodes: [nodeFields('Neg', ['a'], ['b'])] });
    const model = await parse(f, graph(call('F', ['x'], ['same', 'y', 'again'])));
    expect(listing(model.graph)).toEqual(['Neg(x)→y', 'Identity(x)→same', 'Identity(y)→again']);
  });

  it('take attributes of the call, then defaults, else none; through nested calls too', async () => {
    const leaf = define('Leaf', {
      inputs: ['a'],
      outputs: ['b'],
      attributes: ['alpha', 'beta'],
      defaults: [[...part(1, 'gamma'), ...float(2, 3), ...int(20, 1)]],
      nodes: [
        nodeFields(
          'Op',
          ['a'],
          ['b'],
          reference('p', 1, 'alpha'),
          reference('q', 1, 'beta'),
          reference('r', 1, 'gamma'),
          attribute('s', 1, float(2, 9)),
        ),
      ],
    });
    const outer = define('Outer', {
      inputs: ['a'],
      outputs: ['b'],
      attributes: ['k'],
      nodes: [
        inner('Leaf', ['a'], ['t'], reference('alpha', 1, 'k')),
        inner('Leaf', ['t'], ['b'], attribute('gamma', 1, float(2, 7))),
      ],
    });
    const model = await parse(leaf, outer, graph(call('Outer', ['x'], ['y'], attribute('k', 1, float(2, 5)))));
    expect(model.graph.nodes.map(({ attributes }) => attributes)).toEqual([
      { p: 5, r: 3, s: 9 },
      { r: 7, s: 9 },
    ]);
  });

  it('are inlined within nested graphs, and may hold nested graphs', async () => {
    const body = (op: Part): Part => [...part(1, op), ...part(12, part(1, 'z'))];
    const f = define('F', {
      inputs: ['a'],
      outputs: ['b'],
      attributes: ['k'],
      nodes: [
        nodeFields('Neg', ['a'], ['t']),
        nodeFields(
          'If',
          ['a'],
          ['b'],
          attribute('then_branch', 5, part(6, body(nodeFields('Add', ['a', 't'], ['z'], reference('k', 2, 'k'))))),
        ),
      ],
    });
    const branch = attribute('then_branch', 5, part(6, body(inner('F', ['x'], ['z'], attribute('k', 2, int(3, 4))))));
    const model = await parse(f, graph(node('If', ['x'], ['y'], branch)));
    const outer = model.graph.nodes[0].attributes.then_branch as Graph;
    expect(listing(outer)).toEqual(['Neg(x)→F#0/t', 'If(x)→z']);
    const deepest = outer.nodes[1].attributes.then_branch as Graph;
    expect(listing(deepest)).toEqual(['Add(x,F#0/t)→F#0/z']);
    expect(deepest.outputs[0].name).toBe('F#0/z');
    expect(deepest.nodes[0].attributes).toEqual({ k: 4 });
  });

  it('are told apart by overload', async () => {
    const overloaded = (overload: string, op: string) =>
      define('F', { inputs: ['a'], outputs: ['b'], nodes: [nodeFields(op, ['a'], ['b'])], overload });
    const model = await parse(
      overloaded('', 'A'),
      overloaded('o', 'B'),
      graph(call('F', ['x'], ['t'], part(8, 'o')), call('F', ['t'], ['y'])),
    );
    expect(listing(model.graph)).toEqual(['B(x)→t', 'A(t)→y']);
  });

  const simple = (name: string, ...nodes: Part[]): Part => define(name, { inputs: ['a'], outputs: ['b'], nodes });
  it.each<[string, Part[], string]>([
    [
      'a function that calls itself',
      [simple('F', inner('F', ['a'], ['b'])), graph(call('F', ['x'], ['y']))],
      'F#0/F_0 (F): the function f:F calls itself',
    ],
    [
      'two that call each other',
      [simple('F', inner('G', ['a'], ['b'])), simple('G', inner('F', ['a'], ['b'])), graph(call('F', ['x'], ['y']))],
      'the function f:F calls itself',
    ],
    [
      'too many inputs',
      [square, graph(call('Square', ['x', 'x'], ['y']))],
      'Square_0 (Square): 2 inputs and 1 outputs, the function f:Square has 1 and 1',
    ],
    [
      'an unknown attribute',
      [square, graph(call('Square', ['x'], ['y'], attribute('k', 2)))],
      'the function f:Square has no attribute k',
    ],
    [
      'two functions of one name',
      [square, square, graph(call('Square', ['x'], ['y']))],
      'the function f:Square is defined twice',
    ],
    [
      'an inner value that is nowhere',
      [simple('F', nodeFields('Neg', ['q'], ['b'])), graph(call('F', ['x'], ['y']))],
      "F#0/Neg_0 (Neg): input 'F#0/q' is defined nowhere",
    ],
    [
      'an output that is never produced',
      [simple('F', nodeFields('Neg', ['a'], ['c'])), graph(call('F', ['x'], ['y']))],
      "graph: output 'y' is produced by no node",
    ],
    [
      'a domain that the function does not import',
      [simple('F', nodeFields('Neg', ['a'], ['b'], part(7, 'other'))), graph(call('F', ['x'], ['y']))],
      "F#0/Neg_0 (Neg): the model imports no operator set of the domain 'other'",
    ],
    [
      'a call of nothing',
      [square, graph(call('Cube', ['x'], ['y']))],
      "Cube_0 (Cube): the model imports no operator set of the domain 'f', and defines no such function",
    ],
    [
      'two inputs of one name',
      [define('F', { inputs: ['a', 'a'], outputs: ['b'], nodes: [] }), graph(node('Neg', ['x'], ['y']))],
      'function f:F: two inputs have the same name',
    ],
    ['no name', [part(25, part(9, int(2, 15))), graph(node('Neg', ['x'], ['y']))], 'a function has no name'],
    [
      'a bad attribute within',
      [simple('F', nodeFields('Neg', ['a'], ['b'], attribute('k', 4))), graph(node('Neg', ['x'], ['y']))],
      'function f:F: Neg_0 (Neg): attribute k: has no value',
    ],
  ])('refuse %s', async (_, parts, message) => {
    await expect(parse(...parts)).rejects.toThrow(FormatError);
    await expect(parse(...parts)).rejects.toThrow(message);
  });

  it('refuse calls that multiply: 2⁶⁰ nodes in 3 kB', async () => {
    const levels = Array.from({ length: 60 }, (_, i) =>
      simple(`F${i}`, inner(`F${i + 1}`, ['a'], ['t']), inner(`F${i + 1}`, ['t'], ['b'])),
    );
    const last = simple('F60', nodeFields('Neg', ['a'], ['b']));
    await expect(parse(...levels, last, graph(call('F0', ['x'], ['y'])))).rejects.toThrow(
      'hundreds of thousands of nodes',
    );
  });

  it('refuse a graph that is handed on twice at each of 30 levels', async () => {
    const twice: Part = [
      ...node('If', [], ['z'], reference('then_branch', 5, 'g'), reference('else_branch', 5, 'g')),
      ...part(12, part(1, 'z')),
    ];
    const start = attribute('g', 5, part(6, node('Neg', ['x'], ['z']), part(12, part(1, 'z'))));
    const levels = Array.from({ length: 30 }, (_, i) =>
      define(`F${i}`, {
        inputs: ['a'],
        outputs: ['b'],
        attributes: ['g'],
        nodes: [inner(`F${i + 1}`, ['a'], ['b'], attribute('g', 5, part(6, twice)))],
      }),
    );
    const last = define('F30', {
      inputs: ['a'],
      outputs: ['b'],
      attributes: ['g'],
      nodes: [nodeFields('If', ['a'], ['b'], reference('then_branch', 5, 'g'))],
    });
    await expect(parse(...levels, last, graph(call('F0', ['x'], ['y'], start)))).rejects.toThrow(
      'hundreds of thousands of nodes',
    );
  });

  it('refuse nested graphs that go deeper with every call', async () => {
    const levels = Array.from({ length: 40 }, (_, i) => {
      const body = part(6, node(`F${i + 1}`, ['a'], ['z'], part(7, 'f')), part(12, part(1, 'z')));
      return simple(`F${i}`, nodeFields('If', ['a'], ['b'], attribute('then_branch', 5, body)));
    });
    await expect(parse(...levels, graph(call('F0', ['x'], ['y'])))).rejects.toThrow(
      'graphs are nested more than 32 deep',
    );
  });

  it('refuse calls that nest without end', async () => {
    const levels = Array.from({ length: 5000 }, (_, i) => simple(`F${i}`, inner(`F${i + 1}`, ['a'], ['b'])));
    const model = parse(...levels, graph(call('F0', ['x'], ['y'])));
    await expect(model).rejects.toThrow('functions call each other more than 64 deep');
  });
});
