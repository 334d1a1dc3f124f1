import { loadExecutable, Random, type Spec, type Tensor } from '@gossamer/tensor';
import {
  encodeOnnx,
  float,
  int,
  ints,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  onnxModel,
  onnxNode,
  onnxValue,
  validateModel,
} from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { MobileNetV2 } from '../models/mobilenet.ts';
import { CifarResNet } from '../models/resnet-cifar.ts';
import { SqueezeNet } from '../models/squeezenet.ts';
import { VGG } from '../models/vgg.ts';
import { ViT } from '../models/vit.ts';
import { exportModel, type Module } from '../nn/index.ts';
import { Mask } from './mask.ts';
import { OnnxNetwork } from './shrink-onnx.ts';
import { Branches, difference, everyNth, Grouped, image, SharedKeys, sample, silence, worn } from './shrink-testing.ts';

const networks: [string, () => Module, Spec][] = [
  ['gates, slopes, branches, flattening', () => new Branches(), image(3, 8)],
  ['groups, shuffled channels, group normalisation', () => new Grouped(), image(3, 6)],
  ['shared keys and a gated MLP', () => new SharedKeys(), { dtype: 'float32', shape: [1, 5, 10] }],
  ['residual with padded shortcuts', () => new CifarResNet({ depth: 8, width: 6 }), image(3, 8)],
  ['inverted residuals', () => new MobileNetV2({ width: 0.25, classes: 7, stride: 1 }), image(3, 8)],
  ['fire modules', () => new SqueezeNet({ classes: 6 }), image(3, 40)],
  ['VGG', () => new VGG({ depth: 11, width: 4 }), image(3, 32)],
  ['ViT', () => new ViT({ imageSize: 8, patchSize: 4, dim: 12, heads: 3, depth: 2, classes: 5 }), image(3, 8)],
];

/** The file's own bytes in ONNX Runtime. */
async function run(onnx: OnnxModel, x: Tensor): Promise<Float32Array> {
  const executable = await loadExecutable(encodeOnnx(onnx));
  try {
    const [y] = await executable.run([await x.array()]);
    return y as Float32Array;
  } finally {
    await executable.release();
  }
}

const weight = (name: string, ...shape: number[]): [string, OnnxTensor] => {
  const size = shape.reduce((a, b) => a * b, 1);
  return [name, { dtype: 'float32', shape, data: new Random(4).fork(name).normal(size) }];
};
const whole = (name: string, ...values: number[]): [string, OnnxTensor] => [
  name,
  { dtype: 'int64', shape: [values.length], data: BigInt64Array.from(values, BigInt) },
];
const file = (nodes: OnnxNode[], constants: [string, OnnxTensor][], shape: number[], opset = 21): OnnxModel =>
  onnxModel(
    {
      name: 'test',
      nodes,
      inputs: [onnxValue('x', 'float32', ['batch', ...shape.slice(1)])],
      outputs: [{ name: 'y', dtype: 'float32', shape: null }],
      initializers: new Map(constants),
    },
    { opsets: { '': opset } },
  );

/** Removes every other channel of each group, and compares with the file in which they are zero. */
async function halve(onnx: OnnxModel, shape: number[]): Promise<OnnxModel> {
  const input: Spec = { dtype: 'float32', shape };
  const network = new OnnxNetwork(onnx, [input]);
  const found = await network.groups();
  const remove = everyNth(found, 2);
  expect(remove.length).toBeGreaterThan(0);
  const { onnx: small, before, after } = await network.shrink({ remove });
  expect(after).toEqual(found.cost(remove));
  expect(after.flops).toBeLessThan(before.flops);
  const x = sample(input, shape[0] === 1 ? 2 : shape[0]);
  const shrunk = await run(small, x);
  await silence(network.module, found, remove);
  const masked = await (network.module.forward(x) as Tensor).data();
  expect(difference(masked, shrunk)).toBeLessThan(1e-5 * Math.max(1, ...masked.map(Math.abs)));
  return small;
}

