import * as activation from './activation.ts';
import * as arithmetic from './arithmetic.ts';
import type { Import } from './call.ts';
import * as conv from './conv.ts';
import * as gather from './gather.ts';
import * as matmul from './matmul.ts';
import * as microsoft from './microsoft.ts';
import * as movement from './movement.ts';
import * as norm from './norm.ts';
import * as pool from './pool.ts';
import * as quantize from './quantize.ts';
import * as recurrent from './recurrent.ts';
import * as reduce from './reduce.ts';
import * as resize from './resize.ts';
import * as shape from './shape.ts';

/** In every module each export is the ONNX operator of its name. */
const standard: Record<string, Import> = {
  ...activation,
  ...arithmetic,
  ...conv,
  ...gather,
  ...matmul,
  ...movement,
  ...norm,
  ...pool,
  ...quantize,
  ...recurrent,
  ...reduce,
  ...resize,
  ...shape,
};

const domains: Record<string, Record<string, Import>> = {
  '': standard,
  'com.microsoft': {
    ...microsoft,
    SimplifiedLayerNormalization: norm.RMSNormalization,
  },
};

/** How an operator is imported; undefined if it cannot be. */
export function findImport(domain: string, opType: string): Import | undefined {
  const operators = Object.hasOwn(domains, domain) ? domains[domain] : undefined;
  return operators && Object.hasOwn(operators, opType) ? operators[opType] : undefined;
}
