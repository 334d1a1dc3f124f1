import { describe, expect, it } from 'vitest';
import { RuntimeError } from '../errors.ts';
import { readModel } from '../load/read.ts';
import { loadOperators } from '../ops/index.ts';
import { int, integers, Model, tensorOf } from '../testing.ts';
import type { Info, Value } from '../values.ts';
import { fuse } from './fuse.ts';
import { fusedOperators } from './fused.ts';
import { infer } from './infer.ts';

const plain = await loadOperators();
const operators = { ...plain, ...fusedOperators(plain) };

const info = (dims: number[], type: Info['type'] = 'float32'): Info => ({ type, dims });

async function inferred(model: Model, feeds: Record<string, Info>) {
  const { graph } = await readModel(model.bytes());
  const { nodes, constants } = fuse(graph, operators);
  return infer(nodes, constants, new Map(Object.entries(feeds)), operators);
}

describe('infer', () => {
  it('follows shapes through their own arithmetic', async () => {
    const m = new Model();
    m.input('x', ['n', 't', 8]);
    // PyTorch's view(n, t, heads, -1): sizes from Shape, gathered and joined again.
    const shape = m.add('Shape', ['x']);
    const axis = (i: number) =>
      m.add('Unsqueeze', [
        m.add('Gather', [shape, m.constant({ dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(i)) })]),
        m.constant(integers(0)),
      ]);
    const target = m.add('Concat', [axis(0), axis(1), m.constant(integers(2, -1))], { axis: int(0) });
    const y = m.add('Reshape', ['x', target]);
    m.output(m.add('Transpose', [y], { perm: { type: 'ints', value: [0, 2, 1, 3] } }));
    const { infos, known, deferred } = await inferred(m, { x: info([3, 5, 8]) });
    expect(infos.get(m.outputs[0].name)).toEqual(info([3, 2, 5, 4]));
    // All of the arithmetic is done.
    expect(known.map(node => node.op)).toEqual(['Reshape', 'Transpose']);
    expect(deferred).toEqual([]);
    expect(infos.get(target)!.value!.data).toEqual(BigInt64Array.of(3n, 5n, 2n, -1n));
  });

  it('reads parts of a shape', async () => {
    const m = new Model();
    m.input('x', [null, null, null]);
    const at = (start: number, end?: number) =>
      m.add('Shape', ['x'], { start: int(start), ...(end !== undefined && { end: int(end) }) });
    for (const name of [at(1), at(-2, -1), at(-9, 9), at(2, 1)]) m.output(name, null, 'int64');
    const { infos } = await inferred(m, { x: info([2, 3, 4]) });
    expect(m.outputs.map(({ name }) => [...(infos.get(name)!.value!.data as BigInt64Array)].map(Number))).toEqual([
      [3, 4],
      [3],
      [2, 3, 4],
      [],
    ]);
  });

  it('defers what needs data, and what depends on it', async () => {
    const m = new Model();
    m.input('x', ['n', 4]);
    m.input('k', [2], 'int64');
    const reshaped = m.add('Reshape', ['x', 'k']);
    m.output(m.add('Relu', [reshaped]));
    m.output(m.add('Neg', ['x']));
    const found = m.add('NonZero', ['x']);
    m.output(m.add('Cast', [found], { to: int(1) }));
    const { known, deferred, wanted } = await inferred(m, { x: info([2, 4]), k: info([2], 'int64') });
    expect(known.map(node => node.op)).toEqual(['Neg']);
    expect(deferred.map(node => node.op)).toEqual(['Reshape', 'Relu', 'NonZero', 'Cast']);
    expect([...wanted]).toEqual(['k']);
    const value: Value = { type: 'int64', dims: [2], data: BigInt64Array.of(4n, 2n) };
    const later = await inferred(m, { x: info([2, 4]), k: { type: 'int64', dims: [2], value } });
    expect(later.infos.get(reshaped)).toEqual(info([4, 2]));
    expect(later.deferred.map(node => node.op)).toEqual(['NonZero', 'Cast']);
  });

  it('does not keep constants that are larger than what makes them', async () => {
    const m = new Model();
    m.input('x', ['n']);
    const shape = m.add('Shape', ['x']);
    const zeros = m.add('ConstantOfShape', [shape]);
    m.output(m.add('Add', ['x', zeros]));
    const small = await inferred(m, { x: info([100]) });
    expect(small.known.map(node => node.op)).toEqual(['Add']);
    const large = await inferred(m, { x: info([1 << 20]) });
    expect(large.known.map(node => node.op)).toEqual(['ConstantOfShape', 'Add']);
    expect(large.infos.get(zeros)).toEqual(info([1 << 20]));
  });

  it('takes a product apart whose residual is not of its shape', async () => {
    const m = new Model();
    m.input('x', ['n', 2, 'h', 'w']);
    m.input('r', ['n', 3, 'h', 'w']);
    const y = m.add('Conv', ['x', m.constant(tensorOf([3, 2, 1, 1], [1, 2, 3, 4, 5, 6]))]);
    m.output(m.add('Relu', [m.add('Add', [y, 'r'])]));
    const [out] = m.outputs.map(o => o.name);
    const [same, larger] = [info([1, 3, 4, 4]), info([1, 3, 4, 4])];
    const together = await inferred(m, { x: info([1, 2, 4, 4]), r: same });
    expect(together.known.map(node => node.op)).toEqual(['Conv']);
    const apart = await inferred(m, { x: info([1, 2, 1, 1]), r: larger });
    expect(apart.known.map(node => node.op)).toEqual(['Conv', 'Add', 'Clip']);
    for (const { infos } of [together, apart]) expect(infos.get(out)).toEqual(info([1, 3, 4, 4]));
  });

  it('handles sizes beyond 32 bits, and omitted outputs', async () => {
    const m = new Model();
    m.input('x', ['n', 4]);
    const [y] = m.several('Dropout', ['x'], 1);
    m.nodes.at(-1)!.outputs.push('');
    m.output(m.add('Expand', [y, m.constant(integers(2 ** 33, 1, 1))]));
    const { infos } = await inferred(m, { x: info([2, 4]) });
    expect(infos.get(m.outputs[0].name)!.dims).toEqual([2 ** 33, 2, 4]);
    expect(infos.has('')).toBe(false);
  });

  it('names the node whose shape cannot be', async () => {
    const m = new Model();
    m.input('x', ['n', 4]);
    m.output(m.add('MatMul', ['x', 'x']));
    await expect(inferred(m, { x: info([2, 4]) })).rejects.toThrow(RuntimeError);
    await expect(inferred(m, { x: info([2, 4]) })).rejects.toThrow(/MatMul_0/);
  });
});
