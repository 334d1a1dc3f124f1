import { float32ToFloat16, type NDArray, Random } from '@gossamer/tensor';
import { int, onnxModel, onnxNode, onnxValue } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { staticLayers } from './static-layers.ts';

const weight = (...shape: number[]): NDArray => {
  const size = shape.reduce((a, b) => a * b, 1);
  return { dtype: 'float32', shape, data: new Random(0).normal(size) };
};

describe('staticLayers', () => {
  it('finds weights by the operators that read them, once each, with their axes', () => {
    const half = {
      ...weight(4, 3),
      dtype: 'float16',
      data: float32ToFloat16(weight(4, 3).data as Float32Array),
    } as const;
    const nodes = [
      onnxNode('Conv', ['x', 'conv', 'bias'], ['a']),
      onnxNode('Conv', ['a', 'depthwise'], ['b'], { group: int(6) }),
      onnxNode('Gemm', ['b', 'rows', 'bias'], ['c'], { transB: int(1) }),
      onnxNode('Gemm', ['c', 'columns'], ['d']),
      onnxNode('MatMul', ['d', 'columns'], ['e']),
      onnxNode('MatMul', ['half', 'e'], ['f']),
      onnxNode('Gather', ['table', 'ids'], ['g']),
      onnxNode('LSTM', ['g', 'input', 'hidden'], ['h']),
      onnxNode('Add', ['h', 'unused'], ['y']),
    ];
    const initializers = new Map<string, NDArray>([
      ['conv', weight(6, 3, 2, 2)],
      ['depthwise', weight(6, 1, 3, 3)],
      ['bias', weight(6)],
      ['rows', weight(5, 6)],
      ['columns', weight(5, 7)],
      ['half', half],
      ['table', weight(9, 4)],
      ['input', weight(1, 8, 4)],
      ['hidden', weight(1, 8, 2)],
      ['unused', weight(2, 2)],
      ['ids', { dtype: 'int64', shape: [2], data: BigInt64Array.of(0n, 1n) }],
    ]);
    const inputs = [onnxValue('x', 'float32', [1, 3, 8, 8])];
    const found = staticLayers(
      onnxModel({ name: 'g', inputs, outputs: [onnxValue('y', 'float32', [1])], initializers, nodes }),
    );
    expect(found.map(l => [l.name, l.kind, l.outAxis, l.inAxis, l.positions])).toEqual([
      ['conv', 'conv', 0, 1, 0],
      ['depthwise', 'depthwise', 0, 1, 0],
      ['rows', 'linear', 0, 1, 0],
      ['columns', 'linear', 1, 0, 0],
      ['half', 'linear', 0, 1, 0],
      ['table', 'embedding', 1, 0, 0],
      ['input', 'recurrent', 1, 2, 0],
      ['hidden', 'recurrent', 1, 2, 0],
    ]);
    for (const l of found) expect(l.values).toBeInstanceOf(Float32Array);
  });
});
