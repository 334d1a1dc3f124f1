import { describe, expect, it } from 'vitest';
import { isObject, parseJson, show } from './json.ts';

const parse = (text: string) => parseJson(new TextEncoder().encode(text));

describe('parseJson', () => {
  it('reads what JSON.parse reads', () => {
    const text = '{"a":[{"a":1},{"a":[]}],"b":{"a":"{\\"a\\":1,\\\\"},"c":",\\"a\\":","":["a","a"],"d":"é\\u0061"}';
    expect(parse(text)).toEqual(JSON.parse(text));
    expect([parse('null'), parse('"a"'), parse('[]'), parse(' 1 ')]).toEqual([null, 'a', [], 1]);
  });

  it.each([
    ['{"a":1,"a":1}', 'a'],
    ['[[],{"b":{"a":1},"a":2,"b":3}]', 'b'],
    ['{"a":{"x":[1,{"k":0,"l":",","k":0}]}}', 'k'],
    ['{"\\u0061\\"":1,"a\\"":2}', 'a\\"'],
    ['{"":1,"":2}', ''],
  ])('refuses the repeated key in %s', (text, key) => {
    expect(() => parse(text)).toThrow(new SyntaxError(`key "${key}" occurs twice`));
  });

  it('refuses invalid UTF-8, a byte order mark and broken JSON as a SyntaxError', () => {
    expect(() => parseJson(Uint8Array.of(0x22, 0xc0, 0x22))).toThrow(new SyntaxError('invalid UTF-8'));
    expect(() => parse('\ufeff{}')).toThrow(SyntaxError);
    expect(() => parse('{"a":1')).toThrow(SyntaxError);
  });
});

it('shows any value in a few characters', () => {
  const long = Array.from({ length: 9 }, (_, i) => i);
  const values = [1, null, undefined, 'a"', 'x'.repeat(200), long, [[1], {}], { a: 1 }];
  expect(values.map(show)).toEqual([
    '1',
    'null',
    'undefined',
    '"a\\""',
    `"${'x'.repeat(100)}…"`,
    '[0, 1, 2, 3, 4, 5, 6, 7, …]',
    '[[…], {…}]',
    '{…}',
  ]);
  expect([isObject({}), isObject([]), isObject(null), isObject('')]).toEqual([true, false, false, false]);
});
