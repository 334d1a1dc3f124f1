/** Functions of one number that JavaScript's Math lacks. */

/** The error function to a few units in the last place of a float64: Σ 2ⁿx²ⁿ⁺¹ / (2n+1)!! · 2/√π · exp(−x²). */
export function erf(x: number): number {
  if (!(Math.abs(x) < 6)) return Math.sign(x);
  let [term, sum] = [x, x];
  for (let n = 1; sum + term !== sum; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** ln(1 + eˣ) without overflow. */
export const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

export const gelu = (x: number): number => 0.5 * x * (1 + erf(x * Math.SQRT1_2));
export const geluTanh = (x: number): number =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));

/** Truncates a float to a BigInt; what no int64 can hold becomes its smallest value, as on x86. */
export const toBig = (x: number): bigint => (Math.abs(x) < 2 ** 64 ? BigInt(Math.trunc(x)) : -(2n ** 63n));

/** The first of two numbers (or BigInts) when `first` says so, else the second. */
export const pick =
  (first: (a: number, b: number) => boolean) =>
  (a: number, b: number): number =>
    first(a, b) ? a : b;
