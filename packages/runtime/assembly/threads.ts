/**
 * Waits until all threads have arrived. `control` holds two i32: arrivals and the epoch. Spins first; then sleeps, unless
 * `sleep` is 0 (a browser's main thread may not).
 */
export function barrier(control: usize, threads: i32, spins: i32, sleep: i32): void {
  const epoch = atomic.load<i32>(control, 4);
  if (atomic.add<i32>(control, 1) == threads - 1) {
    atomic.store<i32>(control, 0);
    atomic.add<i32>(control, 1, 4);
    atomic.notify(control + 4, -1);
    return;
  }
  let spin = 0;
  while (atomic.load<i32>(control, 4) == epoch) {
    if (++spin > spins && sleep != 0) atomic.wait<i32>(control + 4, epoch, 1000000);
  }
}

/** Returns when the i32 at `address` is no longer `seen`: spins, then sleeps. */
export function awaitChange(address: usize, seen: i32, spins: i32): void {
  let spin = 0;
  while (atomic.load<i32>(address) == seen) {
    if (++spin > spins) atomic.wait<i32>(address, seen, -1);
  }
}
