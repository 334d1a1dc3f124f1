/**
 * What modules that are loaded on demand share with the first download. Each imports this one, used or not: bundlers divide
 * code by who needs it, and so keep all of it in two chunks instead of a dozen.
 */
import '../kernels/module.ts';
import '../ops/common.ts';
import './movement.ts';
import './products.ts';
