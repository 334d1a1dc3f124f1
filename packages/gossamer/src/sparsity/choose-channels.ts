import { check, GossamerError } from '@gossamer/tensor';
import type { ChannelGroups, ModelCost } from './groups.ts';

/** What the model may cost in the end: a share of what it costs now (below 1), or a number (1 and more). */
export type CostTarget = { readonly parameters: number } | { readonly flops: number } | { readonly bytes: number };

/** How long one run may take, or how many times faster it has to be. */
export type TimeTarget = { readonly milliseconds: number } | { readonly speedup: number };

export interface ChooseOptions {
  /** Channels that stay in every group, at least; default 1. */
  readonly minimum?: number;
  /** The number of channels that stay in a group is a multiple of this (or all of them), as kernels like it; default 1. */
  readonly multipleOf?: number;
}

/**
 * Chooses the channels to remove: those with the lowest scores over all groups, just as many as the target needs. Costs
 * follow from the shapes that are left. Channels without a score stay.
 *
 * @param scores by id, higher is kept; see `channelScores`
 * @returns ids, lowest score first
 * @throws a GossamerError with what can be reached, if the target cannot
 */
export function chooseChannels(
  groups: ChannelGroups,
  scores: ReadonlyMap<number, number>,
  { target, ...options }: ChooseOptions & { readonly target: CostTarget },
): number[] {
  const [[measure, wanted]] = Object.entries(target) as [keyof ModelCost, number][];
  check(wanted > 0, () => `chooseChannels: target of ${wanted} ${measure}; expected a share or a number above 0`);
  const limit = wanted < 1 ? wanted * groups.cost()[measure] : wanted;
  const chosen = new Prefixes(groups, scores, options);
  const fits = (n: number) => groups.cost(chosen.removed(n))[measure] <= limit;
  if (!fits(chosen.count)) {
    const least = groups.cost(chosen.removed(chosen.count))[measure];
    throw new GossamerError(
      `chooseChannels: ${Math.floor(limit)} ${measure} cannot be reached: with all that may go, ${least} of ${groups.cost()[measure]} are left`,
    );
  }
  let [low, high] = [0, chosen.count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (fits(middle)) high = middle;
    else low = middle + 1;
  }
  return chosen.removed(low);
}

/**
 * The same for a time that is measured: bisects on the number of channels and times each candidate.
 *
 * @param measure milliseconds of one run of the model without some channels
 * @param options.tolerance how far over the target a measurement may lie, default 0.02
 */
export async function chooseChannelsByTime(
  groups: ChannelGroups,
  scores: ReadonlyMap<number, number>,
  measure: (removed: readonly number[]) => Promise<number>,
  { target, tolerance = 0.02, ...options }: ChooseOptions & { target: TimeTarget; tolerance?: number },
): Promise<{ removed: number[]; before: number; after: number }> {
  const before = await measure([]);
  const limit = 'milliseconds' in target ? target.milliseconds : before / target.speedup;
  check(limit > 0, () => `chooseChannels: target of ${limit} ms; expected a time above 0`);
  const chosen = new Prefixes(groups, scores, options);
  const all = await measure(chosen.removed(chosen.count));
  check(
    all <= limit * (1 + tolerance),
    () =>
      `chooseChannels: ${limit.toPrecision(3)} ms cannot be reached: ${before.toPrecision(3)} ms now, ${all.toPrecision(3)} ms with all that may go`,
  );
  if (before <= limit) return { removed: [], before, after: before };
  let [low, high, after] = [0, chosen.count, all];
  // Below a hundredth of the channels, differences are smaller than what measuring scatters.
  while (high - low > Math.max(1, chosen.count / 100)) {
    const middle = (low + high) >> 1;
    const time = await measure(chosen.removed(middle));
    if (time <= limit * (1 + tolerance)) [high, after] = [middle, time];
    else low = middle;
  }
  return { removed: chosen.removed(high), before, after };
}

/** What goes if the first n channels by score may go. */
class Prefixes {
  /** Channels with a score, lowest first, as [id, its group's index]. */
  readonly #order: readonly (readonly [id: number, group: number])[];
  readonly #sizes: readonly number[];
  readonly #options: Required<ChooseOptions>;

  constructor(
    { groups }: ChannelGroups,
    scores: ReadonlyMap<number, number>,
    { minimum = 1, multipleOf = 1 }: ChooseOptions,
  ) {
    check(
      Number.isInteger(minimum) && minimum >= 1 && Number.isInteger(multipleOf) && multipleOf >= 1,
      () => `chooseChannels: minimum ${minimum}, multipleOf ${multipleOf}: expected whole numbers of 1 or more`,
    );
    this.#options = { minimum, multipleOf };
    this.#sizes = groups.map(g => g.channels.length);
    const scored = groups.flatMap((g, group) =>
      g.channels.flatMap(id => {
        const score = scores.get(id);
        if (score === undefined) return [];
        check(Number.isFinite(score), () => `chooseChannels: channel ${id} of ${g.name} has score ${score}`);
        return [{ id, group, score }];
      }),
    );
    scored.sort((a, b) => a.score - b.score || a.id - b.id);
    this.#order = scored.map(({ id, group }) => [id, group]);
  }

  get count(): number {
    return this.#order.length;
  }

  removed(n: number): number[] {
    const { minimum, multipleOf } = this.#options;
    const wanted = this.#sizes.map(() => 0);
    for (let i = 0; i < n; i++) wanted[this.#order[i][1]]++;
    const going = this.#sizes.map((size, g) => {
      const stay = Math.ceil(Math.max(minimum, size - wanted[g]) / multipleOf) * multipleOf;
      return size - Math.min(size, stay);
    });
    return this.#order.flatMap(([id, group]) => (going[group]-- > 0 ? [id] : []));
  }
}
