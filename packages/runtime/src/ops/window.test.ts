import { describe, expect, it } from 'vitest';
import { nodeOf } from '../../test/operators.ts';
import { sizeOf } from '../values.ts';
import { clip, resolveWindow, stretches } from './window.ts';

const resolve = (attributes: Record<string, number | number[] | string>, spatial: number[], kernel: number[]) =>
  resolveWindow(nodeOf('Conv', [], { attributes }), spatial, kernel);

describe('resolveWindow', () => {
  it.each([
    // spatial, kernel, attributes, output, pads
    [[7], [3], {}, [5], [0, 0]],
    [[7], [3], { strides: [2] }, [3], [0, 0]],
    [[8], [3], { strides: [2] }, [3], [0, 0]],
    [[8], [3], { strides: [2], ceil_mode: 1 }, [4], [0, 0]],
    [[7], [3], { dilations: [2], pads: [1, 2] }, [6], [1, 2]],
    [[7], [3], { auto_pad: 'SAME_UPPER', strides: [2] }, [4], [1, 1]],
    [[8], [3], { auto_pad: 'SAME_UPPER', strides: [2] }, [4], [0, 1]],
    [[8], [3], { auto_pad: 'SAME_LOWER', strides: [2] }, [4], [1, 0]],
    [[8], [3], { auto_pad: 'VALID', pads: [1, 1], ceil_mode: 1, strides: [2] }, [3], [0, 0]],
    [[7], [2], { auto_pad: 'SAME_UPPER', dilations: [3] }, [7], [1, 2]],
    // A last window that would begin in the padding does not count.
    [[2], [1], { strides: [2], pads: [0, 1], ceil_mode: 1 }, [1], [0, 1]],
    [[3], [2], { strides: [2], pads: [1, 1], ceil_mode: 1 }, [2], [1, 1]],
    [[2], [3], {}, [0], [0, 0]],
  ])('%j with kernel %j and %j', (spatial, kernel, attributes, output, pads) => {
    expect(resolve(attributes, spatial, kernel)).toMatchObject({ output, pads });
  });

  it('refuses what does not fit, naming the node', () => {
    expect(() => resolve({}, [2], [4])).toThrow(/Conv_0 \(Conv\).*window of 4/);
    expect(() => resolve({ strides: [0] }, [4], [2])).toThrow(/strides is \[0\], expected 1 values ≥ 1/);
    expect(() => resolve({ pads: [1] }, [4], [2])).toThrow(/pads/);
    expect(() => resolve({ kernel_shape: [3] }, [4], [2])).toThrow(/kernel_shape is \[3\]/);
  });
});

describe('stretches', () => {
  it.each([
    [[5], [3], { pads: [2, 1], strides: [2] }],
    [[4, 5], [2, 3], { pads: [1, 0, 1, 2], strides: [1, 2], dilations: [2, 1] }],
    [[3, 2, 4], [2, 2, 2], { pads: [1, 1, 0, 0, 0, 1], strides: [2, 1, 3] }],
  ])('lists every tap inside an image of %j once (kernel %j, %j)', (spatial, kernel, attributes) => {
    const window = resolve(attributes, spatial, kernel);
    const rank = spatial.length;
    const expected = new Set<string>();
    const digits = (flat: number, dims: readonly number[]) => {
      const out: number[] = [];
      for (let d = dims.length - 1; d >= 0; flat = Math.floor(flat / dims[d--])) out[d] = flat % dims[d];
      return out;
    };
    for (let tap = 0; tap < sizeOf(kernel); tap++) {
      for (let o = 0; o < sizeOf(window.output); o++) {
        const [k, p] = [digits(tap, kernel), digits(o, window.output)];
        const at = spatial.map((_, d) => p[d] * window.strides[d] + k[d] * window.dilations[d] - window.pads[d]);
        if (at.every((i, d) => i >= 0 && i < spatial[d]))
          expected.add(`${tap} ${o} ${at.reduce((flat, i, d) => flat * spatial[d] + i, 0)}`);
      }
    }
    const listed = (table: Int32Array, from = 0) => {
      const found: string[] = [];
      for (let r = 0; r < table.length; r += 4)
        for (let i = 0; i < table[r + 2]; i++)
          found.push(`${table[r]} ${table[r + 1] + i + from} ${table[r + 3] + i * window.strides[rank - 1]}`);
      return found;
    };
    const table = stretches(window, spatial);
    expect(listed(table).sort()).toEqual([...expected].sort());
    const width = sizeOf(window.output);
    const cut = Math.floor(width / 2);
    const stride = window.strides[rank - 1];
    const parts = [...listed(clip(table, 0, cut, stride)), ...listed(clip(table, cut, width, stride), cut)];
    expect(parts.sort()).toEqual([...expected].sort());
  });
});
