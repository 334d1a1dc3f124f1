import { describe, expect, it } from 'vitest';
import { compile } from './compile.ts';
import { gradients } from './gradients.ts';
import { Parameter, substitute } from './parameter.ts';
import { tensor } from './tensor.ts';
import { randn } from './testing.ts';

const parameter = (values: number[], name = 'p') => new Parameter(tensor(values), { name });

describe('Parameter', () => {
  it('changes for graphs that are built after an assignment, not before', async () => {
    const p = parameter([1, 2]);
    const before = p.mul(10);
    const current = p.current();
    p.assign(p.add(1));
    const after = p.mul(10);
    expect(await before.tolist()).toEqual([10, 20]);
    expect(await after.tolist()).toEqual([20, 30]);
    expect(await current.tolist()).toEqual([1, 2]);
    expect(await p.tolist()).toEqual([2, 3]);
  });

  it('takes data', async () => {
    const p = parameter([1, 2]);
    p.set(Float32Array.of(5, 6));
    expect(await p.add(0).tolist()).toEqual([5, 6]);
    expect(() => p.set(new Float32Array(3))).toThrow('Parameter p: cannot assign Float32Array of 3 to float32[2]');
    expect(() => p.set(new Int32Array(2))).toThrow('cannot assign Int32Array of 2 to float32[2]');
  });

  it('refuses another shape or dtype', () => {
    const p = parameter([1, 2], 'layer.bias');
    expect(() => p.assign(randn([3]))).toThrow('Parameter layer.bias: cannot assign float32[3] to float32[2]');
    expect(() => p.assign(tensor(new Int32Array(2)))).toThrow('cannot assign int32[2] to float32[2]');
    expect(() => new Parameter({ dtype: 'float32', shape: [3], data: new Float32Array(2) })).toThrow(
      'Parameter : 2 elements do not fill [3]',
    );
    expect(`${p}`).toBe('Parameter layer.bias float32[2]');
  });

  it('refuses set() while a function is compiled', async () => {
    const p = parameter([1, 2]);
    const f = compile(() => {
      p.set(new Float32Array(2));
      return p.sum();
    });
    await expect(f()).rejects.toThrow('set() inside a compiled function would run only once; use assign()');
  });
});

describe('substitute', () => {
  it('lets another tensor stand for the parameter, and gives its gradient', async () => {
    const w = parameter([3, 4]);
    const masked = w.mul(tensor([1, 0]));
    const [dEffective, dw] = substitute(new Map([[w, masked]]), () =>
      gradients(w.mul(tensor([5, 7])).sum(), [masked]).concat(gradients(w.mul(tensor([5, 7])).sum(), [w])),
    );
    expect(await dEffective.tolist()).toEqual([5, 7]);
    expect(await dw.tolist()).toEqual([5, 7]);
    expect(await w.tolist()).toEqual([3, 4]);
  });

  it('keeps what is assigned meanwhile, restores the rest, also after an error', async () => {
    const [w, statistic] = [parameter([1]), parameter([2])];
    substitute(
      new Map([
        [w, w.mul(10)],
        [statistic, statistic.mul(10)],
      ]),
      () => {
        statistic.assign(w.add(1));
      },
    );
    expect([await w.item(), await statistic.item()]).toEqual([1, 11]);
    expect(() =>
      substitute(new Map([[w, w.mul(3)]]), () => {
        throw new Error('inside');
      }),
    ).toThrow('inside');
    expect(await w.item()).toBe(1);
    expect(() => substitute(new Map([[w, randn([2])]]), () => 0)).toThrow(
      'substitute: Tensor float32[2] does not fit Parameter p float32[1]',
    );
  });

  it('nests', async () => {
    const w = parameter([1]);
    const inside = substitute(new Map([[w, w.add(1)]]), () => [
      substitute(new Map([[w, w.mul(10)]]), () => w.add(0)),
      w.add(0),
    ]);
    expect(await Promise.all(inside.map(t => t.item()))).toEqual([20, 2]);
    expect(await w.item()).toBe(1);
  });

  it('works inside compiled functions, with leaves and other parameters too', async () => {
    const [w, other] = [parameter([1]), parameter([100])];
    const mask = tensor([7]);
    const f = compile(() => {
      const leaf = substitute(new Map([[w, mask]]), () => w.add(0));
      const swapped = substitute(new Map([[w, other.current()]]), () => w.add(0));
      const plain = w.add(0);
      w.assign(w.add(1));
      other.assign(other.add(1));
      return [leaf, swapped, plain];
    });
    for (let i = 0; i < 3; i++) {
      expect(await Promise.all((await f()).map(t => t.item()))).toEqual([7, 100 + i, 1 + i]);
    }
  });

  it('may assign the substituted parameter itself in a compiled function', async () => {
    const w = parameter([1]);
    const f = compile(() => {
      substitute(new Map([[w, w.mul(2)]]), () => {
        w.assign(w.add(1));
      });
    });
    for (let i = 0; i < 3; i++) await f();
    expect(await w.item()).toBe(15);
  });
});
