import { FormatError } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { numbers, readCsv, strings } from './csv.ts';

describe('readCsv', () => {
  it('reads quotes, line ends, empty fields and types', () => {
    const table = readCsv('\ufeffname,n,"x, y"\r\n"a ""b""\nc",1,2.5\r\n\r\n,-2,1e3');
    expect(table.length).toBe(2);
    expect(table.columns).toEqual({
      name: ['a "b"\nc', ''],
      n: { dtype: 'float64', shape: [2], data: Float64Array.from([1, -2]) },
      'x, y': { dtype: 'float64', shape: [2], data: Float64Array.from([2.5, 1000]) },
    });
  });

  it('takes other delimiters, given headers and types, and no quotes', () => {
    const table = readCsv('1\t"\t2\n3\tb\t4\n', {
      delimiter: '\t',
      header: ['a', 'b', 'c'],
      quotes: false,
      types: { a: 'int32', c: 'float32' },
    });
    expect(table.columns.a).toEqual({ dtype: 'int32', shape: [2], data: Int32Array.from([1, 3]) });
    expect(table.columns.b).toEqual(['"', 'b']);
    expect(table.columns.c).toEqual({ dtype: 'float32', shape: [2], data: Float32Array.from([2, 4]) });
    expect(Object.keys(readCsv('1,2', { header: false }).columns)).toEqual(['0', '1']);
    expect(readCsv('a,b\n1,').columns.b).toEqual(['']);
    expect(readCsv('a,b').length).toBe(0);
    expect(readCsv('a\n1', { types: { a: 'string' } }).columns.a).toEqual(['1']);
  });

  it('names the line of what is malformed', () => {
    expect(() => readCsv('a,b\n1,2\n3\n', { name: 'x.csv' })).toThrow('x.csv: line 3 has 1 fields, expected 2');
    expect(() => readCsv('a\n"b\nc')).toThrow('line 2: a quote is not closed');
    expect(() => readCsv('a\n"b"c\n')).toThrow('line 2: text follows a closing quote');
    expect(() => readCsv('a,b\n"1\n2",x\n3,4', { types: { b: 'float64' } })).toThrow(
      'line 2: b is "x", expected float64',
    );
    expect(() => readCsv('a\n1.5', { types: { a: 'int32' } })).toThrow('expected int32');
    expect(() => readCsv('a,a\n1,2')).toThrow('same name');
    expect(() => readCsv('')).toThrow(FormatError);
    expect(() => readCsv('a\n1', { types: { b: 'int32' } })).toThrow("no column 'b'");
  });

  it('finds columns by kind', () => {
    const table = readCsv('a,b\n1,x');
    expect(numbers(table, 'a').data).toEqual(Float64Array.of(1));
    expect(strings(table, 'b')).toEqual(['x']);
    expect(() => numbers(table, 'b')).toThrow("no numeric column 'b'; columns are a, b");
    expect(() => strings(table, 'c')).toThrow("no text column 'c'");
  });
});
