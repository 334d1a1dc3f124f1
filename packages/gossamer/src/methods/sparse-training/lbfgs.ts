/** A function's value and gradient at a point. */
export type Objective = (x: Float64Array) => { readonly value: number; readonly gradient: Float64Array };

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** a + f·b */
function along(a: Float64Array, f: number, b: Float64Array): Float64Array {
  const out = new Float64Array(a.length);
  for (let i = 0; i < a.length; i++) out[i] = a[i] + f * b[i];
  return out;
}

/** Relative decrease of the value over {@link PATIENCE} steps below which the search ends. */
const TOLERANCE = 1e-10;
const PATIENCE = 10;

/**
 * Minimises a smooth function of few variables by L-BFGS (Liu & Nocedal 1989) with a backtracking line search. Stops when
 * no direction lowers the value any more, or after `iterations` (default 300).
 *
 * @param memory pairs of steps and gradient changes that are kept; default 10
 */
export function minimize(
  objective: Objective,
  start: Float64Array,
  { iterations = 300, memory = 10 }: { readonly iterations?: number; readonly memory?: number } = {},
): { readonly x: Float64Array; readonly value: number } {
  let x = start;
  let { value, gradient } = objective(x);
  let before = Number.POSITIVE_INFINITY;
  let pairs: { s: Float64Array; y: Float64Array; rho: number }[] = [];
  for (let i = 0; i < iterations; i++) {
    if (i % PATIENCE === 0) {
      if (before - value <= TOLERANCE * Math.abs(value)) break;
      before = value;
    }
    let direction = descent(gradient, pairs);
    let slope = dot(direction, gradient);
    if (!(slope < 0)) {
      pairs = [];
      direction = gradient.map(g => -g);
      slope = -dot(gradient, gradient);
    }
    if (!(slope < -1e-24)) break;
    // The first step is short: nothing is known of the curvature yet.
    let length = pairs.length > 0 ? 1 : Math.min(1, 0.1 / Math.sqrt(-slope));
    let next = x;
    let found: ReturnType<Objective> | undefined;
    for (let k = 0; k < 40; k++, length /= 2) {
      next = along(x, length, direction);
      const tried = objective(next);
      if (tried.value <= value + 1e-4 * length * slope) {
        found = tried;
        break;
      }
    }
    if (!found) {
      if (pairs.length === 0) break;
      pairs = [];
      continue;
    }
    const s = along(next, -1, x);
    const y = along(found.gradient, -1, gradient);
    const curvature = dot(s, y);
    if (curvature > 1e-14 * dot(y, y)) pairs = [...pairs, { s, y, rho: 1 / curvature }].slice(-memory);
    x = next;
    ({ value, gradient } = found);
  }
  return { x, value };
}

/** −H·g with the inverse Hessian that the pairs describe (the two-loop recursion). */
function descent(gradient: Float64Array, pairs: readonly { s: Float64Array; y: Float64Array; rho: number }[]) {
  let q: Float64Array = gradient.map(g => -g);
  const alphas = pairs.map(() => 0);
  for (let i = pairs.length - 1; i >= 0; i--) {
    const { s, y, rho } = pairs[i];
    alphas[i] = rho * dot(s, q);
    q = along(q, -alphas[i], y);
  }
  const last = pairs.at(-1);
  if (last) {
    const scale = 1 / (last.rho * dot(last.y, last.y));
    q = q.map(v => v * scale);
  }
  for (const [i, { s, y, rho }] of pairs.entries()) {
    const beta = rho * dot(y, q);
    q = along(q, alphas[i] - beta, s);
  }
  return q;
}
