/** One step of LSTM and GRU cells, after their products; standard activations, gates in ONNX's order. */
import type { Address, Emitter } from '../plan/emitter.ts';

interface Cell {
  readonly batch: number;
  readonly hidden: number;
}

/** gates[batch, i|o|f|c, hidden] = x·Wᵀ + h·Rᵀ + bias. Replaces cell[batch, hidden], writes h[batch, hidden]. */
export function lstmCell(
  e: Emitter,
  {
    gates,
    cell,
    h,
    peepholes = 0,
    batch,
    hidden,
  }: Cell & {
    readonly gates: Address;
    readonly cell: Address;
    readonly h: Address;
    /** [i|o|f, hidden]. */
    readonly peepholes?: Address;
  },
): void {
  e.step('lstmCell', gates, cell, peepholes, h, batch, hidden);
}

/** For linear_before_reset = 0: y[batch, hidden] = r · before, to be multiplied by the candidate's R. x and h as in gruCell. */
export function gruReset(
  e: Emitter,
  {
    x,
    h,
    before,
    y,
    batch,
    hidden,
  }: Cell & {
    readonly x: Address;
    readonly h: Address;
    readonly before: Address;
    readonly y: Address;
  },
): void {
  e.step('gruReset', x, h, before, y, batch, hidden);
}

/**
 * y = (1 − z) · tanh(x_h + inner) + z · before, where x and h, [batch, z|r|h, hidden], are x·Wᵀ + bias and before·Rᵀ + bias,
 * and inner is r · h_h (linear_before_reset = 1), or `candidate` when given: the product of gruReset plus its bias.
 */
export function gruCell(
  e: Emitter,
  {
    x,
    h,
    candidate = 0,
    before,
    y,
    batch,
    hidden,
  }: Cell & {
    readonly x: Address;
    readonly h: Address;
    readonly candidate?: Address;
    readonly before: Address;
    /** May be `before`. */
    readonly y: Address;
  },
): void {
  e.step('gruCell', x, h, candidate, before, y, batch, hidden);
}
