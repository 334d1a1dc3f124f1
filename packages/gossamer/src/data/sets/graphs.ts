import { entryBytes, readArchive } from '../archive.ts';
import { utf8 } from '../bytes.ts';
import { numbers, readCsv, strings } from '../csv.ts';
import { ArrayDataset } from '../dataset.ts';
import {
  type NodeGraph,
  type PlanetoidFiles,
  readPlanetoid,
  readPlanetoidJson,
  readPlanetoidNpz,
} from '../planetoid.ts';
import { dataFile } from '../store.ts';
import { type GraphSet, readTu, type TuFiles } from '../tu.ts';
import { type Described, type Entry, entry } from './entry.ts';

const planetoidKeys = ['x', 'tx', 'allx', 'y', 'ty', 'ally', 'graph', 'test.index'] as const;

/** Cora and Citeseer: the original files, or either conversion. */
function planetoid(name: string, title: string): Entry<NodeGraph & Described> {
  const site = 'https://raw.githubusercontent.com/kimiyoung/planetoid/master/data/';
  const described = (graph: NodeGraph) => ({ ...graph, name, description: `${title}; the public split` });
  return entry(name, title, [
    {
      files: planetoidKeys.map(key => dataFile(`planetoid/ind.${name}.${key}`, `${site}ind.${name}.${key}`)),
      read: contents => {
        const files = Object.fromEntries(planetoidKeys.map((key, i) => [key, contents[i]])) as PlanetoidFiles;
        return described(readPlanetoid(files, `ind.${name}`));
      },
    },
    {
      files: [dataFile(`planetoid/${name}.npz`)],
      read: ([bytes]) => described(readPlanetoidNpz(bytes, `${name}.npz`)),
    },
    {
      files: [dataFile(`planetoid/${name}.json.gz`)],
      read: ([bytes]) => described(readPlanetoidJson(bytes, `${name}.json`)),
    },
  ]);
}

/** A set of the TU collection: its zip, or its text files. */
function tu(name: string, set: string, parts: readonly (keyof TuFiles)[], title: string): Entry<GraphSet & Described> {
  const folder = `graph-classification/${set}`;
  const described = (graphs: GraphSet) => ({ ...graphs, name, description: `${title}; no standard split` });
  return entry(name, title, [
    {
      files: [dataFile(`${folder}.zip`, `https://www.chrsmrrs.com/graphkerneldatasets/${set}.zip`)],
      read: async ([zip]) => {
        const entries = await readArchive(zip, `${set}.zip`);
        const found = parts.map(part => [part, entryBytes(entries, `${set}_${part}.txt`, `${set}.zip`)]);
        return described(readTu(Object.fromEntries(found), set));
      },
    },
    {
      files: parts.map(part => dataFile(`${folder}/${set}_${part}.txt.gz`)),
      read: contents => described(readTu(Object.fromEntries(parts.map((part, i) => [part, contents[i]])), set)),
    },
  ]);
}

/** Molecules with a yes-or-no property. */
export interface MoleculeSet extends Described {
  readonly smiles: readonly string[];
  /** 0 or 1 for each molecule. */
  readonly labels: Int32Array;
  /** Molecules of each part. */
  readonly train: Int32Array;
  readonly valid: Int32Array;
  readonly test: Int32Array;
}

const molhiv = entry<MoleculeSet>('molhiv', 'MoleculeNet HIV: which molecules inhibit HIV (Wu et al. 2018)', [
  {
    files: [dataFile('molhiv/HIV.csv.gz', 'https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/HIV.csv')].map(
      // The copy in circulation and the canonical file differ in their columns; both are read by name.
      ({ path, url }) => ({ path, url }),
    ),
    read: async ([bytes]) => {
      const table = readCsv(utf8(bytes, 'HIV.csv'), { name: 'HIV.csv', types: { HIV_active: 'int32' } });
      const labels = Int32Array.from(numbers(table, 'HIV_active', 'HIV.csv').data);
      const index = Int32Array.from(labels, (_, i) => i);
      const shape = [labels.length];
      const all = new ArrayDataset({
        labels: { dtype: 'int32', shape, data: labels },
        index: { dtype: 'int32', shape, data: index },
      });
      const parts = await all.split([0.8, 0.1, 0.1], { stratify: 'labels' });
      const [train, valid, test] = await Promise.all(
        parts.map(async part => (await part.all()).index.data as Int32Array),
      );
      return {
        name: 'molhiv',
        description:
          `MoleculeNet HIV: ${labels.length} molecules as SMILES, split 80/10/10 at random (stratified, seed 0), ` +
          'not by scaffold as ogbg-molhiv is',
        smiles: strings(table, 'smiles', 'HIV.csv'),
        labels,
        train,
        valid,
        test,
      };
    },
  },
]);

export const graphSets = {
  cora: planetoid('cora', 'Cora: 2708 papers, 7 classes, citations (Sen et al. 2008, Yang et al. 2016)'),
  citeseer: planetoid('citeseer', 'Citeseer: 3327 papers, 6 classes, citations (Sen et al. 2008, Yang et al. 2016)'),
  mutag: tu(
    'mutag',
    'MUTAG',
    ['A', 'graph_indicator', 'graph_labels', 'node_labels', 'edge_labels'],
    'MUTAG: 188 molecules, mutagenic or not (Debnath et al. 1991)',
  ),
  proteins: tu(
    'proteins',
    'PROTEINS',
    ['A', 'graph_indicator', 'graph_labels', 'node_labels', 'node_attributes'],
    'PROTEINS: 1113 proteins, enzymes or not (Borgwardt et al. 2005)',
  ),
  molhiv,
};
