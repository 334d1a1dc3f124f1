/** LSTM and GRU: the inputs' share of all gates as one product, then a product with the state and a cell for each step. */
import { gemm } from '../kernels/dense.ts';
import { gruCell, gruReset, lstmCell } from '../kernels/dense-recurrent.ts';
import { copy } from '../kernels/movement.ts';
import { sparseTokens } from '../kernels/sparse.ts';
import { number, text, texts } from '../ops/operator.ts';
import type { Info } from '../values.ts';
import { type Address, type Emitter, shift } from './emitter.ts';
import type { Extension } from './extensions.ts';
import type { Lower, Lowering } from './lowering.ts';
import { inspect, name, type Products } from './products.ts';

/** Kernel calls that a node may become. */
const MOST_STEPS = 2000;

/** Memory and constants that the steps of all products have in common. */
function shared(e: Emitter): () => Emitter {
  const kept = new Map<string, Address>();
  const once = (key: string, make: () => Address): Address => {
    if (!kept.has(key)) kept.set(key, make());
    return kept.get(key)!;
  };
  return () => {
    let next = 0;
    return {
      threads: e.threads,
      constant: (key, make) => once(key, () => e.constant(key, make)),
      scratch: bytes => once(`scratch ${next++} ${bytes}`, () => e.scratch(bytes)),
      step: (kernel, ...args) => e.step(kernel, ...args),
    };
  };
}

interface Weights {
  readonly data: Float32Array;
  readonly rows: number;
  readonly cols: number;
  readonly key: string;
  readonly bias?: Float32Array;
}

interface Activations {
  readonly x: Address;
  readonly y: Address;
  readonly tokens: number;
  /** From one row of y to the next; the weights' rows when absent. */
  readonly ld?: number;
  readonly residual?: Address;
}

/** y[tokens, rows] = x[tokens, cols] · Wᵀ + bias + residual. */
type Product = (weights: Weights, activations: Activations) => void;

function productsOf(l: Lowering, { choose, wide }: Products): Product {
  const emitter = shared(l.emitter);
  return ({ data, rows, cols, key, bias }, { x, y, tokens, ld = rows, residual }) => {
    const matrix = { weight: data, rows, cols, rowStride: cols, colStride: 1 };
    const found = inspect(matrix);
    const { density, nonzeros } = found;
    const kind = tokens === 1 ? 'vector' : 'tokens';
    const dense = tokens > 1 && ld !== rows;
    const pattern = dense ? undefined : choose({ kind, rows, cols, uses: tokens, density, nonzeros }, found);
    const e = emitter();
    if (pattern) sparseTokens(e, { ...matrix, bias, pattern, key, wide }, { x, y, tokens, residual });
    else
      gemm(e, {
        ...{ m: tokens, n: rows, k: cols, a: { at: x }, b: { data, key, transposed: true }, c: { at: y, ld } },
        columnBias: bias && e.constant(`${key} bias`, () => bias),
        residual: residual === undefined ? undefined : { at: residual },
      });
    const flops = 2 * rows * cols * tokens;
    l.report.flops += Math.round(pattern ? flops * density : flops);
    l.report.skipped += Math.round(pattern ? flops * (1 - density) : 0);
    if (pattern) l.report.kernel = `${l.node.op} ${name(pattern)}`;
  };
}

const GATES = {
  LSTM: { count: 4, activations: ['sigmoid', 'tanh', 'tanh'] },
  GRU: { count: 3, activations: ['sigmoid', 'tanh'] },
} as const;

const isZero = ({ value }: Info): boolean => value !== undefined && (value.data as Float32Array).every(v => v === 0);

/** Whether the node is of the form that the kernels know. */
function isUsual(l: Lowering, length: number): boolean {
  const { node, inputs } = l;
  const { activations } = GATES[node.op as 'LSTM'];
  const given = texts(node, 'activations') ?? [];
  const usual = given.every((f, i) => f.toLowerCase() === activations[i % activations.length]);
  if (!usual || node.attributes.clip !== undefined || number(node, 'layout', 0) || number(node, 'input_forget', 0))
    return false;
  const lengths = inputs[4];
  if (lengths && !(lengths.value && [...lengths.value.data].every(n => Number(n) === length))) return false;
  return inputs.every((info, i) => !info || i === 4 || info.type === 'float32');
}

