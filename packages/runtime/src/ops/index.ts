/** All operators, by the key of `operatorKey`. */

import { attentionOperators } from './attention.ts';
import { castOperators } from './cast.ts';
import { controlOperators } from './control.ts';
import { convOperators } from './conv.ts';
import { createOperators } from './create.ts';
import { elementwiseOperators } from './elementwise.ts';
import { gatherOperators } from './gather.ts';
import { lossOperators } from './loss.ts';
import { matmulOperators } from './matmul.ts';
import { microsoftOperators } from './microsoft.ts';
import { movementOperators } from './movement.ts';
import { normalizeOperators } from './normalize.ts';
import type { Operators } from './operator.ts';
import { poolOperators } from './pool.ts';
import { randomOperators } from './random.ts';
import { recurrentOperators } from './recurrent.ts';
import { reduceOperators } from './reduce.ts';
import { resizeOperators } from './resize.ts';
import { signalOperators } from './signal.ts';
import { softmaxOperators } from './softmax.ts';
import { textOperators } from './text.ts';
import { visionOperators } from './vision.ts';

export const operators: Operators = {
  ...elementwiseOperators,
  ...castOperators,
  ...reduceOperators,
  ...movementOperators,
  ...gatherOperators,
  ...createOperators,
  ...randomOperators,
  ...textOperators,
  ...convOperators,
  ...poolOperators,
  ...matmulOperators,
  ...recurrentOperators,
  ...normalizeOperators,
  ...resizeOperators,
  ...softmaxOperators,
  ...lossOperators,
  ...controlOperators,
  ...microsoftOperators,
  ...signalOperators,
  ...attentionOperators,
  ...visionOperators,
};
