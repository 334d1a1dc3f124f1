/** Activations that few networks use. */
import './common.ts';
import { isBig } from './access.ts';
import { activation, big, floats, unary } from './elements.ts';
import { sigmoid } from './numeric.ts';
import { number, type Operators } from './operator.ts';
import { softplus, toBig } from './scalar.ts';

export const operators: Operators = {
  Softsign: floats(x => x / (1 + Math.abs(x))),
  Mish: floats(x => x * Math.tanh(softplus(x))),
  ThresholdedRelu: activation(node => {
    const alpha = number(node, 'alpha', 1);
    return x => (x > alpha ? x : 0);
  }, 'alpha'),
  Celu: activation(node => {
    const alpha = number(node, 'alpha', 1);
    return x => (x < 0 ? alpha * Math.expm1(x / alpha) : x);
  }, 'alpha'),
  Selu: activation(
    node => {
      const alpha = number(node, 'alpha', 1.6732631921768188);
      const gamma = number(node, 'gamma', 1.0507010221481323);
      return x => gamma * (x > 0 ? x : alpha * Math.expm1(x));
    },
    'alpha',
    'gamma',
  ),
  Swish: activation(node => {
    const alpha = number(node, 'alpha', 1);
    return x => x * sigmoid(alpha * x);
  }, 'alpha'),
  Shrink: unary(
    (type, node) => {
      const [lambda, bias] = [number(node, 'lambd', 0.5), number(node, 'bias', 0)];
      const f = (x: number) => (x < -lambda ? x + bias : x > lambda ? x - bias : 0);
      if (isBig(type)) return big(x => toBig(f(Number(x))));
      return type === 'bool' || type === 'string' ? undefined : f;
    },
    ['bias', 'lambd'],
  ),
};
