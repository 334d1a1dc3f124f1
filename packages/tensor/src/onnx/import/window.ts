import { check } from '../../errors.ts';
import { formatShape } from '../../operator.ts';
import type { SpatialPadding } from '../../ops/window.ts';
import type { Call } from './call.ts';

/** The attributes that convolution and pooling share, completed for `rank` spatial axes. */
export interface WindowAttributes {
  readonly stride: readonly number[];
  readonly dilation: readonly number[];
  readonly padding: SpatialPadding;
}

export function list(call: Call, name: string, rank: number, fallback: number): readonly number[] {
  const given = call.intList(name) ?? new Array<number>(rank).fill(fallback);
  check(
    given.length === rank,
    () => `attribute ${name} [${given}] has ${given.length} entries, expected ${rank}, one for each spatial axis`,
  );
  return given;
}

/** `[begin, end]` of each axis from ONNX's list of all beginnings and then all ends. */
export function explicitPads(call: Call, rank: number): (readonly [number, number])[] {
  const pads = call.intList('pads') ?? new Array<number>(2 * rank).fill(0);
  check(pads.length === 2 * rank, () => `attribute pads [${pads}] has ${pads.length} entries, expected ${2 * rank}`);
  return Array.from({ length: rank }, (_, i) => [pads[i], pads[i + rank]] as const);
}

export type AutoPad = 'NOTSET' | 'SAME_UPPER' | 'SAME_LOWER' | 'VALID';
export const autoPad = (call: Call): AutoPad =>
  call.choice<AutoPad>('auto_pad', 'NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID');

export function windowAttributes(call: Call, rank: number): WindowAttributes {
  const [stride, dilation] = [list(call, 'strides', rank, 1), list(call, 'dilations', rank, 1)];
  const pads = explicitPads(call, rank);
  const mode = autoPad(call);
  const padding = { NOTSET: pads, SAME_UPPER: 'same', SAME_LOWER: 'sameLower', VALID: 0 } as const;
  return { stride, dilation, padding: padding[mode] };
}

/** Refuses a `kernel_shape` other than the weight's. */
export function checkKernel(call: Call, kernel: readonly number[]): void {
  const given = call.intList('kernel_shape') ?? kernel;
  check(
    formatShape(given) === formatShape(kernel),
    () => `attribute kernel_shape ${formatShape(given)} differs from the weight's ${formatShape(kernel)}`,
  );
}
