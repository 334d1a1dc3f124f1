import { describe, expect, it } from 'vitest';
import { exp, normalCdf } from './elementary.ts';
import { Random } from './random.ts';

const hex = (a: Float32Array | Uint32Array) =>
  Array.from(new Uint32Array(a.buffer, a.byteOffset, a.length), x => x.toString(16).padStart(8, '0')).join(' ');

const mean = (x: ArrayLike<number>) => Array.from(x).reduce((s, v) => s + v, 0) / x.length;
const variance = (x: ArrayLike<number>) => {
  const m = mean(x);
  return mean(Array.from(x, v => (v - m) ** 2));
};

/** Largest distance between the sample's distribution and `cdf`, times √n: above 1.95 once in 1000 samples. */
function kolmogorov(sample: Float32Array, cdf: (x: number) => number): number {
  const sorted = sample.slice().sort();
  let distance = 0;
  sorted.forEach((x, i) => {
    const p = cdf(x);
    distance = Math.max(distance, p - i / sorted.length, (i + 1) / sorted.length - p);
  });
  return distance * Math.sqrt(sorted.length);
}

/** Pearson's statistic against `expected`, as deviations from its mean in standard deviations. */
function chiSquare(counts: ArrayLike<number>, expected: (i: number) => number): number {
  let statistic = 0;
  for (let i = 0; i < counts.length; i++) statistic += (counts[i] - expected(i)) ** 2 / expected(i);
  return (statistic - (counts.length - 1)) / Math.sqrt(2 * (counts.length - 1));
}

describe('golden values', () => {
  // Computed apart from this code, in Python: statistics.NormalDist().inv_cdf, math.log and big-integer products.
  const golden = () => new Random(42).fork('golden');

  it('keys', () => {
    expect(golden().toJSON()).toEqual({ key: [3264973534, 491428304], counter: 0 });
    expect(new Random(-1n).key).toEqual([0xffffffff, 0xffffffff]);
    expect(new Random(-1).key).toEqual([0xffffffff, 0xffffffff]);
    expect(new Random(2 ** 40 + 5).key).toEqual([5, 256]);
    expect(new Random('text').key).toEqual([911032211, 4233622750]);
  });

  it.each([
    ['bits', (r: Random) => r.bits(5), '12c2d8db f1356947 e3a6165a aba2b331 979e4491'],
    ['uniform', (r: Random) => r.uniform(5, -1, 3), 'bf34f4a0 40313569 4023a616 3fd74566 3faf3c88'],
    ['normal', (r: Random) => r.normal(5), 'bfb9d2ee 3fc96ee7 3f9c7d05 3ee1dfb4 3e6ef5b2'],
    [
      'truncatedNormal',
      (r: Random) => r.truncatedNormal(5, 0, 0.02, 1, 3),
      '3d36abb6 3caa1d41 3cb01800 3ccbc22b 3cd7322a',
    ],
    ['exponential', (r: Random) => r.exponential(5, 2), '3fa741cb 3cf3c62e 3d70617e 3e4cb320 3e861886'],
    ['gumbel', (r: Random) => r.gumbel(5), 'bf75ed0f 403493da 40091cfe 3f6ab221 3f258916'],
  ])('%s', (_, draw, bits) => {
    expect(hex(draw(golden()))).toBe(bits);
  });

  it('discrete', () => {
    expect([...golden().integers(6, -1000, 1000)]).toEqual([-854, 778, 184, 725, -387, -320]);
    expect([...golden().permutation(10)]).toEqual([0, 9, 6, 1, 5, 2, 8, 3, 7, 4]);
    expect(
      golden()
        .shuffle([...'abcdefgh'])
        .join(''),
    ).toBe('ahfbcgde');
    expect([...golden().choice(4, 1000)]).toEqual([73, 889, 593, 863]);
    expect(golden().bernoulli(12, 0.4).join('')).toBe('100001001010');
    expect(golden().categorical([1, 2, 3, 4], 12).join('')).toBe('032322332322');
    expect(golden().categorical([0, 1, -1], 12, { logits: true }).join('')).toBe('011111111111');
  });

  it('a checksum over a million values of each kind', async () => {
    const digests: Record<string, string> = {
      uniform: '279ca084ffada23c',
      normal: '69ac11a1a4260ed6',
      truncatedNormal: '9e8b953886ac1883',
      exponential: '2f7eb29eaa4b0473',
      gumbel: 'ba6ad442439ab8b9',
    };
    for (const name of ['uniform', 'normal', 'truncatedNormal', 'exponential', 'gumbel'] as const) {
      const digest = await crypto.subtle.digest('SHA-256', new Random(0)[name](1e6));
      expect([name, Buffer.from(digest).toString('hex').slice(0, 16)]).toEqual([name, digests[name]]);
    }
  });
});

