import { describe, expect, it } from 'vitest';
import { FormatError } from '../errors.ts';
import { graph, type OnnxGraph, type OnnxModel, onnxModel, onnxNode, onnxValue } from './proto.ts';
import { maxGraphDepth, validateGraph, validateModel } from './validate.ts';

const valid = (): OnnxGraph => ({
  name: 'g',
  inputs: [onnxValue('x', 'float32', [2])],
  outputs: [onnxValue('y', 'float32', [2])],
  initializers: new Map([['w', { dtype: 'float32', shape: [2], data: new Float32Array(2) }]]),
  nodes: [onnxNode('Mul', ['x', 'w'], ['t']), onnxNode('Relu', ['t'], ['y'])],
});

const branch = (from: string): OnnxGraph => ({
  name: 'branch',
  inputs: [],
  outputs: [onnxValue('inner', 'float32', [2])],
  initializers: new Map(),
  nodes: [onnxNode('Relu', [from], ['inner'])],
});

describe('validateGraph', () => {
  it('accepts omitted inputs, inputs with defaults and values of outer graphs', () => {
    const g = valid();
    g.inputs.push(onnxValue('w', 'float32', [2]));
    g.nodes[0].inputs.push('');
    g.nodes.unshift(onnxNode('If', ['x'], ['z'], { then_branch: graph(branch('w')), else_branch: graph(branch('x')) }));
    validateGraph(g);
    validateGraph(branch('outside'), new Set(['outside']));
  });

  const broken: [string, (g: OnnxGraph) => void, string][] = [
    [
      'an input that nothing produces',
      g => g.nodes[1].inputs.push('ghost'),
      "node Relu 'y': input 'ghost' is never produced",
    ],
    ['a use before its production', g => g.nodes.reverse(), "input 't' is used before it is produced"],
    ['an output that nothing produces', g => g.outputs.push(onnxValue('q', null!, [])), "output 'q' is never produced"],
    ['an output listed twice', g => g.outputs.push(g.outputs[0]), "output 'y' is listed twice"],
    ['two nodes with one output', g => g.nodes.push(onnxNode('Abs', ['x'], ['t'])), "two values are named 't'"],
    ['a node that overwrites an input', g => g.nodes.push(onnxNode('Abs', ['t'], ['x'])), "two values are named 'x'"],
    ['two inputs of one name', g => g.inputs.push(g.inputs[0]), "two values are named 'x'"],
    ['a node without operator', g => g.nodes.push(onnxNode('', [], [])), 'has no operator'],
    ['a negative dimension', g => g.inputs.push(onnxValue('v', 'float32', [-3])), "'v' has the dimension -3"],
    [
      'data of another size',
      g => g.initializers.set('w', { dtype: 'float32', shape: [3], data: new Float32Array(2) }),
      "initializer 'w': shape [3] has 3 elements, its data 2",
    ],
    [
      'data of another type',
      g => g.initializers.set('w', { dtype: 'float32', shape: [2], data: new Float64Array(2) }),
      'float32 data in a Float64Array',
    ],
    [
      'a ghost in a branch',
      g => g.nodes.push(onnxNode('If', ['x'], ['z'], { then_branch: graph(branch('ghost')) })),
      "attribute 'then_branch': node Relu 'inner': input 'ghost'",
    ],
  ];
  it.each(broken)('refuses %s', (_, breakIt, message) => {
    const g = valid();
    breakIt(g);
    expect(() => validateGraph(g)).toThrow(FormatError);
    expect(() => validateGraph(g)).toThrow(message);
  });

  it('refuses graphs nested too deep, one that holds itself too', () => {
    const nest = (depth: number): OnnxGraph =>
      depth === 1
        ? branch('x')
        : { ...branch('x'), nodes: [onnxNode('If', ['x'], ['inner'], { then_branch: graph(nest(depth - 1)) })] };
    validateGraph({ ...nest(maxGraphDepth), inputs: [onnxValue('x', 'bool', [])] }, new Set());
    const endless = branch('x');
    endless.nodes = [onnxNode('If', ['x'], ['inner'], { then_branch: graph(endless) })];
    expect(() => validateGraph(endless, new Set(['x']))).toThrow(`more than ${maxGraphDepth} deep`);
  });
});

describe('validateModel', () => {
  const model = (opsets: Record<string, number>): OnnxModel => onnxModel(valid(), { opsets });

  it('says which operator sets are supported', () => {
    for (const opset of [7, 21, 26]) validateModel(model({ '': opset }));
    for (const opset of [6, 27])
      expect(() => validateModel(model({ '': opset }))).toThrow(`operator set ${opset}: operator sets 7 to 26`);
    expect(() => validateModel(model({ 'com.microsoft': 1 }))).toThrow('names no version of the standard operator set');
  });

  it('checks functions', () => {
    const f = {
      name: 'f',
      domain: 'local',
      inputs: ['a'],
      outputs: ['b'],
      attributes: [],
      defaults: {},
      opsets: { '': 21 },
      nodes: [onnxNode('Relu', ['a'], ['b'])],
    };
    validateModel({ ...model({ '': 21 }), functions: [f] });
    const broken = { ...f, outputs: ['c'] };
    expect(() => validateModel({ ...model({ '': 21 }), functions: [broken] })).toThrow(
      "function 'local::f': output 'c' is never produced",
    );
  });
});