const recurrent =
  (products: Products): Lower =>
  l => {
    const { node, emitter } = l;
    const isLstm = node.op === 'LSTM';
    const { count } = GATES[node.op as 'LSTM'];
    const [length, batch, features] = l.inputs[0]!.dims;
    const [w, r, b, peepholes] = [1, 2, 3, 7].map(i => l.weight(i));
    if (!isUsual(l, length) || !w || !r || (l.inputs[3] && !b) || (l.inputs[7] && !peepholes)) return false;
    const [directions, width, hidden] = r.dims;
    const linear = isLstm || number(node, 'linear_before_reset', 0) !== 0;
    if (length * directions * (linear ? 2 : 4) > MOST_STEPS) return false;

    const product = productsOf(l, products);
    l.report.kernel = node.op.toLowerCase();
    const state = 4 * batch * hidden;
    const gates = 4 * batch * width;
    const scratch = (bytes: number) => emitter.scratch(bytes);
    const zeros = () => emitter.constant(`zeros ${state}`, () => new Uint8Array(state));
    const flat = { dims: [batch * hidden], xStrides: [1], yStrides: [1] };
    const all = scratch(length * gates);
    const sum = scratch(gates);
    // The state where no output takes it; the cell, or the state times the reset gate; the candidate.
    const [kept, inner, candidate] = [scratch(state), scratch(state), linear ? 0 : scratch(state)];
    for (let d = 0; d < directions; d++) {
      /** Rows [from, to) of a direction's weights, in units of gates. */
      const part = (from: number, to: number, of = r, cols = hidden): Weights => {
        const start = (d * width + from * hidden) * cols;
        const rows = (to - from) * hidden;
        const whole = rows * cols === of.data.length;
        const data = whole ? of.data : of.data.subarray(start, start + rows * cols);
        return { data, rows, cols, key: [of.key, d, from, to].join(' ') };
      };
      const biased = (weights: Weights, kind: string, bias: (j: number, x: number, h: number) => number): Weights => {
        if (!b) return weights;
        const at = 2 * d * width;
        const data = Float32Array.from({ length: width }, (_, j) => bias(j, b.data[at + j], b.data[at + width + j]));
        return { ...weights, bias: data, key: `${weights.key} ${b.key} ${kind}` };
      };
      /** The state's own share of the candidate stays out, where the reset gate multiplies it together with its bias. */
      const apart = (j: number) => !isLstm && linear && j >= 2 * hidden;
      const fromInput = biased(part(0, count, w, features), 'x', (j, x, h) => (apart(j) ? x : x + h));
      product(fromInput, { x: l.x(0), y: all, tokens: length * batch });
      const fromState =
        !isLstm && linear ? biased(part(0, count), 'h', (j, _, h) => (apart(j) ? h : 0)) : part(0, linear ? count : 2);

      const forCandidate = linear ? undefined : part(2, 3);

      const wanted = (i: number, at: number) => (node.outputs[i] ? shift(l.y(i), at * state) : undefined);
      const initial = (i: number) => (l.inputs[i] && !isZero(l.inputs[i]) ? shift(l.x(i), d * state) : undefined);
      const cell = isLstm ? (wanted(2, d) ?? inner) : 0;
      if (isLstm) copy(emitter, { x: initial(6) ?? zeros(), y: cell, ...flat });
      const last = wanted(1, d);
      let before = initial(5) ?? (isLstm ? undefined : zeros());
      const backwards = d === 1 || text(node, 'direction', 'forward') === 'reverse';
      for (let s = 0; s < length; s++) {
        const t = backwards ? length - 1 - s : s;
        const x = shift(all, t * gates);
        const own = wanted(0, t * directions + d);
        const y = own ?? (s === length - 1 && last !== undefined ? last : kept);
        const sizes = { batch, hidden };
        if (isLstm) {
          if (before !== undefined) product(fromState, { x: before, y: sum, tokens: batch, residual: x });
          const peep = peepholes && shift(l.x(7), 4 * d * 3 * hidden);
          lstmCell(emitter, { gates: before === undefined ? x : sum, cell, h: y, peepholes: peep, ...sizes });
        } else {
          product(fromState, { x: before!, y: sum, tokens: batch, ld: width });
          const step = { x, h: sum, before: before!, ...sizes };
          if (!linear) {
            gruReset(emitter, { ...step, y: inner });
            product(forCandidate!, { x: inner, y: candidate, tokens: batch });
          }
          gruCell(emitter, { ...step, candidate: linear ? undefined : candidate, y });
        }
        before = y;
        if (own !== undefined && s === length - 1 && last !== undefined) copy(emitter, { x: own, y: last, ...flat });
      }
    }
    return true;
  };

export const extension: Extension = {
  lowerings: products => ({ LSTM: recurrent(products), GRU: recurrent(products) }),
};
