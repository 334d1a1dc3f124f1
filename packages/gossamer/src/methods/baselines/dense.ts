// The control of every comparison: the same training without any sparsity.

import type { Sparsifier, SparsifierState } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'dense',
  name: 'Dense',
  summary: 'The control: the same training, command and logs without any sparsity.',
  paper: 'the dense twin in all of them',
  kind: 'sparsifier',
};

/** Takes part in training and changes nothing, bit for bit. */
export class Dense implements Sparsifier {
  static readonly options: readonly string[] = [];
  readonly name = method.slug;
  readonly mask = undefined;

  async prepare(): Promise<void> {}

  state(): SparsifierState {
    return { arrays: {}, json: null };
  }

  restore(): void {}
}
