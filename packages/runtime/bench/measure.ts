// Interleaved measurement: contenders run in turns, so that a change in the machine's load meets all alike.

export interface Contender {
  readonly name: string;
  /** Milliseconds that it runs before it is measured: engines of WebAssembly compile better code in the meantime. */
  readonly warmUp: number;
  run(): Promise<unknown>;
}

export interface Effort {
  /** Most rounds; at least 3 are made. */
  readonly rounds: number;
  /** Milliseconds after which no further round begins. */
  readonly limit: number;
}

/** A turn lasts this long at least (ms), so that the runs after its first meet caches as in steady use. */
const TURN = 15;

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** Median milliseconds of one run of each contender, over all runs of all rounds. */
export async function measure(contenders: readonly Contender[], effort: Effort): Promise<Map<string, number>> {
  for (const { run, warmUp } of contenders) {
    const begin = performance.now();
    do await run();
    while (performance.now() - begin < warmUp);
  }
  const times = new Map(contenders.map(({ name }) => [name, [] as number[]]));
  const begin = performance.now();
  for (let round = 0; round < effort.rounds && (round < 3 || performance.now() - begin < effort.limit); round++) {
    for (const { name, run } of contenders) {
      const turn = performance.now();
      for (let start = turn; start - turn < TURN; ) {
        await run();
        const end = performance.now();
        times.get(name)!.push(end - start);
        start = end;
      }
    }
  }
  return new Map([...times].map(([name, all]) => [name, median(all)]));
}
