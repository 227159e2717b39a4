import { stripVTControlCharacters, styleText } from 'node:util';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

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
