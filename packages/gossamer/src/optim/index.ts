export { Adam, type AdamOptions, AdamW, LAMB } from './adam.ts';
export { clipByGlobalNorm, clipByValue, globalNorm } from './clip.ts';
export { EMA, type EMAOptions } from './ema.ts';
export { type Group, Optimizer, type OptimizerOptions, type Rule, type Update } from './optimizer.ts';
export {
  ball,
  box,
  groupSoftThreshold,
  hardThreshold,
  keepMasked,
  type Projection,
  simplex,
  softThreshold,
  unitNorm,
} from './projection.ts';
export {
  constantSchedule,
  cosineSchedule,
  exponentialSchedule,
  inSequence,
  linearSchedule,
  multiStepSchedule,
  oneCycle,
  polynomialSchedule,
  type RateSchedule,
  stepSchedule,
  warmUp,
} from './schedule.ts';
export { Lion, type LionOptions, RMSprop, type RMSpropOptions, SGD, type SGDOptions } from './sgd.ts';
