import { Random } from '@gossamer/tensor';
import { layer } from '/work/main/packages/gossamer/src/sparsity/layer.ts';
import { prune } from '/work/main/packages/gossamer/src/sparsity/prune.ts';
import { magnitude } from '/work/main/packages/gossamer/src/sparsity/score.ts';
import { keepHighest } from '/work/main/packages/gossamer/src/sparsity/select.ts';
import { encodeRelative, storageBytes } from '/work/main/packages/gossamer/src/sparsity/storage.ts';
const r = new Random(1);
const layers = Array.from({length: 15}, (_, i) => layer('l'+i, [1000, 1000], r.fork(i).normal(1_000_000)));
const time = (n: string, f: () => unknown) => { for (let i=0;i<3;i++){ const t=performance.now(); f(); console.log(n, (performance.now()-t).toFixed(0),'ms'); } };
const parts = layers.map(l => ({name: l.name, scores: magnitude(l.values)}));
time('keepHighest global 15M', () => keepHighest(parts, 1_500_000));
for (const o of [{allocation:'global'},{allocation:'global',minimum:'0.05%'},{allocation:'uniform'},{allocation:'erk'}, {granularity:'2:4'},{granularity:'block:4x1'}] as const)
  time('prune '+JSON.stringify(o), () => prune(layers, l => magnitude(l.values), { sparsity: 'granularity' in o && o.granularity==='2:4' ? undefined: 0.9, ...o }));
const m = prune(layers, l => magnitude(l.values), { sparsity: 0.9 });
for (const l of layers) m.apply(l.name, l.values);
time('storageBytes', () => layers.map(l => storageBytes(l.values, 1000, m.get(l.name))));
time('encodeRelative', () => layers.map(l => encodeRelative(l.values, 5, m.get(l.name))));
