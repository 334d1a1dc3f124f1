/** Finds what a model keeps in other files, before it is parsed. */
import type { ExternalRange } from './external.ts';
import { type Place, Reader } from './protobuf.ts';
import { externalRange, tensorHeader } from './tensor.ts';

/** For each kind of message, the fields that hold messages with tensors in them. */
const CHILDREN = {
  Model: { 7: 'Graph', 25: 'Function' },
  Graph: { 1: 'Node', 5: 'Tensor', 15: 'Sparse' },
  Function: { 7: 'Node', 11: 'Attribute' },
  Node: { 5: 'Attribute' },
  Attribute: { 5: 'Tensor', 6: 'Graph', 10: 'Tensor', 11: 'Graph', 22: 'Sparse', 23: 'Sparse' },
  Sparse: { 1: 'Tensor', 2: 'Tensor' },
} as const satisfies Record<string, Record<number, string>>;

/** The ranges of all tensors with external data, in the order of the file. */
export function externalRanges(bytes: Uint8Array): ExternalRange[] {
  const reader = new Reader(bytes);
  const ranges: ExternalRange[] = [];
  const walk = (place: Place, kind: string): void => {
    if (kind === 'Tensor') {
      const header = tensorHeader(reader, place);
      if (header.external) ranges.push(externalRange(header, `tensor '${header.name}'`));
      return;
    }
    const children: Readonly<Record<number, string>> = CHILDREN[kind as keyof typeof CHILDREN];
    reader.revisit(place, kind, field => {
      const child = children[field];
      if (child) walk(reader.place(), child);
    });
  };
  walk({ start: 0, end: bytes.length }, 'Model');
  return ranges;
}
