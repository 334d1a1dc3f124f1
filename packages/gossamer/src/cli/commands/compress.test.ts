import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NDArray, Random } from '@gossamer/tensor';
import { encodeOnnx, readOnnx, writeOnnx } from '@gossamer/tensor/onnx';
import { beforeAll, describe, expect, it } from 'vitest';
import { writeNpz } from '../../data/npy.ts';
import { MLP } from '../../nn/container.ts';
import { gossamer, testFolder, writeMLP, writeModel } from '../testing.ts';

const folder = testFolder();
const mlp = join(folder, 'mlp.onnx');
const npz = join(folder, 'rows.npz');

/** Four classes: which of the first four features is the largest. */
function rows(count: number): Record<string, NDArray> {
  const data = new Random(1).normal(count * 8);
  const labels = Int32Array.from({ length: count }, (_, row) => {
    const four = data.subarray(row * 8, row * 8 + 4);
    return four.indexOf(Math.max(...four));
  });
  return {
    inputs: { dtype: 'float32', shape: [count, 8], data },
    labels: { dtype: 'int32', shape: [count], data: labels },
  };
}

const zeros = (data: ArrayLike<number>) => Array.from(data).filter(v => v === 0).length;

describe('gossamer compress', () => {
  beforeAll(async () => {
    await writeMLP(mlp);
    writeFileSync(npz, writeNpz(rows(400)));
  });

  it('prunes the smallest weights and leaves everything else in the file as it was', async () => {
    const out = join(folder, 'half.onnx');
    const { code, stdout, stderr } = await gossamer('compress', mlp, '--sparsity', '0.5', '-o', out, '-q');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain(`${mlp} → ${out}: 50.00 % of 192 weights are gone (magnitude, uniform)`);
    expect(stdout).toMatch(/^outputs {3}differ by at most [\d.]+ \(largest output [\d.]+; 8 random inputs\)$/m);

    const [before, after] = [await readOnnx(mlp), await readOnnx(out)];
    for (const [name, { data, shape }] of before.graph.initializers) {
      const now = after.graph.initializers.get(name)!;
      expect(now.shape).toEqual(shape);
      if (!name.endsWith('weight')) expect(now.data).toEqual(data);
      else {
        const sizes = Array.from(data as Float32Array, Math.abs).sort((a, b) => a - b);
        const limit = sizes[data.length / 2];
        expect(now.data).toEqual((data as Float32Array).map(w => (Math.abs(w) < limit ? 0 : w)));
      }
    }
    // With the old weights put back, the file is the same to the byte.
    const restored = { ...after, graph: { ...after.graph, initializers: before.graph.initializers } };
    expect(encodeOnnx(restored)).toEqual(encodeOnnx(before));
  });

  it('writes sparse initializers that are read back the same', async () => {
    const [dense, sparse] = [join(folder, 'dense.onnx'), join(folder, 'sparse.onnx')];
    const options = ['compress', mlp, '--sparsity', '0.9', '--allocation', 'global', '--minimum', '8', '--json'];
    const a = await gossamer(...options, '-o', dense);
    const b = await gossamer(...options, '--sparse', '-o', sparse);
    const [x, y] = [JSON.parse(a.stdout), JSON.parse(b.stdout)];
    expect(y.outputs).toEqual(x.outputs);
    expect(x.total).toMatchObject({ parameters: 192, nonzeros: 19 });
    expect(x.layers.every((l: { nonzeros: number }) => l.nonzeros >= 8)).toBe(true);
    expect(y.bytes.after.raw).toBe(readFileSync(sparse).length);
    const [p, q] = [await readOnnx(dense), await readOnnx(sparse)];
    for (const [name, tensor] of p.graph.initializers) {
      const other = q.graph.initializers.get(name)!;
      expect(other.data).toEqual(tensor.data);
      expect(other.sparse ?? false).toBe(name.endsWith('weight'));
    }
  });

  it('keeps a 2:4 pattern in every layer, and excluded layers dense', async () => {
    const out = join(folder, '24.onnx');
    const { stdout } = await gossamer('compress', mlp, '--pattern', '2:4', '--exclude', 'last', '--json', '-o', out);
    expect(JSON.parse(stdout)).toMatchObject({ sparsity: 0.5, excluded: ['layers.1.weight'], excludedShare: 1 / 3 });
    const { initializers } = (await readOnnx(out)).graph;
    const first = initializers.get('layers.0.weight')!.data as Float32Array;
    for (let i = 0; i < first.length; i += 4) expect(zeros(first.subarray(i, i + 4))).toBe(2);
    expect(zeros(initializers.get('layers.1.weight')!.data as Float32Array)).toBe(0);
  });

  it('scores by data, fine-tunes under the mask and measures the files', async () => {
    const out = join(folder, 'tuned.onnx');
    const options = [
      '--method',
      'wanda',
      '--sparsity',
      '0.75',
      '--data',
      npz,
      '--finetune-epochs',
      '20',
      '--lr',
      '0.2',
    ];
    const { code, stdout, stderr } = await gossamer('compress', mlp, ...options, '--json', '-q', '-o', out);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { accuracy, total } = JSON.parse(stdout);
    expect(accuracy.samples).toBe(80);
    expect(accuracy.finetuned).toBeGreaterThan(0.7);
    expect(accuracy.finetuned).toBeGreaterThan(accuracy.pruned);
    expect(total.nonzeros).toBe(48);
    const [before, after] = [await readOnnx(mlp), await readOnnx(out)];
    expect(zeros(after.graph.initializers.get('layers.0.weight')!.data as Float32Array)).toBe(96);
    // Biases were trained, too.
    const bias = (m: typeof before) => m.graph.initializers.get('layers.0.bias')!.data;
    expect(bias(after)).not.toEqual(bias(before));
  });

  it('feeds a model with a fixed batch size as many samples as it takes', async () => {
    const [path, out] = [join(folder, 'fixed.onnx'), join(folder, 'fixed-out.onnx')];
    await writeModel(path, new MLP([8, 4]), { dtype: 'float32', shape: [3, 8] }, null);
    const options = [
      '--sparsity',
      '0.5',
      '--method',
      'fisher',
      '--samples',
      '10',
      '--data',
      npz,
      '--finetune-epochs',
      '1',
    ];
    const { code, stdout } = await gossamer('compress', path, ...options, '--json', '-q', '-o', out);
    expect(code).toBe(0);
    // 80 test samples make 26 batches of 3.
    expect(JSON.parse(stdout).accuracy.samples).toBe(78);
  });

  it('refuses what cannot be done before it writes anything', async () => {
    const place = join(folder, 'refused');
    mkdirSync(place);
    const out = join(place, 'o.onnx');
    const refused: [string[], RegExp][] = [
      [[mlp, '--sparsity', '0.5', '-o', join(place, 'none', 'o.onnx')], /there is no folder/],
      [[mlp, '--sparsity', '0.5', '-o', place], /it is a folder/],
      [[mlp, '--sparsity', '0.5', '-o', out, '--exclude', 'nobody'], /exclude 'nobody': no such layer/],
      [[mlp, '--sparsity', '0.5', '-o', out, '--data', 'nothing.npz'], /--data nothing\.npz: neither a file/],
      [[mlp, '--sparsity', '0.5', '-o', out, '--data', 'digits'], /a sample is \[1, 28, 28\], the model takes \[8\]/],
      [[mlp, '--pattern', 'block:3x3', '--sparsity', '0.5', '-o', out], /not a multiple of block 3x3/],
      [[join(folder, 'none.onnx'), '--sparsity', '0.5', '-o', out], /none\.onnx: cannot be opened/],
    ];
    for (const [args, message] of refused) {
      const { code, stdout, stderr } = await gossamer('compress', ...args);
      expect({ args, code, stdout }).toEqual({ args, code: 1, stdout: '' });
      expect(stderr).toMatch(/^error: [^\n]+\n$/);
      expect(stderr).toMatch(message);
    }
    expect(readdirSync(place)).toEqual([]);
  });

  it('keeps the element type of weights', async () => {
    const [path, out] = [join(folder, 'half-precision.onnx'), join(folder, 'half-out.onnx')];
    const model = await readOnnx(mlp);
    const weight = model.graph.initializers.get('layers.0.weight')!;
    const doubled = { ...weight, dtype: 'float64', data: Float64Array.from(weight.data as Float32Array) } as const;
    const initializers = new Map(model.graph.initializers).set('double', doubled);
    const nodes = [
      {
        name: '',
        opType: 'Cast',
        domain: '',
        inputs: ['double'],
        outputs: ['single'],
        attributes: { to: { type: 'int', value: 1 } as const },
      },
      ...model.graph.nodes.map(n => ({ ...n, inputs: n.inputs.map(i => (i === 'layers.0.weight' ? 'single' : i)) })),
    ];
    initializers.delete('layers.0.weight');
    await writeOnnx(path, { ...model, graph: { ...model.graph, nodes, initializers } });
    expect((await gossamer('compress', path, '--sparsity', '0.5', '-o', out, '-q')).code).toBe(0);
    const after = (await readOnnx(out)).graph.initializers.get('double')!;
    expect([after.dtype, zeros(after.data as Float64Array)]).toEqual(['float64', 64]);
  });

  it.skipIf(process.getuid?.() === 0)('names a folder that may not be written to', async () => {
    const place = join(folder, 'locked');
    mkdirSync(place);
    chmodSync(place, 0o500);
    const { code, stderr } = await gossamer('compress', mlp, '--sparsity', '0.5', '-o', join(place, 'o.onnx'));
    expect(code).toBe(1);
    expect(stderr).toContain('is not writable');
  });
});