describe('state', () => {
  const draws: Record<string, [(r: Random, n: number) => unknown, (n: number) => number]> = {
    bits: [(r, n) => r.bits(n), n => Math.ceil(n / 2)],
    uniform: [(r, n) => r.uniform(n), n => Math.ceil(n / 2)],
    normal: [(r, n) => r.normal(n), n => Math.ceil(n / 2)],
    truncatedNormal: [(r, n) => r.truncatedNormal(n), n => Math.ceil(n / 2)],
    exponential: [(r, n) => r.exponential(n), n => Math.ceil(n / 2)],
    gumbel: [(r, n) => r.gumbel(n), n => Math.ceil(n / 2)],
    bernoulli: [(r, n) => r.bernoulli(n), n => Math.ceil(n / 2)],
    integers: [(r, n) => r.integers(n, 0, 7), n => n],
    permutation: [(r, n) => r.permutation(n), n => n],
    shuffle: [(r, n) => r.shuffle(new Float32Array(n)), n => n],
    choice: [(r, n) => r.choice(n, 10_000), n => n],
    categorical: [(r, n) => r.categorical([1, 2], n), n => n],
  };

  it.each(Object.keys(draws))('%s advances the counter by the documented number of blocks and replays', name => {
    const [draw, blocks] = draws[name];
    const random = new Random(3);
    for (const n of [0, 1, 2, 5, 4095, 4096, 4097, 9001]) {
      const before = random.counter;
      const values = draw(random, n);
      expect(random.counter - before).toBe(blocks(n));
      random.counter = before;
      expect(draw(random, n)).toEqual(values);
    }
  });

  it('a rows × n categorical takes a block a draw', () => {
    const random = new Random(3);
    random.categorical({ dtype: 'float32', shape: [3, 2], data: new Float32Array(6).fill(1) }, 5);
    expect(random.counter).toBe(15);
  });

  it('draws of even length are pieces of one stream, across chunk borders', () => {
    const whole = new Random('pieces').normal(10_000);
    const random = new Random('pieces');
    const parts = [random.normal(2), random.normal(5000), random.normal(4998)].flatMap(x => [...x]);
    expect(parts).toEqual([...whole]);
  });

  it('survives JSON and continues', () => {
    const random = new Random(2n ** 63n);
    random.normal(11);
    const copy = Random.fromJSON(JSON.parse(JSON.stringify(random)));
    expect(hex(copy.bits(9))).toBe(hex(random.bits(9)));
    expect(copy.toJSON()).toEqual(random.toJSON());
  });

  it('crosses 2³² blocks without repeating', () => {
    const random = new Random(1);
    random.counter = 2 ** 32 - 1;
    const across = random.bits(4);
    expect([...across.subarray(2)]).not.toEqual([...new Random(1).bits(2)]);
    random.counter = 2 ** 32;
    expect([...random.bits(2)]).toEqual([...across.subarray(2)]);
  });

  it('forks depend on the key and the name, not on the counter', () => {
    const random = new Random(1);
    const early = random.fork('a').bits(4);
    random.bits(100);
    expect(hex(random.fork('a').bits(4))).toBe(hex(early));
    expect(random.counter).toBe(50);
    expect(hex(random.fork('b').bits(4))).not.toBe(hex(early));
    expect(hex(new Random(2).fork('a').bits(4))).not.toBe(hex(early));
  });

  it('forks, their parent and neighbouring seeds are uncorrelated', () => {
    const n = 20_000;
    const root = new Random(5);
    const streams = [root, root.fork(0), root.fork(1), root.fork('0'), root.fork(0).fork(0), new Random(6)];
    const samples = streams.map(s => s.normal(n));
    for (let a = 0; a < samples.length; a++) {
      for (let b = 0; b < a; b++) {
        for (const lag of [0, 1]) {
          let sum = 0;
          for (let i = lag; i < n; i++) sum += samples[a][i] * samples[b][i - lag];
          expect(Math.abs(sum / Math.sqrt(n))).toBeLessThan(4);
        }
      }
    }
  });
});

