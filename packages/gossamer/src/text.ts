/** Numbers, bars and tables as plain text for a terminal. */

/** 1234567 → `1.23 M`; three significant digits, a suffix for each power of 1000. */
export function quantity(n: number): string {
  if (n < 0) return `-${quantity(-n)}`;
  if (n < 1000) return n < 10 && !Number.isInteger(n) ? n.toFixed(2) : String(Math.round(n));
  const power = Math.min(4, Math.floor(Math.log10(n) / 3));
  const scaled = n / 1000 ** power;
  // 999 996 rounds to 1000 k: write the next unit instead.
  if (Number(scaled.toPrecision(3)) >= 1000 && power < 4) return quantity(1000 ** (power + 1));
  return `${scaled >= 1000 ? Math.round(scaled) : scaled.toPrecision(3)} ${'kMGT'[power - 1]}`;
}

/** 1234567 → `1,234,567`. */
export const grouped = (n: number): string => n.toLocaleString('en-US');

/** 0.1234 → `12.3 %`. */
export const percent = (share: number, digits = 1): string => `${(100 * share).toFixed(digits)} %`;

/** Seconds as `0:07`, `12:34` or `1:02:03`. */
export function clock(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–:––';
  const s = Math.max(0, Math.round(seconds));
  const two = (n: number) => String(n).padStart(2, '0');
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** A bar of `width` characters, filled in eighths of a character; any positive share shows. */
export function bar(share: number, width: number): string {
  const full = Math.min(1, Math.max(0, share)) * width * 8;
  const eighths = full > 0 ? Math.max(1, Math.round(full)) : 0;
  const part = eighths % 8;
  return ('█'.repeat(Math.floor(eighths / 8)) + (part ? '▏▎▍▌▋▊▉'[part - 1] : '')).padEnd(width, '·');
}

const invisible = /[\p{Mn}\p{Me}\p{Cf}]/u;
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

/** Columns that a text takes in a terminal: none for a combining mark, two for a wide character. */
export function textWidth(text: string): number {
  let width = 0;
  for (const c of text) width += invisible.test(c) ? 0 : wide.test(c) ? 2 : 1;
  return width;
}

/** The text cut to `width` columns, with an ellipsis where something is missing. */
export function fit(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  let cut = '';
  let used = 1;
  for (const c of text) {
    if ((used += textWidth(c)) > width) break;
    cut += c;
  }
  return `${cut}…`;
}

export interface Column {
  readonly head: string;
  /** Default `right` for columns whose cells all begin with a digit, `left` for others. */
  readonly align?: 'left' | 'right';
}

/** Rows as aligned text under a line of heads. A `null` row is a rule across the table. */
export function table(columns: readonly (string | Column)[], rows: readonly (readonly string[] | null)[]): string {
  const full = rows.filter(row => row !== null);
  const heads = columns.map(c => (typeof c === 'string' ? c : c.head));
  const widths = heads.map((head, c) => Math.max(textWidth(head), ...full.map(row => textWidth(row[c] ?? ''))));
  const right = columns.map((column, c) => {
    if (typeof column !== 'string' && column.align) return column.align === 'right';
    const cells = full.map(row => row[c] ?? '').filter(cell => cell !== '');
    return cells.length > 0 && cells.every(cell => /^[-+±≤]?\s*[\d.]/.test(cell) || cell === '–');
  });
  const line = (cells: readonly string[]) =>
    widths
      .map((width, c) => {
        const cell = cells[c] ?? '';
        const space = ' '.repeat(width - textWidth(cell));
        return right[c] ? space + cell : cell + space;
      })
      .join('  ')
      .trimEnd();
  const rule = '─'.repeat(widths.reduce((n, w) => n + w + 2, -2));
  return [line(heads), rule, ...rows.map(row => (row === null ? rule : line(row)))].join('\n');
}
