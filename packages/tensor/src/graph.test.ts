import { expect, it } from 'vitest';
import { gradients } from './gradients.ts';
import { formatGraph, reachable } from './graph.ts';
import { tensor } from './tensor.ts';

it('writes a graph a node a line, inputs before what uses them', () => {
  const x = tensor([
    [1, 2],
    [3, 4],
  ]);
  const y = x.matmul(x).clamp(-0, Infinity).add(1);
  expect(formatGraph(y)).toBe(
    [
      '%0 = leaf() : float32[2,2]',
      '%1 = matmul(%0, %0) {"a":false,"b":false} : float32[2,2]',
      '%2 = clamp(%1) {"low":"#-0","high":"#Infinity"} : float32[2,2]',
      '%3 = constant() {"value":1,"dtype":"float32"} : float32[]',
      '%4 = add(%2, %3) : float32[2,2]',
    ].join('\n'),
  );
});

it('finds every node once, in topological order, in gradients too', () => {
  const x = tensor([0.5]);
  let y = x;
  for (let i = 0; i < 12; i++) y = y.mul(y).add(y);
  const nodes = reachable([gradients(y.sum(), [x])[0].node, y.node]);
  expect(new Set(nodes).size).toBe(nodes.length);
  const place = new Map(nodes.map((n, i) => [n, i]));
  for (const n of nodes) for (const input of n.inputs) expect(place.get(input)).toBeLessThan(place.get(n)!);
});