describe('continuous distributions', () => {
  const n = 100_000;

  it.each([
    ['uniform', (r: Random) => r.uniform(n, -3, 5), (x: number) => (x + 3) / 8],
    ['normal', (r: Random) => r.normal(n, 2, 3), (x: number) => normalCdf((x - 2) / 3)],
    [
      'truncatedNormal',
      (r: Random) => r.truncatedNormal(n, 1, 0.5),
      (x: number) => (normalCdf((x - 1) / 0.5) - normalCdf(-2)) / (normalCdf(2) - normalCdf(-2)),
    ],
    [
      'truncatedNormal in the upper tail',
      (r: Random) => r.truncatedNormal(n, 0, 1, 6, Number.POSITIVE_INFINITY),
      (x: number) => 1 - normalCdf(-x) / normalCdf(-6),
    ],
    ['exponential', (r: Random) => r.exponential(n, 4), (x: number) => 1 - exp(-4 * x)],
    ['gumbel', (r: Random) => r.gumbel(n), (x: number) => exp(-exp(-x))],
  ])('%s passes Kolmogorov–Smirnov', (name, draw, cdf) => {
    expect(kolmogorov(draw(new Random(name)), cdf)).toBeLessThan(1.95);
  });

  it('normal has the right first four moments', () => {
    const x = new Random(8).normal(n);
    expect(Math.abs(mean(x)) * Math.sqrt(n)).toBeLessThan(4);
    expect(Math.abs(variance(x) - 1) * Math.sqrt(n / 2)).toBeLessThan(4);
    expect(Math.abs(mean(x.map(v => v ** 3))) * Math.sqrt(n / 15)).toBeLessThan(4);
    expect(Math.abs(mean(x.map(v => v ** 4)) - 3) * Math.sqrt(n / 96)).toBeLessThan(4);
  });

  it('uniform fills every 24-bit step and stays below its upper bound', () => {
    const x = new Random(4).uniform(n);
    expect(x.every(v => v >= 0 && v < 1 && Number.isInteger(v * 2 ** 24))).toBe(true);
    expect(x.some(v => (v * 2 ** 24) % 2 === 1)).toBe(true);
    // float32 spacing is 2⁻²⁰ at 8 and the range has four of them: most draws would round up to the bound.
    const high = 8 + 2 ** -18;
    const narrow = new Random(4).uniform(1000, 8, high);
    expect(new Set(narrow)).toEqual(new Set([0, 1, 2, 3].map(i => 8 + i * 2 ** -20)));
    // 0.1 lies below its float32 neighbour, so the least value allowed is that neighbour.
    expect(new Random(4).uniform(1000, 0.1, 0.1 + 2 ** -24).every(v => v >= 0.1 && v < 0.1 + 2 ** -24)).toBe(true);
  });

  it('truncatedNormal never leaves its bounds', () => {
    for (const [low, high] of [
      [-2, 2],
      [-0.001, 0.001],
      [3, 3.1],
      [-9, -8],
    ]) {
      const x = new Random(9).truncatedNormal(n, 0, 1, low, high);
      expect(x.every(v => v >= Math.fround(low) && v <= Math.fround(high))).toBe(true);
    }
  });

  it('fills the array it is given, and only that', () => {
    const buffer = new Float32Array(10);
    const view = buffer.subarray(2, 7);
    expect(new Random(1).normal(view)).toBe(view);
    expect([...view]).toEqual([...new Random(1).normal(5)]);
    expect([buffer[1], buffer[7]]).toEqual([0, 0]);
  });
});

