import { check, concat, formatShape, linear, multiOperator, split, stack, type Tensor } from '@gossamer/tensor';

/**
 * Whole sequences through one recurrent layer. Forwards they are ONNX's LSTM and GRU; backwards everything but the
 * recursion itself is done for all steps at once: gates and their derivatives, and one product for each weight.
 */

/** Pieces along the last axis. */
const columns = (x: Tensor, ...lengths: number[]): Tensor[] => split(x, lengths, -1);

/** The slices along the first axis. */
export const steps = (x: Tensor): Tensor[] => split(x, x.shape[0]).map(t => t.squeeze(0));

/** What was there before each step: [t, n, h] moved by one step behind its start [n, h]. */
const delayed = (x: Tensor, start: Tensor): Tensor => concat([start.unsqueeze(0), x.slice(0, 0, x.shape[0] - 1)]);

/** Derivative of σ and of tanh in terms of their values. */
const sigmoidSlope = (y: Tensor): Tensor => y.sub(y.mul(y));
const tanhSlope = (y: Tensor): Tensor => y.mul(y).neg().add(1);

/** ∂/∂W of x·Wᵀ over all steps and samples. */
const weightGradient = (g: Tensor, x: Tensor): Tensor =>
  g
    .reshape([-1, g.shape[2]])
    .transpose()
    .matmul(x.reshape([-1, x.shape[2]]));

const checkShapes = (name: string, inputs: readonly { shape: readonly number[] }[], gates: number): void => {
  const [x, w, u] = inputs;
  const [, batch, width] = x.shape;
  const hidden = u.shape[1];
  const vectors = inputs.slice(3).map(v => formatShape(v.shape));
  const state = formatShape([batch, hidden]);
  check(
    x.shape.length === 3 &&
      formatShape(w.shape) === formatShape([gates * hidden, width]) &&
      formatShape(u.shape) === formatShape([gates * hidden, hidden]) &&
      vectors.every(v => v === state || v === formatShape([gates * hidden])),
    () =>
      `${name}: inputs ${inputs.map(i => formatShape(i.shape)).join(', ')}: expected [time, batch, in], [${gates}·hidden, in], [${gates}·hidden, hidden], biases and states`,
  );
};

const lstmOp = multiOperator<object>({
  name: 'lstm',
  infer: inputs => {
    checkShapes('lstm', inputs, 4);
    const [x, , u, , , c0] = inputs;
    return [{ shape: [x.shape[0], x.shape[1], u.shape[1]], dtype: x.dtype }, c0];
  },
  gradient: ({ inputs: [x, w, u, bias, h0, c0], outputs: [y], grads: [dy, dLast], needs }) => {
    const hidden = u.shape[1];
    const previous = delayed(y, h0);
    const gates = columns(linear(x, w, bias).add(linear(previous, u)), 2 * hidden, hidden, hidden);
    const [i, f] = columns(gates[0].sigmoid(), hidden, hidden);
    const [g, o] = [gates[1].tanh(), gates[2].sigmoid()];
    const forget = steps(f);
    const cells: Tensor[] = [];
    for (const [t, fresh] of steps(i.mul(g)).entries()) cells.push(forget[t].mul(cells.at(-1) ?? c0).add(fresh));
    const c = stack(cells);
    const squashed = c.tanh();
    const slopes = steps(
      concat(
        [
          g.mul(sigmoidSlope(i)),
          delayed(c, c0).mul(sigmoidSlope(f)),
          i.mul(tanhSlope(g)),
          squashed.mul(sigmoidSlope(o)),
        ],
        2,
      ),
    );
    const through = steps(o.mul(tanhSlope(squashed)));
    const dGates: Tensor[] = [];
    let [carry, dc]: (Tensor | undefined)[] = [undefined, dLast];
    const outputs = steps(dy);
    for (let t = outputs.length - 1; t >= 0; t--) {
      const dh: Tensor = carry ? outputs[t].add(carry) : outputs[t];
      dc = dc!.add(dh.mul(through[t]));
      const d: Tensor = concat([dc, dc, dc, dh], 1).mul(slopes[t]);
      dGates.unshift(d);
      carry = d.matmul(u);
      dc = dc.mul(forget[t]);
    }
    const d = stack(dGates);
    return [
      needs(0) ? d.matmul(w) : undefined,
      needs(1) ? weightGradient(d, x) : undefined,
      needs(2) ? weightGradient(d, previous) : undefined,
      needs(3) ? d.sum([0, 1]) : undefined,
      carry,
      dc,
    ];
  },
  emit: (b, [x, w, u, bias, h0, c0], { inputs: [, , { shape }] }) => {
    const hidden = shape[1];
    // PyTorch's order of gates is i, f, g, o, ONNX's i, o, f, g.
    const ordered = (weight: string) => {
      const [i, f, g, o] = b.multi('Split', [weight], { axis: 0, num_outputs: 4 }, 4);
      return b.node('Concat', [i, o, f, g], { axis: 0 });
    };
    const front = (t: string) => b.node('Unsqueeze', [t, b.dims([0])]);
    const noBias = b.constant({ dtype: 'float32', shape: [4 * hidden], data: new Float32Array(4 * hidden) });
    const biases = b.node('Concat', [ordered(bias), noBias], { axis: 0 });
    const inputs = [x, front(ordered(w)), front(ordered(u)), front(biases), '', front(h0), front(c0)];
    const [y, , last] = b.multi('LSTM', inputs, { hidden_size: hidden }, 3);
    return [b.node('Squeeze', [y, b.dims([1])]), b.node('Squeeze', [last, b.dims([0])])];
  },
});

