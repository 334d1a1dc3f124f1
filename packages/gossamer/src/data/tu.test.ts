import { FormatError } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { readTu, type TuFiles } from './tu.ts';

const files = (text: Record<string, string>): TuFiles =>
  Object.fromEntries(Object.entries(text).map(([key, value]) => [key, new TextEncoder().encode(value)]));

// A pair and a triangle; the edges of the second graph come first.
const two = {
  A: '3, 4\n4, 5\n5, 3\n1, 2\n2, 1\n',
  graph_indicator: '1\n1\n2\n2\n2\n',
  graph_labels: '1\n-1\n',
  node_labels: '5\n7\n5\n5\n9\n',
  edge_labels: '0\n0\n2\n2\n0\n',
  node_attributes: '0.5, 1\n1, 2\n1, 3\n1, 4\n1, 5\n',
};

describe('readTu', () => {
  it('groups edges by graph and renumbers labels', () => {
    const set = readTu(files(two), 'TWO');
    expect(set.length).toBe(2);
    expect(set.classes).toEqual([-1, 1]);
    expect([...set.labels]).toEqual([1, 0]);
    expect([...set.nodeOffsets]).toEqual([0, 2, 5]);
    expect([...set.edgeOffsets]).toEqual([0, 2, 5]);
    expect([...set.edges.data]).toEqual([0, 1, 2, 3, 4, 1, 0, 3, 4, 2]);
    expect([...set.nodeLabels!]).toEqual([0, 1, 0, 0, 2]);
    expect(set.nodeKinds).toBe(3);
    expect([...set.edgeLabels!]).toEqual([1, 0, 0, 0, 1]);
    expect(set.edgeKinds).toBe(2);
    expect(set.nodeAttributes!.shape).toEqual([5, 2]);
  });

  it('does without the optional files', () => {
    const { A, graph_indicator, graph_labels } = two;
    const set = readTu(files({ A, graph_indicator, graph_labels }));
    expect([set.nodeLabels, set.edgeLabels, set.nodeAttributes]).toEqual([null, null, null]);
  });

  it.each([
    ['an edge between graphs', { A: '1, 3\n', edge_labels: '0' }],
    ['a node past the end', { A: '1, 6\n', edge_labels: '0' }],
    ['half an edge', { A: '1\n', edge_labels: '0' }],
    ['a falling indicator', { graph_indicator: '1\n2\n1\n2\n2\n' }],
    ['a graph past the end', { graph_indicator: '1\n1\n2\n2\n3\n' }],
    ['text', { graph_labels: '1\nx\n' }],
    ['too few labels', { node_labels: '1\n' }],
    ['ragged attributes', { node_attributes: '1\n1, 2\n1\n1\n1\n' }],
  ])('refuses %s', (_, change) => {
    expect(() => readTu(files({ ...two, ...change }), 'TWO')).toThrow(FormatError);
  });

  it('names a missing file', () => {
    expect(() => readTu(files({ A: two.A }), 'TWO')).toThrow('TWO_graph_indicator.txt: is missing');
  });
});
