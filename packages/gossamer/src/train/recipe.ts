import type { TrainerOptions } from './trainer.ts';

/** What the command line hands to a recipe that is a function. */
export interface RecipeOptions {
  /** `--seed`; default 0. */
  readonly seed: number;
  /** `--epochs`, if it was given. */
  readonly epochs?: number;
}

/** A training, ready to run; as a function, made for a seed. The default export of a file for `gossamer train`. */
export type Recipe = TrainerOptions | ((options: RecipeOptions) => TrainerOptions | Promise<TrainerOptions>);

/**
 * Gives a recipe its type:
 *
 * ```ts
 * export default recipe(async ({ seed }) => {
 *   const { train, test } = await data.load('mnist');
 *   const model = models.createModel('lenet-5', { seed });
 *   …
 *   return { model, task: classification(), train: new DataLoader(train, …), optimizer, epochs: 10 };
 * });
 * ```
 */
export const recipe = (of: Recipe): Recipe => of;
