/** Operators that pick, place, rank and mark elements by position. */
import { sizeOf } from '../../dtype.ts';
import { formatShape, normalizeAxis } from '../../operator.ts';
import { arange } from '../../ops/constant.ts';
import { where } from '../../ops/elementwise.ts';
import * as ops from '../../ops/gather.ts';
import { concat } from '../../ops/movement.ts';
import { argmax, argmin, topk } from '../../ops/sort.ts';
import type { Tensor } from '../../tensor.ts';
import type { Call, Import } from './call.ts';
import { HostConstant } from './host-constant.ts';

const indicesOf = (call: Call, i: number): Tensor => call.tensor(i).cast('int32');

export const Gather: Import = call => {
  const x = call.value(0);
  const axis = call.axis(0, x.rank);
  const indices = call.known(1);
  if (indices && x instanceof HostConstant) return x.gather(axis, indices);
  if (indices?.size === 1) {
    // One position is a slice, whose gradient is cheaper.
    const [raw] = indices.values;
    const index = raw < 0 ? raw + x.shape[axis] : raw;
    if (!(index >= 0 && index < x.shape[axis]))
      call.fail(`index ${raw} is out of range for axis ${axis} of ${formatShape(x.shape)}`);
    const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
    return call
      .tensor(0)
      .slice(axis, index, index + 1)
      .reshape(shape);
  }
  return ops.gather(call.tensor(0), indicesOf(call, 1), axis);
};

export const GatherElements: Import = call =>
  ops.gatherElements(call.tensor(0), indicesOf(call, 1), call.axis(0, call.value(0).rank));

/** Leading `batch_dims` axes of data and indices run in parallel: their positions become further coordinates. */
export const GatherND: Import = call => {
  const [x, indices] = [call.tensor(0), indicesOf(call, 1)];
  const b = call.int('batch_dims', 0);
  if (b === 0) return ops.gatherND(x, indices);
  if (!(b > 0 && b < x.rank && b < indices.rank))
    call.fail(`attribute batch_dims ${b} does not fit ${formatShape(x.shape)}`);
  const batch = sizeOf(x.shape.slice(0, b));
  const ids = indices.reshape([batch, ...indices.shape.slice(b)]);
  const lead = ids.shape.slice(0, -1);
  const sample = arange(batch)
    .reshape([batch, ...lead.slice(1).map(() => 1), 1])
    .expand([...lead, 1]);
  const y = ops.gatherND(x.reshape([batch, ...x.shape.slice(b)]), concat([sample, ids], -1));
  return y.reshape([...x.shape.slice(0, b), ...y.shape.slice(1)]);
};

export const ScatterElements: Import = call => {
  const x = call.tensor(0);
  const axis = call.axis(0, x.rank);
  const reduction = call.choice('reduction', 'none', 'add');
  return ops.scatterElements(x, indicesOf(call, 1), call.tensor(2), axis, reduction === 'add' ? 'add' : 'replace');
};
/** The name of ScatterElements in operator set 9. */
export const Scatter = ScatterElements;

export const ScatterND: Import = call => {
  const [x, indices, updates] = [call.tensor(0), indicesOf(call, 1), call.tensor(2)];
  if (call.choice('reduction', 'none', 'add') === 'add') return ops.scatterND(x, indices, updates);
  // The coordinates of a slice become the number of a row of [rows, width].
  const k = indices.shape.at(-1) ?? 0;
  if (!(k >= 1 && k <= x.rank)) call.fail(`indices ${formatShape(indices.shape)} do not fit ${formatShape(x.shape)}`);
  const [rows, width] = [sizeOf(x.shape.slice(0, k)), sizeOf(x.shape.slice(k))];
  const coordinates = indices.reshape([-1, k]);
  let row: Tensor | undefined;
  for (let i = 0; i < k; i++) {
    const raw = coordinates.slice(1, i, i + 1);
    const position = where(raw.lt(0), raw.add(x.shape[i]), raw);
    row = row ? row.mul(x.shape[i]).add(position) : position;
  }
  const count = coordinates.shape[0];
  return ops
    .scatterElements(x.reshape([rows, width]), row!.expand([count, width]), updates.reshape([count, width]), 0)
    .reshape(x.shape);
};