describe('discrete distributions', () => {
  it('permutation holds every index once, and all orders of 4 are equally likely', () => {
    const random = new Random(10);
    expect([...random.permutation(5000)].sort((a, b) => a - b)).toEqual(Array.from({ length: 5000 }, (_, i) => i));
    const counts = new Map<string, number>();
    for (let i = 0; i < 24_000; i++) {
      const key = random.permutation(4).join();
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    expect(Math.abs(chiSquare([...counts.values()], () => 1000))).toBeLessThan(4);
  });

  it('integers are uniform, reach both ends, and cover the whole int32 range', () => {
    const counts = new Float64Array(13);
    for (const v of new Random(11).integers(130_000, -6, 7)) counts[v + 6]++;
    expect(Math.abs(chiSquare(counts, () => 10_000))).toBeLessThan(4);
    const wide = new Random(11).integers(100_000, -(2 ** 31), 2 ** 31);
    expect(kolmogorov(Float32Array.from(wide), x => (x + 2 ** 31) / 2 ** 32)).toBeLessThan(1.95);
    expect([...new Random(11).integers(9, 5, 6)]).toEqual(Array(9).fill(5));
  });

  it('integers equal the 128-bit product', () => {
    const [low, high] = [-7, 2 ** 31 - 3];
    const words = new Random(12).bits(200);
    const values = new Random(12).integers(100, low, high);
    values.forEach((v, i) => {
      const fraction = (BigInt(words[2 * i]) << 32n) | BigInt(words[2 * i + 1]);
      expect(v).toBe(low + Number((fraction * BigInt(high - low)) >> 64n));
    });
  });

  it('choice is the start of a permutation, without repeats', () => {
    expect([...new Random(13).choice(300, 300)]).toEqual([...new Random(13).permutation(300)]);
    expect([...new Random(13).choice(20, 300)]).toEqual([...new Random(13).permutation(300).subarray(0, 20)]);
    expect(new Set(new Random(13).choice(1000, 2 ** 31)).size).toBe(1000);
    expect(new Random(13).choice(0, 0)).toHaveLength(0);
  });

  it('shuffle moves the elements of lists and typed arrays alike', () => {
    const list = Array.from({ length: 100 }, (_, i) => `item ${i}`);
    const shuffled = new Random(14).shuffle(list.slice());
    expect(shuffled).not.toEqual(list);
    expect(shuffled.slice().sort()).toEqual(list.slice().sort());
    const wide = new Random(14).shuffle(BigInt64Array.from(list, (_, i) => BigInt(i)));
    expect(Array.from(wide, i => list[Number(i)])).toEqual(shuffled);
  });

  it('bernoulli keeps its probability and its certain ends', () => {
    const n = 100_000;
    const p = mean(new Random(15).bernoulli(n, 0.3));
    expect(Math.abs(p - 0.3) * Math.sqrt(n / 0.21)).toBeLessThan(4);
    expect(new Random(15).bernoulli(1000, 0).every(x => x === 0)).toBe(true);
    expect(new Random(15).bernoulli(1000, 1).every(x => x === 1)).toBe(true);
  });

  it('categorical follows its weights row by row, from probabilities and from logits', () => {
    const n = 40_000;
    const weights = [1, 0, 3, 6, 2, 2, 0, 1];
    const rows = { dtype: 'float32', shape: [2, 4], data: Float32Array.from(weights) } as const;
    const logits = { ...rows, data: Float32Array.from(weights, w => Math.log(w) + 50) };
    const drawn = new Random(16).categorical(rows, n);
    for (const out of [drawn, new Random(16).categorical(logits, n, { logits: true })]) {
      for (const row of [0, 1]) {
        const counts = new Float64Array(4);
        for (const v of out.subarray(row * n, (row + 1) * n)) counts[v]++;
        const w = weights.slice(row * 4, row * 4 + 4);
        w.forEach((x, i) => {
          if (x === 0) expect(counts[i]).toBe(0);
        });
        const some = [0, 1, 2, 3].filter(i => w[i] > 0);
        const total = w.reduce((a, b) => a + b);
        expect(
          Math.abs(
            chiSquare(
              some.map(i => counts[i]),
              i => (n * w[some[i]]) / total,
            ),
          ),
        ).toBeLessThan(4);
      }
    }
  });

  it('argmax of logits plus gumbel samples the softmax', () => {
    const logits = [0, 1, 2];
    const noise = new Random(17).gumbel(90_000);
    const counts = [0, 0, 0];
    for (let i = 0; i < noise.length; i += 3) {
      const x = logits.map((l, j) => l + noise[i + j]);
      counts[x.indexOf(Math.max(...x))]++;
    }
    const total = logits.reduce((s, l) => s + exp(l), 0);
    expect(Math.abs(chiSquare(counts, i => (30_000 * exp(logits[i])) / total))).toBeLessThan(4);
  });
});

describe('refusals', () => {
  const r = () => new Random(0);
  it.each([
    ['seed 1.5', () => new Random(1.5)],
    ['seed NaN', () => new Random(Number.NaN)],
    ['bits of seed', () => new Random(2n ** 64n)],
    ['key', () => Random.fromJSON({ key: [1, 2 ** 32], counter: 0 })],
    ['counter', () => Random.fromJSON({ key: [1, 2], counter: -1 })],
    ['state', () => Random.fromJSON(null as never)],
    ['fork', () => r().fork(-1)],
    ['count', () => r().uniform(-1)],
    ['count', () => r().permutation(1.5)],
    ['count', () => r().bits(Number.NaN)],
    ['empty range', () => r().uniform(1, 1, 1)],
    ['range without float32', () => r().uniform(1, 1 + 1e-9, 1 + 2e-9)],
    ['infinite range', () => r().uniform(1, 0, Number.POSITIVE_INFINITY)],
    ['std', () => r().normal(1, 0, -1)],
    ['mean', () => r().normal(1, Number.NaN)],
    ['bounds', () => r().truncatedNormal(1, 0, 1, 2, 1)],
    ['mass', () => r().truncatedNormal(1, 0, 1, 40, 41)],
    ['rate', () => r().exponential(1, 0)],
    ['probability', () => r().bernoulli(1, 1.1)],
    ['integers', () => r().integers(1, 3, 3)],
    ['int32', () => r().integers(1, 0, 2 ** 32)],
    ['too many', () => r().choice(4, 3)],
    ['negative weight', () => r().categorical([1, -1])],
    ['zero weights', () => r().categorical([0, 0])],
    ['NaN logit', () => r().categorical([0, Number.NaN], 1, { logits: true })],
    ['infinite logit', () => r().categorical([0, Number.POSITIVE_INFINITY], 1, { logits: true })],
    ['impossible logits', () => r().categorical([Number.NEGATIVE_INFINITY], 1, { logits: true })],
    ['no classes', () => r().categorical([])],
    ['shape', () => r().categorical({ dtype: 'float32', shape: [2, 2], data: new Float32Array(3) })],
  ])('%s', (_, draw) => {
    expect(draw).toThrowError(expect.objectContaining({ name: 'GossamerError' }));
  });

  it('names the offending weight', () => {
    const data = Float32Array.of(1, 1, 1, -2);
    expect(() => r().categorical({ dtype: 'float32', shape: [2, 2], data })).toThrow('weight [1, 1] is -2');
  });

  it('an exhausted counter', () => {
    const random = Random.fromJSON({ key: [0, 0], counter: Number.MAX_SAFE_INTEGER - 1 });
    expect(() => random.bits(100)).toThrow('fork a new stream');
  });
});