/**
 * LSTM over x [time, batch, in] with gates in the order i, f, g, o.
 *
 * @param w [4·hidden, in]; u [4·hidden, hidden]; bias [4·hidden]; h0, c0 [batch, hidden]
 * @returns all outputs [time, batch, hidden] and the last cell state [batch, hidden]
 */
export const lstm = (x: Tensor, w: Tensor, u: Tensor, bias: Tensor, h0: Tensor, c0: Tensor): [Tensor, Tensor] =>
  lstmOp([x, w, u, bias, h0, c0], {}) as [Tensor, Tensor];

const gruOp = multiOperator<object>({
  name: 'gru',
  infer: inputs => {
    checkShapes('gru', inputs, 3);
    const [x, , u] = inputs;
    return [{ shape: [x.shape[0], x.shape[1], u.shape[1]], dtype: x.dtype }];
  },
  gradient: ({ inputs: [x, w, u, bias, hiddenBias, h0], outputs: [y], grads: [dy], needs }) => {
    const hidden = u.shape[1];
    const previous = delayed(y, h0);
    const [xGates, xNew] = columns(linear(x, w, bias), 2 * hidden, hidden);
    const [hGates, hNew] = columns(linear(previous, u, hiddenBias), 2 * hidden, hidden);
    const [r, z] = columns(xGates.add(hGates).sigmoid(), hidden, hidden);
    const n = xNew.add(r.mul(hNew)).tanh();
    // ∂h/∂(…) for the arguments of n, z and r.
    const toNew = tanhSlope(n).mul(z.neg().add(1));
    const toUpdate = previous.sub(n).mul(sigmoidSlope(z));
    const toReset = toNew.mul(hNew).mul(sigmoidSlope(r));
    const slopes = steps(concat([toReset, toUpdate, toNew.mul(r)], 2));
    const kept = steps(z);
    const outputs = steps(dy);
    const dHidden: Tensor[] = [];
    const dStates: Tensor[] = [];
    let carry: Tensor | undefined;
    for (let t = outputs.length - 1; t >= 0; t--) {
      const dh: Tensor = carry ? outputs[t].add(carry) : outputs[t];
      const d: Tensor = concat([dh, dh, dh], 1).mul(slopes[t]);
      dStates.unshift(dh);
      dHidden.unshift(d);
      carry = dh.mul(kept[t]).add(d.matmul(u));
    }
    const dh = stack(dStates);
    const dFromHidden = stack(dHidden);
    const dFromInput = concat([dh.mul(toReset), dh.mul(toUpdate), dh.mul(toNew)], 2);
    return [
      needs(0) ? dFromInput.matmul(w) : undefined,
      needs(1) ? weightGradient(dFromInput, x) : undefined,
      needs(2) ? weightGradient(dFromHidden, previous) : undefined,
      needs(3) ? dFromInput.sum([0, 1]) : undefined,
      needs(4) ? dFromHidden.sum([0, 1]) : undefined,
      carry,
    ];
  },
  emit: (b, [x, w, u, bias, hiddenBias, h0], { inputs: [, , { shape }] }) => {
    // PyTorch's order of gates is r, z, n, ONNX's z, r, n.
    const ordered = (weight: string) => {
      const [r, z, n] = b.multi('Split', [weight], { axis: 0, num_outputs: 3 }, 3);
      return b.node('Concat', [z, r, n], { axis: 0 });
    };
    const front = (t: string) => b.node('Unsqueeze', [t, b.dims([0])]);
    const biases = b.node('Concat', [ordered(bias), ordered(hiddenBias)], { axis: 0 });
    const inputs = [x, front(ordered(w)), front(ordered(u)), front(biases), '', front(h0)];
    const [y] = b.multi('GRU', inputs, { hidden_size: shape[1], linear_before_reset: 1 }, 1);
    return [b.node('Squeeze', [y, b.dims([1])])];
  },
});

/**
 * GRU over x [time, batch, in] with gates in the order r, z, n and the reset gate after the hidden product.
 *
 * @param w [3·hidden, in]; u [3·hidden, hidden]; bias, hiddenBias [3·hidden]; h0 [batch, hidden]
 * @returns all outputs [time, batch, hidden]
 */
export const gru = (x: Tensor, w: Tensor, u: Tensor, bias: Tensor, hiddenBias: Tensor, h0: Tensor): Tensor =>
  gruOp([x, w, u, bias, hiddenBias, h0], {})[0];
