// `gossamer/experiments`: the evidence of the methods, and how to run it. Node only.
export { type Ended, reproduceAll } from './all.ts';
export { discoverExperiments, findExperiment, type RegisteredExperiment } from './discover.ts';
export type {
  Check,
  Condition,
  Context,
  Experiment,
  Figure,
  Findings,
  Job,
  Measures,
  Outcome,
  Table,
  Verdict,
} from './experiment.ts';
export { type Report, type ReproduceOptions, reproduce } from './run.ts';
