/** What a helping process is told: which experiment, at what length, and where finished jobs are kept. */
export interface HelperTask {
  /** URL of the experiment's file. */
  readonly file: string;
  readonly store: string;
  readonly smoke: boolean;
  readonly full: boolean;
  readonly seeds: number;
  /** Where in the list of jobs it begins, 0…1. */
  readonly place: number;
}
