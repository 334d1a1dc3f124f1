import { describe, expect, it } from 'vitest';
import { type Tensor, tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { einsum, matmul } from './matmul.ts';

/** Sum over every assignment of the indices, in float64. */
async function bruteForce(equation: string, operands: readonly Tensor[]): Promise<number[]> {
  const [left, right] = equation.split('->');
  const terms = left.split(',');
  const sizes = new Map(terms.flatMap((t, i) => [...t].map((c, a) => [c, operands[i].shape[a]] as const)));
  const letters = [...sizes.keys()];
  const data = await Promise.all(operands.map(t => t.data()));
  const offset = (term: string, at: Map<string, number>) =>
    [...term].reduce((o, c) => o * sizes.get(c)! + at.get(c)!, 0);
  const out = new Array<number>([...right].reduce((n, c) => n * sizes.get(c)!, 1)).fill(0);
  const total = letters.reduce((n, c) => n * sizes.get(c)!, 1);
  for (let e = 0; e < total; e++) {
    const at = new Map<string, number>();
    let rest = e;
    for (const c of letters) {
      at.set(c, rest % sizes.get(c)!);
      rest = Math.floor(rest / sizes.get(c)!);
    }
    out[offset(right, at)] += data.reduce((p, d, i) => p * d[offset(terms[i], at)], 1);
  }
  return out;
}

const size: Record<string, number> = { a: 2, b: 3, i: 4, j: 2, k: 5, l: 3 };
const operand = (term: string, seed: number) =>
  randn(
    [...term].map(c => size[c]),
    seed,
  );

describe('matmul', () => {
  const cases: [a: number[], b: number[], equation: string, out: number[]][] = [
    [[4, 5], [5, 3], 'ik,kl->il', [4, 3]],
    [[2, 4, 5], [5, 3], 'aik,kl->ail', [2, 4, 3]],
    [[4, 5], [2, 5, 3], 'ik,akl->ail', [2, 4, 3]],
    [[2, 4, 5], [2, 5, 3], 'aik,akl->ail', [2, 4, 3]],
    [[5], [5, 3], 'k,kl->l', [3]],
    [[2, 4, 5], [5], 'aik,k->ai', [2, 4]],
    [[5], [5], 'k,k->', []],
    [[5], [2, 5, 3], 'k,akl->al', [2, 3]],
  ];

  it.each(cases)('%j × %j', async (a, b, equation, out) => {
    const [x, y] = [randn(a, 1), randn(b, 2)];
    const z = matmul(x, y);
    expect(z.shape).toEqual(out);
    const expected = await bruteForce(equation, [x, y]);
    (await z.data()).forEach((v, i) => {
      expect(v).toBeCloseTo(expected[i], 4);
    });
  });

  it('broadcasts leading axes', async () => {
    const [x, y] = [randn([2, 1, 4, 5], 1), randn([3, 5, 2], 2)];
    const z = matmul(x, y);
    expect(z.shape).toEqual([2, 3, 4, 2]);
    const expected = await bruteForce('aik,bkj->abij', [x.reshape([2, 4, 5]), y]);
    (await z.data()).forEach((v, i) => {
      expect(v).toBeCloseTo(expected[i], 4);
    });
  });

  it('reads transposed operands', async () => {
    const [x, y] = [randn([2, 5, 4], 1), randn([2, 3, 5], 2)];
    const expected = await bruteForce('aki,alk->ail', [x, y]);
    (await x.transpose().matmul(y.transpose()).data()).forEach((v, i) => {
      expect(v).toBeCloseTo(expected[i], 4);
    });
  });

  it('has right gradients in every form', async () => {
    for (const [a, b] of [
      ...cases.map(([p, q]) => [p, q]),
      [
        [2, 1, 4, 5],
        [3, 5, 2],
      ],
    ]) {
      const options = { samples: 3 };
      await checkGradients((x, y) => matmul(x, y), [randn(a, 1), randn(b, 2)], options);
    }
    const swapped = [randn([2, 5, 4], 1), randn([2, 3, 5], 2), randn([3, 5], 3), randn([5, 4], 4)];
    await checkGradients(
      (x, y, z, w) => [
        x.transpose().matmul(y.transpose()),
        y.matmul(w),
        x.transpose().matmul(z.transpose()),
        w.transpose().matmul(z.transpose()),
        z.matmul(x),
      ],
      swapped,
      { samples: 4 },
    );
  });

  it('multiplies integers', async () => {
    const z = matmul(tensor(Int32Array.of(1, 2, 3, 4), [2, 2]), tensor(Int32Array.of(5, 6), [2, 1]));
    expect([z.dtype, await z.tolist()]).toEqual(['int32', [[17], [39]]]);
  });

  it('says what does not fit', () => {
    expect(() => matmul(randn([64, 128]), randn([64, 10]))).toThrow(
      'matmul: [64, 128] × [64, 10]: inner dimensions 128 and 64 differ',
    );
    expect(() => matmul(randn([2, 3, 4]), randn([3, 4, 5]))).toThrow(/do not broadcast/);
    expect(() => matmul(tensor(1), randn([3]))).toThrow('matmul: a scalar has no rows; use mul');
    expect(() => matmul(randn([2, 2]), tensor(new Int32Array(4), [2, 2]))).toThrow(
      'matmul: dtypes float32 and int32 differ',
    );
  });
});

describe('einsum', () => {
  it.each([
    'ij,jk->ik',
    'ij,jk->ki',
    'aij,ajk->aik',
    'ij->ji',
    'ij->',
    'ij->j',
    'i,j->ij',
    'i,i->',
    'i,i->i',
    'abik,abkj->abij',
    'ik,jk,lk->ijl',
    'aij,bj,ab->ib',
    'ij,kl->',
    'abi,bj->aij',
    'ab,ab->ba',
    'ijk,->kj',
  ])('%s equals the brute force', async equation => {
    const operands = equation.split('->')[0].split(',').map(operand);
    const y = einsum(equation, ...operands);
    expect(y.shape).toEqual([...equation.split('->')[1]].map(c => size[c]));
    const expected = await bruteForce(equation, operands);
    (await y.data()).forEach((v, i) => {
      expect(v).toBeCloseTo(expected[i], 4);
    });
  });

  it('has right gradients', async () => {
    await checkGradients(
      (x, y, z) => [einsum('aij,bj,ab->ib', x, y, z), einsum('aij,ab->bji', x, z), einsum('bj,bj->', y, y)],
      ['aij', 'bj', 'ab'].map(operand),
      { samples: 6 },
    );
  });

  it('explains itself', () => {
    const [x, y] = [randn([2, 3]), randn([3, 4])];
    for (const bad of ['ij,jk', 'ij->ik', 'ii,jk->jk', 'ij,jk->ix', 'ij,jk,kl->il']) {
      expect(() => einsum(bad, x, y)).toThrow(`einsum: '${bad}' is not a valid equation for 2 operands`);
    }
    expect(() => einsum('ij,jkl->ik', x, y)).toThrow("einsum: 'jkl' names 3 axes, operand 1 is [3, 4]");
    expect(() => einsum('ij,ik->jk', x, y)).toThrow("einsum: index i is 2 and 3 in 'ij,ik->jk'");
  });
});
