/** Operators on strings. */

import './common.ts';
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import { broadcastShapes } from './broadcast.ts';
import { zip } from './elements.ts';
import { need } from './numeric.ts';
import { fail, type Inputs, number, numbers, type Operator, type Operators, text, texts } from './operator.ts';

function strings(node: Node, inputs: Inputs, i: number): readonly string[] {
  const { type, data } = need(node, inputs, i);
  return type === 'string' ? (data as readonly string[]) : fail(node, `input ${i} is ${type}, expected strings`);
}

const stringConcat: Operator = {
  attributes: [],
  infer: (node, inputs: Inputs<Info>) => [
    { type: 'string', dims: broadcastShapes(node, [need(node, inputs, 0).dims, need(node, inputs, 1).dims]) },
  ],
  run(node, inputs) {
    const [{ dims }] = stringConcat.infer!(node, inputs);
    const [a, b] = [strings(node, inputs, 0), strings(node, inputs, 1)];
    const data = new Array<string>(sizeOf(dims));
    zip((x, y) => x + y, a, inputs[0]!.dims, b, inputs[1]!.dims, data as never, dims);
    return [{ type: 'string', dims, data }];
  },
};

/** Removes stop words and changes the case of [c] or [1, c] strings; one empty string when nothing is left. */
const stringNormalizer: Operator = {
  attributes: ['case_change_action', 'is_case_sensitive', 'locale', 'stopwords'],
  dynamic: true,
  run(node, inputs) {
    const { dims } = need(node, inputs, 0);
    if (dims.length < 1 || dims.length > 2 || (dims.length === 2 && dims[0] !== 1)) {
      fail(node, `input has shape [${dims}], expected [c] or [1, c]`);
    }
    const locale = text(node, 'locale')?.replace(/\..*/, '').replace('_', '-');
    const lower = (s: string) => s.toLocaleLowerCase(locale);
    const fold = number(node, 'is_case_sensitive', 0) ? (s: string) => s : lower;
    const stops = new Set(texts(node, 'stopwords', [])!.map(fold));
    const action = text(node, 'case_change_action', 'NONE');
    const change = action === 'LOWER' ? lower : (s: string) => (action === 'UPPER' ? s.toLocaleUpperCase(locale) : s);
    const data = strings(node, inputs, 0)
      .filter(s => !stops.has(fold(s)))
      .map(change);
    if (data.length === 0) data.push('');
    return [{ type: 'string', dims: [...dims.slice(0, -1), data.length], data }];
  },
};

/** Splits each string; parts along a new last axis, filled up with empty strings, and the numbers of parts. */
const stringSplit: Operator = {
  attributes: ['delimiter', 'maxsplit'],
  dynamic: true,
  run(node, inputs) {
    const { dims } = need(node, inputs, 0);
    const delimiter = text(node, 'delimiter', '');
    const limit = number(node, 'maxsplit', Infinity);
    const parts = strings(node, inputs, 0).map(item => {
      let rest = delimiter ? item : item.trim();
      const out: string[] = [];
      while (delimiter || rest) {
        const found = delimiter ? { index: rest.indexOf(delimiter), length: delimiter.length } : whitespace(rest);
        if (found.index < 0 || out.length >= limit) {
          out.push(rest);
          break;
        }
        out.push(rest.slice(0, found.index));
        rest = rest.slice(found.index + found.length);
      }
      return out;
    });
    const most = parts.reduce((top, list) => Math.max(top, list.length), 0);
    const data = parts.flatMap(list => [...list, ...new Array<string>(most - list.length).fill('')]);
    return [
      { type: 'string', dims: [...dims, most], data },
      { type: 'int64', dims, data: BigInt64Array.from(parts, list => BigInt(list.length)) },
    ];
  },
};

function whitespace(s: string): { index: number; length: number } {
  const found = /\s+/.exec(s);
  return found ? { index: found.index, length: found[0].length } : { index: -1, length: 0 };
}

const regexFullMatch: Operator = {
  attributes: ['pattern'],
  infer: (node, inputs: Inputs<Info>) => [{ type: 'bool', dims: need(node, inputs, 0).dims }],
  run(node, inputs) {
    const pattern = text(node, 'pattern') ?? fail(node, 'attribute pattern is missing');
    let regex: RegExp;
    try {
      regex = new RegExp(`^(?:${pattern})$`, 'u');
    } catch (error) {
      return fail(node, `cannot use the pattern ${pattern}: ${(error as Error).message}`);
    }
    const data = Uint8Array.from(strings(node, inputs, 0), s => Number(regex.test(s)));
    return [{ type: 'bool', dims: need(node, inputs, 0).dims, data }];
  },
};

/** Counts n-grams (with gaps of up to `max_skip_count`) of a pool in sequences [c] or [n, c]. */
const tfIdf: Operator = {
  attributes: [
    ...['max_gram_length', 'max_skip_count', 'min_gram_length', 'mode', 'ngram_counts', 'ngram_indexes'],
    ...['pool_int64s', 'pool_strings', 'weights'],
  ],
  infer(node, inputs: Inputs<Info>) {
    const columns = Math.max(...numbers(node, 'ngram_indexes', [])!) + 1;
    return [{ type: 'float32', dims: [...need(node, inputs, 0).dims.slice(0, -1), columns] }];
  },
  run(node, inputs) {
    const value: Value = need(node, inputs, 0);
    const [{ dims }] = tfIdf.infer!(node, inputs);
    const pool = (numbers(node, 'pool_int64s') ?? texts(node, 'pool_strings') ?? []) as readonly unknown[];
    const [starts, columns] = [numbers(node, 'ngram_counts', [])!, numbers(node, 'ngram_indexes', [])!];
    const key = (items: readonly unknown[]) => items.join('\0');
    const columnOf = new Map<string, number>();
    const weightOf = new Map<number, number>();
    const weights = numbers(node, 'weights');
    let gram = 0;
    starts.forEach((start, k) => {
      const end = starts[k + 1] ?? pool.length;
      for (let at = start; at + k < end; at += k + 1, gram++) {
        columnOf.set(key(pool.slice(at, at + k + 1)), columns[gram]);
        weightOf.set(columns[gram], weights?.[gram] ?? 1);
      }
    });
    const [shortest, longest] = [number(node, 'min_gram_length', 1), number(node, 'max_gram_length', 1)];
    const skips = number(node, 'max_skip_count', 0);
    const width = dims.at(-1)!;
    const length = value.dims.at(-1)!;
    const items = Array.from(value.data as readonly unknown[]);
    const data = new Float32Array(sizeOf(dims));
    for (let row = 0; row * width < data.length; row++) {
      const sequence = items.slice(row * length, (row + 1) * length);
      for (let n = shortest; n <= longest; n++) {
        for (let step = 1; step <= (n === 1 ? 1 : skips + 1); step++) {
          for (let i = 0; i + (n - 1) * step < length; i++) {
            const column = columnOf.get(key(Array.from({ length: n }, (_, j) => sequence[i + j * step])));
            if (column !== undefined) data[row * width + column]++;
          }
        }
      }
    }
    const mode = text(node, 'mode', 'TF');
    if (mode !== 'TF') {
      data.forEach((count, i) => {
        data[i] = (mode === 'IDF' ? Math.min(count, 1) : count) * (weightOf.get(i % width) ?? 1);
      });
    }
    return [{ type: 'float32', dims, data }];
  },
};

export const operators: Operators = {
  StringConcat: stringConcat,
  StringNormalizer: stringNormalizer,
  StringSplit: stringSplit,
  RegexFullMatch: regexFullMatch,
  TfIdfVectorizer: tfIdf,
};
