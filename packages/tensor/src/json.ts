/** Parses UTF-8 JSON strictly: throws a SyntaxError on invalid UTF-8 and on an object that repeats a key. */
export function parseJson(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new SyntaxError('invalid UTF-8');
  }
  const value: unknown = JSON.parse(text);
  const repeated = repeatedKey(text);
  if (repeated !== undefined) throw new SyntaxError(`key ${JSON.stringify(repeated.slice(0, 100))} occurs twice`);
  return value;
}

/** `value` is a JSON object (not an array, not null). */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A short text for an error message; shallow, since a hostile file may nest without end. */
export function show(value: unknown): string {
  if (Array.isArray(value)) {
    const items = value.slice(0, 8).map(item => (Array.isArray(item) ? '[…]' : show(item)));
    return `[${items.join(', ')}${value.length > 8 ? ', …' : ''}]`;
  }
  if (typeof value === 'string') return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}…` : value);
  return typeof value === 'object' && value !== null ? '{…}' : String(value);
}

/** The first key that an object of the valid JSON `text` repeats. `JSON.parse` would silently keep the last one. */
function repeatedKey(text: string): string | undefined {
  const keysOfOpen: (Set<string> | null)[] = []; // one entry for each open object; null for an array
  let atKey = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '"') {
      const end = closingQuote(text, i);
      if (atKey) {
        const key: string = JSON.parse(text.slice(i, end + 1));
        const keys = keysOfOpen.at(-1)!;
        if (keys.has(key)) return key;
        keys.add(key);
        atKey = false;
      }
      i = end;
    } else if (c === '{') {
      keysOfOpen.push(new Set());
      atKey = true;
    } else if (c === '[') {
      keysOfOpen.push(null);
      atKey = false;
    } else if (c === '}' || c === ']') {
      keysOfOpen.pop();
      atKey = false;
    } else if (c === ',') {
      atKey = keysOfOpen.at(-1) !== null;
    }
  }
}

function closingQuote(text: string, open: number): number {
  for (let i = open + 1; ; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === '"') return i;
  }
}
