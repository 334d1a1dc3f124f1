/**
 * The operators that most models need. Every rare family imports this module, used or not: bundlers divide code by who
 * needs it, and so keep all that operators share in one chunk instead of twenty.
 */
import { castOperators } from './cast.ts';
import { convOperators } from './conv.ts';
import { createOperators } from './create.ts';
import { elementwiseOperators } from './elementwise.ts';
import { gatherOperators } from './gather.ts';
import { matmulOperators } from './matmul.ts';
import { movementOperators } from './movement.ts';
import { normalizeOperators } from './normalize.ts';
import type { Operators } from './operator.ts';
import { poolOperators } from './pool.ts';
import { reduceOperators } from './reduce.ts';
import { softmaxOperators } from './softmax.ts';

export const COMMON: Operators = {
  ...castOperators,
  ...convOperators,
  ...createOperators,
  ...elementwiseOperators,
  ...gatherOperators,
  ...matmulOperators,
  ...movementOperators,
  ...normalizeOperators,
  ...poolOperators,
  ...reduceOperators,
  ...softmaxOperators,
};
