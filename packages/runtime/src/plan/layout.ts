/** Memory plan: buffers whose lifetimes do not meet share addresses. */
import type { Buffer } from './emitter.ts';

/** A buffer with the interval of nodes, both ends included, during which its content matters. */
export interface Live extends Buffer {
  first: number;
  last: number;
}

const ALIGNMENT = 64;
/** Kernels may read (not write) this far past a buffer's end. */
export const SLACK = 64;

export const align = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/**
 * Gives every buffer an address ≥ 0 (relative to the arena) so that buffers alive at the same time do not overlap; returns
 * the arena's size in bytes. Greedy by size: the largest buffer first, each at the lowest address that is free during its
 * life (Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net Inference", §4.3).
 */
export function layout(buffers: readonly Live[]): number {
  const order = [...buffers].sort((a, b) => b.bytes - a.bytes || a.first - b.first);
  const placed: Live[] = [];
  let size = 0;
  for (const buffer of order) {
    const bytes = align(buffer.bytes);
    let address = 0;
    // `placed` is kept in order of addresses, so that the first sufficient gap is the lowest.
    for (const other of placed) {
      if (other.last < buffer.first || other.first > buffer.last) continue;
      if (other.address! - address >= bytes) break;
      address = Math.max(address, other.address! + align(other.bytes));
    }
    buffer.address = address;
    size = Math.max(size, address + bytes);
    let at = placed.length;
    while (at > 0 && placed[at - 1].address! > address) at--;
    placed.splice(at, 0, buffer);
  }
  return size;
}
