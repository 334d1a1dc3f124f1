/**
 * Elementary functions of float64 from `+ − × ÷ √` and integer operations alone. ECMAScript fixes those to the last bit
 * but leaves `Math.log`, `Math.exp` and their kin to each engine; random numbers must not depend on the engine.
 */

const view = new DataView(new ArrayBuffer(8));

/** 2^k for −1022 ≤ k ≤ 1023, exactly. */
function powerOfTwo(k: number): number {
  view.setInt32(0, (k + 1023) << 20);
  view.setInt32(4, 0);
  return view.getFloat64(0);
}

const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;

/**
 * Natural logarithm of a positive normal number, error below 1 ulp.
 * Method: fdlibm `e_log.c` (Sun Microsystems): x = 2^k (1 + f), atanh series in f / (2 + f).
 */
export function log(x: number): number {
  view.setFloat64(0, x);
  // Shift so that 1 + f lies in [√½, √2).
  const high = view.getInt32(0) + (0x3ff00000 - 0x3fe6a09e);
  const k = (high >> 20) - 0x3ff;
  view.setInt32(0, (high & 0xfffff) + 0x3fe6a09e);
  const f = view.getFloat64(0) - 1;
  const half = 0.5 * f * f;
  const s = f / (2 + f);
  const z = s * s;
  const w = z * z;
  const even = w * (0.3999999999940942 + w * (0.22222198432149784 + w * 0.15313837699209373));
  const odd = z * (0.6666666666666735 + w * (0.2857142874366239 + w * (0.1818357216161805 + w * 0.14798198605116586)));
  return s * (half + even + odd) + k * LN2_LOW - half + f + k * LN2_HIGH;
}

/**
 * e^x for x ≤ 709, error below 1 ulp (0 below −745). Method: fdlibm `e_exp.c`: x = k ln 2 + r, rational in r.
 */
export function exp(x: number): number {
  if (x < -745.2) return 0;
  const k = Math.floor(x * Math.LOG2E + 0.5);
  const high = x - k * LN2_HIGH;
  const low = k * LN2_LOW;
  const r = high - low;
  const z = r * r;
  const c =
    r -
    z *
      (0.16666666666666602 +
        z *
          (-0.0027777777777015593 +
            z * (0.00006613756321437934 + z * (-0.0000016533902205465252 + z * 4.1381367970572385e-8))));
  const y = 1 + ((r * c) / (2 - c) - low + high);
  return k >= -1000 ? y * powerOfTwo(k) : y * powerOfTwo(k + 100) * powerOfTwo(-100);
}

/**
 * Φ(x), the standard normal distribution function; relative error below 1e-12 for x ≥ −37.
 * Marsaglia's series (2004) near 0, the continued fraction of Mills' ratio in the tails.
 */
export function normalCdf(x: number): number {
  if (x > 0) return 1 - normalCdf(-x);
  const z = -x;
  if (z === Number.POSITIVE_INFINITY) return 0;
  const density = exp(-0.5 * z * z) * 0.3989422804014327;
  if (z < 3) {
    let sum = z;
    for (let term = z, n = 3; term > 1e-18; n += 2) sum += term *= (z * z) / n;
    return 0.5 - density * sum;
  }
  let fraction = z;
  for (let n = 100; n > 0; n--) fraction = z + n / fraction;
  return density / fraction;
}

/**
 * Φ⁻¹(p) for 0 < p < 1, relative error about 1e-16. Rational approximations PPND16 of Wichura, "Algorithm AS 241"
 * (Applied Statistics 37, 1988).
 */
export function normalQuantile(p: number): number {
  const q = p - 0.5;
  return q >= -0.425 && q <= 0.425 ? quantileCentre(q) : quantileTail(q < 0 ? p : 1 - p, q < 0 ? -1 : 1);
}

// Two functions because the first is small enough for engines to inline, which saves boxing its result.
function quantileCentre(q: number): number {
  const r = 0.180625 - q * q;
  return (
    (q *
      (((((((2509.0809287301227 * r + 33430.57558358813) * r + 67265.7709270087) * r + 45921.95393154987) * r +
        13731.69376550946) *
        r +
        1971.5909503065513) *
        r +
        133.14166789178438) *
        r +
        3.387132872796366)) /
    (((((((5226.495278852854 * r + 28729.085735721943) * r + 39307.89580009271) * r + 21213.794301586597) * r +
      5394.196021424751) *
      r +
      687.1870074920579) *
      r +
      42.31333070160091) *
      r +
      1)
  );
}

function quantileTail(p: number, sign: number): number {
  let r = Math.sqrt(-log(p));
  if (r <= 5) {
    r -= 1.6;
    return (
      (sign *
        (((((((0.0007745450142783414 * r + 0.022723844989269184) * r + 0.2417807251774506) * r + 1.2704582524523684) *
          r +
          3.6478483247632045) *
          r +
          5.769497221460691) *
          r +
          4.630337846156546) *
          r +
          1.4234371107496837)) /
      (((((((1.0507500716444169e-9 * r + 0.0005475938084995344) * r + 0.015198666563616457) * r + 0.14810397642748008) *
        r +
        0.6897673349851) *
        r +
        1.6763848301838038) *
        r +
        2.053191626637759) *
        r +
        1)
    );
  }
  r -= 5;
  return (
    (sign *
      (((((((2.0103343992922881e-7 * r + 0.000027115555687434876) * r + 0.0012426609473880784) * r +
        0.026532189526576124) *
        r +
        0.29656057182850487) *
        r +
        1.7848265399172913) *
        r +
        5.463784911164114) *
        r +
        6.657904643501104)) /
    (((((((2.0442631033899397e-15 * r + 1.421511758316446e-7) * r + 0.000018463183175100548) * r +
      0.0007868691311456133) *
      r +
      0.014875361290850615) *
      r +
      0.1369298809227358) *
      r +
      0.599832206555888) *
      r +
      1)
  );
}
