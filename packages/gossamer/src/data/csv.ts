import { check, FormatError, type NDArray } from '@gossamer/tensor';

/** A column of a table: numbers or text. */
export type Column = NDArray<Float32Array> | NDArray<Float64Array> | NDArray<Int32Array> | string[];

export interface Table {
  readonly length: number;
  /** Columns by name, in the file's order. */
  readonly columns: Readonly<Record<string, Column>>;
}

export interface CsvOptions {
  /** Between fields; default `,`. */
  delimiter?: string;
  /** `true` (default): the first record names the columns. Else the names, or `false` for `0`, `1`, …. */
  header?: boolean | readonly string[];
  /** Type of a column by name; others are `float64` if every field is a number, else `string`. */
  types?: Readonly<Record<string, 'float32' | 'float64' | 'int32' | 'string'>>;
  /** Whether `"` quotes fields (RFC 4180); default true. */
  quotes?: boolean;
  /** For error messages; default `csv`. */
  name?: string;
}

/**
 * Reads comma- or otherwise separated values (RFC 4180): quoted fields may hold delimiters, doubled quotes and line
 * breaks; lines end in LF or CRLF; a byte-order mark and empty lines are skipped. Throws a FormatError with the line for
 * an open quote, a record of another length, or a field that is not of its column's type.
 */
export function readCsv(text: string, options: CsvOptions = {}): Table {
  const { delimiter = ',', header = true, types = {}, quotes = true, name = 'csv' } = options;
  check(
    delimiter.length === 1 && !'"\r\n'.includes(delimiter),
    () => `readCsv: delimiter ${JSON.stringify(delimiter)}`,
  );
  const records = parse(text.replace(/^\ufeff/, ''), delimiter, quotes, name);
  const names = header === true ? records.shift()?.fields : header === false ? undefined : [...header];
  if (header === true && !names) throw new FormatError(`${name}: empty, expected a header`);
  const columns = names ?? (records[0]?.fields ?? []).map((_, i) => String(i));
  if (new Set(columns).size !== columns.length) throw new FormatError(`${name}: two columns have the same name`);
  for (const key of Object.keys(types)) {
    check(columns.includes(key), () => `readCsv: no column '${key}'; columns are ${columns.join(', ')}`);
  }
  for (const { fields, line } of records) {
    if (fields.length !== columns.length) {
      throw new FormatError(`${name}: line ${line} has ${fields.length} fields, expected ${columns.length}`);
    }
  }
  return {
    length: records.length,
    columns: Object.fromEntries(columns.map((key, i) => [key, column(records, i, key, types[key], name)])),
  };
}

interface Row {
  fields: string[];
  line: number;
}

function parse(text: string, delimiter: string, quotes: boolean, name: string): Row[] {
  const records: Row[] = [];
  let fields: string[] = [];
  let line = 1;
  let first = 1;
  for (let at = 0; at < text.length; ) {
    let field: string;
    if (quotes && text[at] === '"') {
      [field, at] = quoted(text, at, `${name}: line ${line}`);
      line += field.split('\n').length - 1;
      if (at < text.length && !`${delimiter}\r\n`.includes(text[at])) {
        throw new FormatError(`${name}: line ${line}: text follows a closing quote`);
      }
    } else {
      const end = fieldEnd(text, at, delimiter);
      field = text.slice(at, end);
      at = end;
    }
    fields.push(field);
    if (text[at] === delimiter) {
      // A delimiter at the very end leaves an empty last field.
      if (++at === text.length) fields.push('');
      else continue;
    }
    if (text[at] === '\r' && text[at + 1] === '\n') at++;
    at++;
    line++;
    if (fields.length > 1 || fields[0] !== '') records.push({ fields, line: first });
    fields = [];
    first = line;
  }
  if (fields.length > 0) records.push({ fields, line: first });
  return records;
}

function fieldEnd(text: string, at: number, delimiter: string): number {
  while (at < text.length) {
    const char = text[at];
    if (char === delimiter || char === '\n' || (char === '\r' && text[at + 1] === '\n')) return at;
    at++;
  }
  return at;
}

/** A quoted field from its opening quote on, and the place after its closing one. */
function quoted(text: string, open: number, where: string): [string, number] {
  for (let at = open + 1; ; at += 2) {
    at = text.indexOf('"', at);
    if (at < 0) throw new FormatError(`${where}: a quote is not closed`);
    if (text[at + 1] !== '"') return [text.slice(open + 1, at).replaceAll('""', '"'), at + 1];
  }
}

const isNumber = (field: string): boolean => field.trim() !== '' && !Number.isNaN(Number(field));

function column(records: Row[], i: number, key: string, type: string | undefined, name: string): Column {
  const kind = type ?? (records.every(({ fields }) => isNumber(fields[i])) ? 'float64' : 'string');
  if (kind === 'string') return records.map(({ fields }) => fields[i]);
  const numbers = Float64Array.from(records, ({ fields, line }) => {
    const value = Number(fields[i]);
    if (!isNumber(fields[i]) || (kind === 'int32' && value !== (value | 0))) {
      throw new FormatError(`${name}: line ${line}: ${key} is ${JSON.stringify(fields[i])}, expected ${kind}`);
    }
    return value;
  });
  const shape = [records.length];
  if (kind === 'int32') return { dtype: 'int32', shape, data: Int32Array.from(numbers) };
  if (kind === 'float32') return { dtype: 'float32', shape, data: Float32Array.from(numbers) };
  return { dtype: 'float64', shape, data: numbers };
}

/** A numeric column of a table, or a FormatError. */
export function numbers(table: Table, key: string, name = 'csv'): Exclude<Column, string[]> {
  const found = table.columns[key];
  if (found === undefined || Array.isArray(found)) {
    throw new FormatError(`${name}: no numeric column '${key}'; columns are ${Object.keys(table.columns).join(', ')}`);
  }
  return found;
}

/** A text column of a table, or a FormatError. */
export function strings(table: Table, key: string, name = 'csv'): string[] {
  const found = table.columns[key];
  if (!Array.isArray(found)) {
    throw new FormatError(`${name}: no text column '${key}'; columns are ${Object.keys(table.columns).join(', ')}`);
  }
  return found;
}