/** `values` are what stands elsewhere and at the position; positions outside of [−depth, depth) mark nothing. */
export const OneHot: Import = call => {
  const indices = indicesOf(call, 0);
  const [depth] = call.ints(1, 'depth');
  const values = call.tensor(2);
  if (!(depth > 0) || values.size !== 2)
    call.fail(`depth ${depth} and values ${formatShape(values.shape)} are not valid`);
  const axis = normalizeAxis('attribute axis', call.int('axis', -1), indices.rank + 1);
  const wrapped = where(indices.lt(0), indices.add(depth), indices).unsqueeze(axis);
  const positions = arange(depth).reshape([depth, ...indices.shape.slice(axis).map(() => 1)]);
  return where(wrapped.eq(positions), values.slice(0, 1, 2).squeeze(0), values.slice(0, 0, 1).squeeze(0));
};

/** The upper (or lower) triangle of the last two axes, shifted by `k` diagonals; zero elsewhere. */
export const Trilu: Import = call => {
  const x = call.value(0);
  if (x.rank < 2) call.fail(`${formatShape(x.shape)} has no rows and columns`);
  const k = call.has(1) ? (call.ints(1, 'k')[0] ?? 0) : 0;
  const upper = call.flag('upper', true);
  const [rows, columns] = x.shape.slice(-2);
  if (x instanceof HostConstant) {
    const values = x.values.map((v, i) => {
      const distance = (i % columns) - (Math.floor(i / columns) % rows);
      return (upper ? distance >= k : distance <= k) ? v : 0;
    });
    return HostConstant.fromValues(x.dtype, x.shape, values);
  }
  const distance = arange(columns).sub(arange(rows).unsqueeze(1));
  const kept = upper ? distance.ge(k) : distance.le(k);
  return x.dtype === 'bool' ? x.and(kept) : where(kept, x, 0);
};

export const CumSum: Import = call => {
  const x = call.tensor(0);
  const axis = call.ints(1, 'axis')[0] ?? call.fail('its axis is empty');
  return x.cumsum(axis, { exclusive: call.flag('exclusive'), reverse: call.flag('reverse') });
};

const argExtremum =
  (fn: typeof argmax): Import =>
  call => {
    const x = call.tensor(0);
    const axis = call.axis(0, x.rank);
    const keep = call.flag('keepdims', true);
    const y = x.dtype === 'float32' ? x : x.cast('int32');
    if (!call.flag('select_last_index')) return fn(y, axis, keep);
    return fn(y.flip(axis), axis, keep)
      .neg()
      .add(x.shape[axis] - 1);
  };
export const ArgMax = argExtremum(argmax);
export const ArgMin = argExtremum(argmin);

/** `k` is an attribute in operator set 7 to 9, an input from 10 on. */
export const TopK: Import = call => {
  const x = call.tensor(0);
  const k = (call.opset < 10 ? call.int('k') : call.ints(1, 'k')[0]) ?? call.fail('its k is missing');
  const options = { largest: call.flag('largest', true), sorted: call.flag('sorted', true) };
  const [values, indices] = topk(x.dtype === 'float32' ? x : x.cast('int32'), k, call.axis(-1, x.rank), options);
  return [values.cast(x.dtype), indices];
};

/** Slices where a condition, which must be known, holds; without an axis, elements. */
export const Compress: Import = call => {
  const given = call.int('axis');
  const x = given === undefined ? call.tensor(0).reshape([-1]) : call.tensor(0);
  const condition = call.constant(1, 'condition').values;
  const chosen = [...condition.keys()].filter(i => condition[i] !== 0);
  const indices = HostConstant.fromValues('int32', [chosen.length], chosen);
  return ops.gather(x, indices.tensor, given ?? 0);
};
