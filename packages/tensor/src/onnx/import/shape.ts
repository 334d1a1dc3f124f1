/** Operators whose values are known while the graph is built: shapes, constants, ranges. */
import { sizeOf } from '../../dtype.ts';
import { check } from '../../errors.ts';
import { full } from '../../ops/constant.ts';
import type { OnnxTensor } from '../proto.ts';
import { foldLimit, type Import } from './call.ts';
import { computeDtype, HostConstant, stridesOf } from './host-constant.ts';

export const Shape: Import = call => {
  const { shape } = call.value(0);
  const list = shape.slice(call.int('start', 0), call.int('end', shape.length));
  return HostConstant.fromValues('int64', [list.length], list);
};

export const Size: Import = call => HostConstant.fromValues('int64', [], [sizeOf(call.value(0).shape)]);

/** One object for each tensor of the file, so that repeated calls of a graph share a leaf. */
const known = new WeakMap<OnnxTensor, HostConstant>();
function stored(tensor: OnnxTensor): HostConstant {
  const constant = known.get(tensor) ?? HostConstant.fromArray(tensor);
  known.set(tensor, constant);
  return constant;
}

export const Constant: Import = call => {
  const tensor = call.tensorAttribute('value') ?? call.tensorAttribute('sparse_value');
  if (tensor) return stored(tensor);
  const [float, int] = [call.float('value_float', Number.NaN), call.int('value_int')];
  const [floats, ints] = [call.floatList('value_floats'), call.intList('value_ints')];
  if (int !== undefined) return HostConstant.fromValues('int64', [], [int]);
  if (ints) return HostConstant.fromValues('int64', [ints.length], ints);
  if (floats) return HostConstant.fromValues('float32', [floats.length], floats);
  if (call.unread().length > 0) call.fail(`attribute ${call.unread()[0]} is no number`);
  if (!Object.hasOwn(call.node.attributes, 'value_float')) call.fail('attribute value is missing');
  return HostConstant.fromValues('float32', [], [float]);
};

export const ConstantOfShape: Import = call => {
  const shape = call.ints(0, 'shape');
  check(
    shape.every(d => d >= 0),
    () => `its shape [${shape}] has negative sizes`,
  );
  const attribute = call.tensorAttribute('value');
  const value = attribute ? HostConstant.fromArray(attribute) : HostConstant.fromValues('float32', [], [0]);
  if (value.size !== 1) call.fail(`its value has ${value.size} elements, expected 1`);
  if (sizeOf(shape) <= foldLimit) return value.reshape([]).expand(shape);
  return full(shape, value.values[0], computeDtype(value.dtype));
};

export const Range: Import = call => {
  const [start, limit, delta] = ['start', 'limit', 'delta'].map((name, i) => {
    const { size, values } = call.constant(i, name);
    return size === 1 ? values[0] : call.fail(`its ${name} has ${size} elements, expected 1`);
  });
  const length = Math.max(0, Math.ceil((limit - start) / delta));
  if (!Number.isSafeInteger(length) || length > 2 ** 31)
    call.fail(`from ${start} to ${limit} in steps of ${delta} does not end`);
  return HostConstant.fromValues(
    call.value(0).dtype,
    [length],
    Float64Array.from({ length }, (_, i) => start + i * delta),
  );
};

/** Positions of elements that are not zero, one column each. How many there are must not depend on data. */
export const NonZero: Import = call => {
  const x = call.constant(0, 'input');
  const found = [...x.values.keys()].filter(i => x.values[i] !== 0);
  const rows = stridesOf(x.shape).map((s, axis) => found.map(i => Math.floor(i / s) % x.shape[axis]));
  return HostConstant.fromValues('int64', [x.rank, found.length], rows.flat());
};

export const EyeLike: Import = call => {
  const x = call.value(0);
  if (x.rank !== 2) call.fail(`its input has ${x.rank} axes, expected 2`);
  const [n, m] = x.shape;
  const [k, dtype] = [call.int('k', 0), call.dtype('dtype') ?? x.dtype];
  return HostConstant.fromValues(
    dtype,
    [n, m],
    Float64Array.from({ length: n * m }, (_, i) => Number((i % m) - Math.floor(i / m) === k)),
  );
};
