import { describe, expect, it } from 'vitest';
import { checkModel, parameterCount, shapesOf } from './testing.ts';
import { ViT } from './vit.ts';

const small = { imageSize: 8, patchSize: 4, classes: 5, dim: 12, depth: 2, heads: 3 };

describe('ViT', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new ViT({ ...small, random }), { input: [3, 8, 8], output: [5] }));

  it('has the published number of parameters', () => {
    expect(parameterCount(new ViT())).toBe(5_717_416);
  });

  it("has timm's names", () => {
    expect(shapesOf(new ViT({ ...small, depth: 1 }))).toEqual({
      cls_token: '1×1×12',
      pos_embed: '1×5×12',
      'patch_embed.proj.weight': '12×3×4×4',
      'patch_embed.proj.bias': '12',
      'blocks.0.norm1.weight': '12',
      'blocks.0.norm1.bias': '12',
      'blocks.0.attn.qkv.weight': '36×12',
      'blocks.0.attn.qkv.bias': '36',
      'blocks.0.attn.proj.weight': '12×12',
      'blocks.0.attn.proj.bias': '12',
      'blocks.0.norm2.weight': '12',
      'blocks.0.norm2.bias': '12',
      'blocks.0.mlp.fc1.weight': '48×12',
      'blocks.0.mlp.fc1.bias': '48',
      'blocks.0.mlp.fc2.weight': '12×48',
      'blocks.0.mlp.fc2.bias': '12',
      'norm.weight': '12',
      'norm.bias': '12',
      'head.weight': '5×12',
      'head.bias': '5',
    });
  });

  it('refuses patches that do not tile the image', () => {
    expect(() => new ViT({ imageSize: 30 })).toThrow('patches of 16 do not tile images of 30');
  });
});
