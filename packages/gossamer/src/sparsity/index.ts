// The sparsity vocabulary: score × granularity × allocation × schedule → mask. `report-svg.ts` is imported by its path,
// because it brings the plotting library with it.
export { type Allocation, type AllocationOptions, allocate } from './allocation.ts';
export { applyMask, checkMasked } from './apply.ts';
export { countOf, type Rounding } from './apportion.ts';
export { type ChannelScore, type ChannelScoreOptions, channelScores, channelsByVote } from './channel-scores.ts';
export {
  type Ballot,
  type ChannelTarget,
  countVotes,
  decideForTarget,
  type Electorate,
  type ElectorateOptions,
  electorate,
  energyThreshold,
  type ScaledLayer,
  type VotingGroup,
} from './channel-votes.ts';
export {
  type ChooseOptions,
  type CostTarget,
  chooseChannels,
  chooseChannelsByTime,
  type TimeTarget,
} from './choose-channels.ts';
export { type Collapse, findCollapse } from './collapse.ts';
export { type DynamicOptions, DynamicSparseTraining } from './dynamic.ts';
export {
  type EnvelopeOptions,
  type EnvelopeProxOptions,
  envelopeConjugate,
  envelopeProx,
  envelopeValue,
} from './envelope.ts';
export { type ExchangeOptions, exchangeLayer } from './exchange.ts';
export { type FilterScore, filterScores } from './filter-scores.ts';
export { GradientNoise, type GroupNoise, type NoiseRecord } from './gradient-noise.ts';
export {
  expandUnits,
  formatGranularity,
  type Granularity,
  type GroupNorm,
  groupScores,
  keepNM,
  type NM,
  outputBlock,
  parseGranularity,
  type Units,
  unitsOf,
} from './granularity.ts';
export {
  type ChannelGroup,
  type ChannelGroups,
  type ChannelGroupsOptions,
  channelGroups,
  type FixedChannels,
  type GroupPlace,
  type ModelCost,
} from './groups.ts';
export { dropLowest, type Exchange, exchange, growHighest, type Move, moveTowardsHighest } from './grow.ts';
export { checkLayers, flops, type Layer, type LayerKind, layer, layoutOf, maskable, type Selection } from './layer.ts';
export {
  LearnedMask,
  type LearnedMaskDesign,
  type LearnedMaskOptions,
  type LearnedMaskStart,
  learnedMaskOptions,
} from './learned-mask.ts';
export { type LayerMask, Mask } from './mask.ts';
export { type MaskedOptions, MaskedSparsifier, PruneAtStart, StaticMask } from './masked.ts';
export { type ModelLayers, modelLayers, refreshLayers } from './model.ts';
export {
  channelsInTraining,
  deadChannels,
  type ElementSet,
  type Partition,
  partitionChannels,
  partitionLayers,
  partitionSets,
  type Scope,
} from './partition.ts';
export { checkPretrained, type Knowledge, knowledge } from './pretrained.ts';
export {
  envelope,
  type GroupBudget,
  type GroupMove,
  type GroupOperator,
  type GroupOutcome,
  GroupProximal,
  type GroupProximalOptions,
  type GroupStep,
  groupLasso,
  groupSubgradient,
  halfSpace,
  hardTopK,
  ProximalSparsifier,
} from './proximal.ts';
export { bernoulliMask, type PruneOptions, prune } from './prune.ts';
export { keepLargest, type RemaskedOptions, RemaskedSparsifier, type Remasking } from './remasked.ts';
export { type LayerRow, type ReportRow, reportTable, type SparsityReport, sparsityReport } from './report.ts';
export { type MaskRule, type MaskUpdate, RuledSparsifier } from './rules.ts';
export { type ScaleMask, ScalePenalty, type ScalePenaltyKind, type ScalePenaltyOptions } from './scale-penalty.ts';
export { anneal, type Law, type ScheduleOptions, type SparsitySchedule, sparsitySchedule } from './schedule.ts';
export { ScheduledPruning, type ScheduledPruningOptions } from './scheduled.ts';
export * from './score.ts';
export * from './score-data.ts';
export { type Scorer, scorers } from './scorers.ts';
export { keepHighest, pick, type Scored } from './select.ts';
export { type ShrinkDecision, type ShrinkOptions, type Shrunk, type ShrunkModule, shrink } from './shrink.ts';
export { OnnxNetwork, type ShrunkOnnx } from './shrink-onnx.ts';
export { smartRatio } from './smart-ratio.ts';
export type { Sparsifier, SparsifierState, Training, TrainingCalibration } from './sparsifier.ts';
export {
  decodeBitMask,
  decodeCSR,
  decodeRelative,
  encodeBitMask,
  encodeCSR,
  encodeRelative,
  type StorageBytes,
  storageBytes,
} from './storage.ts';
export { synapticFlow } from './synaptic-flow.ts';
export { trainingFlops } from './training-flops.ts';
