import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { blockLayers } from './block-layers.ts';
import { layer } from './layer.ts';
import { hasFeedForward, layerParts } from './layer-parts.ts';

const weight = (name: string, out: number, inputs: number, kind: 'linear' | 'embedding' = 'linear') =>
  layer(name, [out, inputs], new Random(1).normal(out * inputs), { kind });
const gpt = [
  weight('wpe.weight', 10, 8, 'embedding'),
  weight('h.0.attn.c_attn.weight', 24, 8),
  weight('h.0.mlp.c_fc.weight', 32, 8),
  weight('wte.weight', 20, 8),
];
const llama = [weight('layers.0.q_proj.weight', 8, 8), weight('layers.0.k_proj.weight', 4, 8), weight('out', 9, 8)];

describe('layerParts', () => {
  it('finds feed-forward weights and projections, also inside a fused weight', () => {
    expect(layerParts(gpt, ['ff']).map(p => p.rows.name)).toEqual(['h.0.mlp.c_fc.weight']);
    const [k] = layerParts(gpt, ['k']);
    expect(k.of).toBe(gpt[1]);
    expect([k.rows.name, k.start, ...k.rows.shape]).toEqual(['h.0.attn.c_attn.weight#k', 64, 8, 8]);
    expect(k.rows.values).toEqual(gpt[1].values.subarray(64, 128));
    expect(layerParts(llama, ['q', 'k']).map(p => p.rows.name)).toEqual([llama[0].name, llama[1].name]);
  });

  it('carries settings, and the first selector wins', () => {
    const parts = layerParts(gpt, ['q=2:4', 'ff=1:16:out', 'blocks']);
    expect(parts.map(p => [p.rows.name, p.setting])).toEqual([
      ['h.0.attn.c_attn.weight#q', '2:4'],
      ['h.0.mlp.c_fc.weight', '1:16:out'],
    ]);
    expect(layerParts(gpt, ['all']).map(p => p.of)).toEqual(gpt);
    expect(layerParts(gpt, ['*.c_fc.*', 'last']).map(p => p.of.name)).toEqual(['h.0.mlp.c_fc.weight', 'wte.weight']);
  });

  it('refuses what is not there', () => {
    expect(() => layerParts(llama, ['ff'])).toThrow("layers 'ff': no such weight; use ff, q, k, v, blocks, all, or");
    expect([hasFeedForward(gpt), hasFeedForward(llama)]).toEqual([true, false]);
  });
});

describe('blockLayers', () => {
  it('takes numbered layers, else all but the last', () => {
    expect(blockLayers(gpt).map(l => l.name)).toEqual(['h.0.attn.c_attn.weight', 'h.0.mlp.c_fc.weight']);
    expect(blockLayers([weight('a', 2, 2), weight('b', 2, 2), weight('c', 2, 2)]).map(l => l.name)).toEqual(['a', 'b']);
  });
});
