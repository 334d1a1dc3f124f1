// Rules of every kernel
// - Pointers are byte addresses of 64-byte aligned buffers; sizes count elements; activations are row-major float32.
// - The last two parameters are (thread, threads): all threads call each kernel with the same arguments and take their share.
// - Loads may run up to 64 bytes past a buffer; stores never.
// - Nothing allocates: scratch memory is a parameter.

/** a·b + c, in one instruction where the build has it. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** First index of a thread's share of `count` items, in multiples of `grain`; the share ends where the next begins. */
// @ts-ignore: decorator
@inline
export function share(count: i32, grain: i32, thread: i32, threads: i32): i32 {
  const grains = (count + grain - 1) / grain;
  const start = <i32>((<i64>grains * <i64>thread) / <i64>threads) * grain;
  return start < count ? start : count;
}
