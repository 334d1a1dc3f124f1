import { describe, expect, it } from 'vitest';
import { batchGraphs } from './graphs.ts';
import { readTu } from './tu.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

// A pair, a lone node and a triangle.
const set = readTu({
  A: text('1, 2\n2, 1\n4, 5\n5, 6\n6, 4\n'),
  graph_indicator: text('1\n1\n2\n3\n3\n3\n'),
  graph_labels: text('1\n1\n2\n'),
  node_labels: text('0\n1\n2\n0\n1\n2\n'),
  edge_labels: text('7\n8\n7\n7\n8\n'),
  node_attributes: text('1, 10\n2, 20\n3, 30\n4, 40\n5, 50\n6, 60\n'),
});

describe('batchGraphs', () => {
  it('renumbers nodes in the order asked for', () => {
    const batch = batchGraphs(set, [2, 1, 0]);
    expect([batch.length, batch.nodes]).toEqual([3, 6]);
    expect(batch.edges.shape).toEqual([2, 5]);
    expect([...batch.edges.data]).toEqual([0, 1, 2, 4, 5, 1, 2, 0, 5, 4]);
    expect([...batch.graphOf]).toEqual([0, 0, 0, 1, 2, 2]);
    expect([...batch.labels]).toEqual([1, 0, 0]);
    expect([...batch.nodeLabels!]).toEqual([0, 1, 2, 2, 0, 1]);
    expect([...batch.edgeLabels!]).toEqual([0, 0, 1, 0, 1]);
    expect([...batch.nodeAttributes!.data]).toEqual([4, 40, 5, 50, 6, 60, 3, 30, 1, 10, 2, 20]);
  });

  it('gives the whole set back, and repeats', () => {
    const whole = batchGraphs(set, [0, 1, 2]);
    expect(whole.edges).toEqual(set.edges);
    expect(whole.nodeAttributes).toEqual(set.nodeAttributes);
    expect([...batchGraphs(set, [0, 0]).edges.data]).toEqual([0, 1, 2, 3, 1, 0, 3, 2]);
    expect(() => batchGraphs(set, [3])).toThrow('graph 3 of 3');
  });
});
