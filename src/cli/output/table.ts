import { stripVTControlCharacters, styleText } from 'node:util';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

/** Names columns of text, next to each other. */
export const leftColumns = (...titles: string[]): Column[] => titles.map((title) => ({ title }));

/** Names columns of figures, next to each other. */
export const rightColumns = (...titles: string[]): Column[] => titles.map((title) => ({ title, align: 'right' }));

/** Lays rows out in columns, two spaces apart; the last left-aligned column is not padded. Cells may carry colours. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  isColoured = false,
): string {
  const widths = columns.map((column, at) => Math.max(width(column.title), ...rows.map((row) => width(row[at] ?? ''))));
  const line = (cells: readonly string[]) =>
    columns
      .map((column, at) => {
        const cell = cells[at] ?? '';
        const space = ' '.repeat((widths[at] ?? 0) - width(cell));
        return column.align === 'right' ? space + cell : cell + space;
      })
      .join('  ')
      .trimEnd();
  const head = line(columns.map((column) => column.title));
  return [isColoured ? styleText('bold', head, { validateStream: false }) : head, ...rows.map(line)].join('\n');
}

function width(text: string): number {
  return stripVTControlCharacters(text).length;
}

/** Cuts a line with colours to a visible width, so that it never wraps and spoils the redraw. */
export function cutLine(text: string, columns: number): string {
  let visible = 0;
  let at = 0;
  while (at < text.length) {
    if (text[at] === '\x1b') {
      const end = text.indexOf('m', at);
      at = end < 0 ? text.length : end + 1;
      continue;
    }
    if (visible === columns) return `${text.slice(0, at)}\x1b[0m`;
    visible += 1;
    at += 1;
  }
  return text;
}
