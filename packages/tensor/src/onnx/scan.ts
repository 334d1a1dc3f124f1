import type { DescMessage } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { FormatError } from '../errors.ts';

// An empty message takes 2 bytes of a file and some 300 of memory. Real models stay below a million.
const maxMessages = 2_000_000;

// A graph within a graph is three messages deeper, and so is what lies in a tensor of it.
const maxDepth = 96;

/**
 * Walks the messages of a protobuf file without building them and throws a {@link FormatError} if a length exceeds the
 * message around it, or if there are so many messages, or so deeply nested ones, that building them would exhaust
 * memory or the call stack.
 */
export function scanMessages(bytes: Uint8Array, schema: DescMessage): void {
  const reader = new BinaryReader(bytes);
  let messages = 0;

  const scan = (desc: DescMessage, end: number, depth: number): void => {
    if (++messages > maxMessages)
      throw new FormatError(`more than ${maxMessages} nodes, values, tensors and attributes`);
    if (depth > maxDepth) throw new FormatError(`messages are nested more than ${maxDepth} deep`);
    const children = childrenOf(desc);
    while (reader.pos < end) {
      const [field, wireType] = reader.tag();
      if (wireType !== WireType.LengthDelimited) {
        reader.skip(wireType, field, maxDepth);
      } else {
        const length = reader.uint32();
        if (length > end - reader.pos)
          throw new FormatError(
            `truncated or damaged: field ${field} of ${desc.name} has ${length} bytes, ${end - reader.pos} are left`,
          );
        const child = children.get(field);
        if (child) scan(child, reader.pos + length, depth + 1);
        else reader.pos += length;
      }
      if (reader.pos > end) throw new FormatError(`truncated or damaged: ${desc.name} runs over its end`);
    }
  };
  scan(schema, bytes.byteLength, 1);
}

const known = new WeakMap<DescMessage, Map<number, DescMessage>>();

/** The fields of a message that hold messages, by number. */
function childrenOf(desc: DescMessage): Map<number, DescMessage> {
  let children = known.get(desc);
  if (!children) {
    children = new Map(desc.fields.flatMap(field => (field.message ? [[field.number, field.message]] : [])));
    known.set(desc, children);
  }
  return children;
}