describe('OnnxNetwork', () => {
  it.each(networks)('gives a smaller file that computes the same: %s', async (_, make, input) => {
    const onnx = await exportModel(worn(make()), { x: input });
    const small = await halve(onnx, [...input.shape]);
    validateModel(small);
    const names = (m: OnnxModel) => m.graph.nodes.map(n => n.name);
    expect(names(small)).toEqual(names(onnx));
    expect([...small.graph.initializers.keys()].filter(n => n.endsWith('.weight'))).toEqual(
      [...onnx.graph.initializers.keys()].filter(n => n.endsWith('.weight')),
    );
    expect(encodeOnnx(small).length).toBeLessThan(encodeOnnx(onnx).length);
  });

  it('adjusts sizes, ranges, indices, paddings and lengths that a file holds as constants', async () => {
    const nodes = [
      onnxNode('Conv', ['x', 'w1'], ['a'], {}, { name: 'first' }),
      onnxNode('Split', ['a', 'lengths'], ['a1', 'a2'], { axis: int(1) }),
      onnxNode('Slice', ['a2', 'starts', 'ends', 'axes'], ['a3']),
      onnxNode('Gather', ['a1', 'indices'], ['a4'], { axis: int(1) }),
      onnxNode('Concat', ['a3', 'a4'], ['b'], { axis: int(1) }),
      onnxNode('Mul', ['b', 'scale'], ['b1']),
      onnxNode('Pad', ['b1', 'pads'], ['b2']),
      onnxNode('Reshape', ['b2', 'flat'], ['b3']),
      onnxNode('Gemm', ['b3', 'w2', 'bias2'], ['c'], { transB: int(0), alpha: float(0.5) }),
      onnxNode('Relu', ['c'], ['c1']),
      onnxNode('MatMul', ['c1', 'w3'], ['y'], {}, { name: 'last' }),
    ];
    const constants = [
      weight('w1', 8, 3, 1, 1),
      whole('lengths', 4, 4),
      whole('starts', 1),
      whole('ends', 4),
      whole('axes', 1),
      whole('indices', 3, 0, -2),
      weight('scale', 6, 1, 1),
      whole('pads', 0, 1, 0, 0, 0, 1, 0, 0),
      whole('flat', 0, 32),
      weight('w2', 32, 10),
      weight('bias2', 10),
      weight('w3', 10, 4),
    ];
    const small = await halve(file(nodes, constants, [1, 3, 2, 2]), [1, 3, 2, 2]);
    expect(small.graph.nodes.map(n => n.opType)).toEqual(nodes.map(n => n.opType));
    // Constants that nothing reads any more are gone.
    expect(small.graph.initializers.has('flat')).toBe(false);
  });

  it('reads weights from Constant nodes and attributes of old operator sets', async () => {
    const [, w] = weight('w', 6, 3, 1, 1);
    const nodes = [
      onnxNode('Constant', [], ['w'], { value: { type: 'tensor', value: w } }),
      onnxNode('Conv', ['x', 'w'], ['a']),
      onnxNode('Split', ['a'], ['a1', 'a2'], { axis: int(1), split: ints([2, 4]) }),
      onnxNode('Pad', ['a1'], ['b'], { pads: ints([0, 0, 0, 0, 0, 2, 0, 0]) }),
      onnxNode('Add', ['a2', 'b'], ['c']),
      onnxNode('Conv', ['c', 'v'], ['y']),
    ];
    const small = await halve(file(nodes, [weight('v', 2, 4, 1, 1)], [1, 3, 2, 2], 9), [1, 3, 2, 2]);
    expect(small.graph.initializers.get('w')?.shape).toEqual([3, 3, 1, 1]);
  });

  it('writes down a target that the file computes if that would go wrong', async () => {
    const nodes = [
      onnxNode('Conv', ['x', 'w1'], ['a']),
      onnxNode('Shape', ['a'], ['shape']),
      onnxNode('Gather', ['shape', 'zero'], ['n'], { axis: int(0) }),
      onnxNode('Concat', ['n', 'channels', 'rest'], ['target'], { axis: int(0) }),
      onnxNode('Reshape', ['a', 'target'], ['b']),
      onnxNode('Transpose', ['b'], ['c'], { perm: ints([0, 2, 1]) }),
      onnxNode('MatMul', ['c', 'w2'], ['y']),
    ];
    const constants = [whole('zero', 0), whole('channels', 8), whole('rest', 4)];
    const small = await halve(
      file(nodes, [...constants, weight('w1', 8, 3, 1, 1), weight('w2', 8, 5)], [1, 3, 2, 2]),
      [1, 3, 2, 2],
    );
    const reshape = small.graph.nodes.find(n => n.opType === 'Reshape')!;
    expect([...small.graph.initializers.get(reshape.inputs[1])!.data].map(Number)).toEqual([0, 0, -1]);
  });

  it('leaves alone a target that follows from shapes', async () => {
    const nodes = [
      onnxNode('Conv', ['x', 'w1'], ['a']),
      onnxNode('Shape', ['a'], ['shape'], { start: int(0), end: int(2) }),
      onnxNode('Concat', ['shape', 'open'], ['target'], { axis: int(0) }),
      onnxNode('Reshape', ['a', 'target'], ['b']),
      onnxNode('ReduceMean', ['b', 'two'], ['c'], { keepdims: int(0) }),
      onnxNode('Gemm', ['c', 'w2'], ['y'], { transB: int(1) }),
    ];
    const constants = [whole('open', -1), whole('two', 2), weight('w1', 8, 3, 1, 1), weight('w2', 5, 8)];
    const small = await halve(file(nodes, constants, [1, 3, 2, 2]), [1, 3, 2, 2]);
    expect(small.graph.nodes.find(n => n.opType === 'Reshape')?.inputs).toEqual(['a', 'target']);
  });

  it('takes what a mask makes dead, and folds the constants that it gives', async () => {
    const onnx = file(
      [
        onnxNode('Conv', ['x', 'w1', 'b1'], ['a']),
        onnxNode('Sigmoid', ['a'], ['s']),
        onnxNode('Conv', ['s', 'w2'], ['b']),
        onnxNode('Flatten', ['b'], ['f']),
        onnxNode('Relu', ['f'], ['r']),
        onnxNode('MatMul', ['r', 'w3'], ['y'], {}, { name: 'head' }),
      ],
      [weight('w1', 4, 3, 1, 1), weight('b1', 4), weight('w2', 5, 4, 1, 1), weight('w3', 20, 3)],
      [1, 3, 2, 2],
    );
    const keep = new Uint8Array(12).fill(1).fill(0, 3, 6);
    const mask = new Mask([['w1', { shape: [4, 3, 1, 1], keep }]]);
    const input = image(3, 2);
    const { onnx: small, dropped } = await new OnnxNetwork(onnx, [input]).shrink(mask, { constant: 'fold' });
    expect(dropped).toEqual([]);
    expect(small.graph.initializers.get('w2')?.shape).toEqual([5, 3, 1, 1]);
    const w1 = onnx.graph.initializers.get('w1')!;
    const masked = new Map(onnx.graph.initializers);
    masked.set('w1', { ...w1, data: (w1.data as Float32Array).map((v, i) => v * keep[i]) });
    const x = sample(input);
    const expected = await run({ ...onnx, graph: { ...onnx.graph, initializers: masked } }, x);
    expect(difference(await run(small, x), expected)).toBeLessThan(1e-5);
  });

  it('says by the node’s name why channels stay', async () => {
    const nodes = [
      onnxNode('Conv', ['x', 'w1'], ['a']),
      onnxNode('Relu', ['a'], ['r']),
      onnxNode('CumSum', ['r', 'axis'], ['s'], {}, { name: 'Running_7' }),
      onnxNode('Conv', ['s', 'w2'], ['y']),
    ];
    const axis: [string, OnnxTensor] = ['axis', { dtype: 'int64', shape: [], data: BigInt64Array.of(1n) }];
    const onnx = file(nodes, [axis, weight('w1', 6, 3, 1, 1), weight('w2', 2, 6, 1, 1)], [1, 3, 2, 2]);
    const found = await new OnnxNetwork(onnx, [image(3, 2)]).groups();
    expect(found.groups).toEqual([]);
    expect(found.fixed[0]).toMatchObject({ name: 'w1', count: 6 });
    expect(found.fixed[0].reason).toContain("node 'Running_7': cumsum");
    expect(() => found.requireChannel('w1', 2)).toThrow(/channel 2 of w1 .* cannot be removed: .*Running_7/);
  });
});
