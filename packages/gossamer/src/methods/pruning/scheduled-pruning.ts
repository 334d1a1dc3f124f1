// Pruning while training with any score, schedule, pattern and allocation: what the methods of this family have in common.

import type { MethodInfo } from '../method.ts';

export { ScheduledPruning } from '../../sparsity/scheduled.ts';

export const method: MethodInfo = {
  slug: 'scheduled-pruning',
  name: 'Scheduled pruning',
  summary: 'Any score × schedule × pattern × allocation, for combinations that no paper has a name for.',
  paper: 'the common form of To prune, or not to prune (Zhu & Gupta 2017) and its successors',
  kind: 'sparsifier',
};
