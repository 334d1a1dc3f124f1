import { SRSTE } from '../methods/nm/sr-ste.ts';
import { STE } from '../methods/nm/ste.ts';
import { BiP } from '../methods/pruning/bip.ts';
import { EdgePopup } from '../methods/pruning/edge-popup.ts';
import { Hydra } from '../methods/pruning/hydra.ts';
import { LotteryJackpots } from '../methods/pruning/lottery-jackpots.ts';
import { GraNet } from '../methods/sparse-training/granet.ts';
import { type Arm, baselines, interval, randomMask } from './arms.ts';

const { random: _, ...usual } = baselines;

/** Every unstructured method that trains or prunes one network, under the name the field gives it. */
export const arms: Readonly<Record<string, Arm>> = {
  ...usual,
  'random, ERK': { when: 'before', mask: randomMask('erk') },
  // A round trains for a third of the budget.
  'IMP, weights rewound': { when: 'rounds', rounds: 2, rewind: 'weights' },
  'IMP, rate rewound': { when: 'rounds', rounds: 2, rewind: 'learning-rate' },
  GraNet: {
    when: 'during',
    sparsifier: ({ sparsity }, { steps }) => new GraNet({ sparsity, interval: interval(steps) }),
  },
  'GraNet, from 50 %': {
    when: 'during',
    sparsifier: ({ sparsity }, { steps }) => new GraNet({ sparsity, initial: 0.5, interval: interval(steps) }),
  },
  // The weights' own gradients are sparse; the steps of the mask ask for dense ones.
  BiP: { when: 'during', from: 'trained', sparsifier: ({ sparsity }) => new BiP({ sparsity }) },
  Hydra: {
    when: 'during',
    from: 'trained',
    denseGradients: 1 / 6,
    sparsifier: ({ sparsity }) => new Hydra({ sparsity, until: 1 / 6 }),
  },
  'lottery jackpots': {
    when: 'during',
    from: 'trained',
    denseGradients: 1,
    sparsifier: ({ sparsity }) => new LotteryJackpots({ sparsity, exclude: [] }),
  },
  'edge-popup': {
    when: 'during',
    denseGradients: 1,
    sparsifier: ({ sparsity }) => new EdgePopup({ sparsity, weights: 'signed-constant' }),
  },
  STE: { when: 'during', denseGradients: 1, sparsifier: ({ sparsity }) => new STE({ sparsity }) },
  'SR-STE': { when: 'during', denseGradients: 1, sparsifier: ({ sparsity }) => new SRSTE({ sparsity }) },
};

/** The arms by when they decide what goes: each at most seven, for one picture. */
export const families: Readonly<Record<string, readonly string[]>> = {
  'after training': ['uniform MP', 'ERK MP', 'global MP', 'IMP, weights rewound', 'IMP, rate rewound'],
  'while training': ['GMP', 'gradual global MP', 'GraNet', 'STE', 'SR-STE'],
  'sparse from start to end': ['RigL', 'SET', 'GraNet, from 50 %', 'random, ERK', 'small-dense'],
  'before training': ['SNIP', 'GraSP', 'SynFlow', 'random, ERK'],
  'by learned scores': ['BiP', 'Hydra', 'lottery jackpots', 'edge-popup'],
};
