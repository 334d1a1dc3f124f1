import { type DType, sizeOf } from '../../dtype.ts';
import { check } from '../../errors.ts';
import { formatShape } from '../../operator.ts';
import { Tensor, tensor } from '../../tensor.ts';
import type { OnnxValue } from '../proto.ts';
import type { Value } from './call.ts';
import { computeDtype, HostConstant } from './host-constant.ts';

const describe = ({ name, dtype, shape }: OnnxValue): string =>
  `'${name}' (${dtype ?? 'any type'}${shape ? `[${shape.map(d => d ?? '?').join(', ')}]` : ''})`;

/** Checks what is fed against the declared inputs and converts it to the types that are computed with. */
export function checkFeeds(inputs: readonly OnnxValue[], feeds: Readonly<Record<string, Tensor>>): Map<string, Tensor> {
  const expected = `; the inputs are ${inputs.map(describe).join(', ') || 'none'}`;
  for (const name of Object.keys(feeds)) {
    check(
      inputs.some(i => i.name === name),
      () => `there is no input '${name}'${expected}`,
    );
  }
  const free = new Map<string, number>();
  return new Map(
    inputs.map(input => {
      const { name, dtype, shape } = input;
      const fed = Object.hasOwn(feeds, name) ? feeds[name] : undefined;
      check(fed instanceof Tensor, () => `input '${name}' is not fed${expected}`);
      check(!input.opaque, () => `input '${name}' has type ${input.opaque?.text}, which cannot be computed with here`);
      const fits =
        shape === null ||
        (shape.length === fed.rank &&
          shape.every((d, i) => {
            if (typeof d === 'string' && !free.has(d)) free.set(d, fed.shape[i]);
            return d === null || (typeof d === 'number' ? d : free.get(d)) === fed.shape[i];
          }));
      check(fits, () => `${formatShape(fed.shape)} is fed for input ${describe(input)}`);
      check(
        dtype === null || computeDtype(fed.dtype) === computeDtype(dtype),
        () => `${fed.dtype} is fed for input ${describe(input)}`,
      );
      return [name, narrowed(name, fed)];
    }),
  );
}

/** 64-bit integers become int32, which their values must fit; those of a lazy tensor are not looked at. */
function narrowed(name: string, fed: Tensor): Tensor {
  const { data } = fed.node;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    const outside = (data as BigInt64Array).find(v => v !== BigInt.asIntN(32, v));
    check(outside === undefined, () => `input '${name}' holds ${outside}, which does not fit int32`);
  }
  return fed.cast(computeDtype(fed.dtype));
}

/** A result in the type that the file declares for it. */
export function asOutput(value: Value, { dtype }: OnnxValue): Tensor {
  if (!(value instanceof HostConstant)) return value.cast(dtype ?? value.dtype);
  return constantOutput(value, dtype ?? value.dtype);
}

const constantOutput = (value: HostConstant, dtype: DType): Tensor =>
  sizeOf(value.shape) > 0 && computeDtype(dtype) === dtype
    ? value.cast(dtype).tensor
    : tensor(value.cast(dtype).array());
