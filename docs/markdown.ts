/** Opens a generated page: its title, where it comes from, and what it is. */
export function pageHead(title: string, source: string, text: string): string {
  return `# ${title}\n\n<!-- Written by \`npm run docs\` from ${source}; do not edit. -->\n\n${text}\n`;
}

/** Writes a table; cells may hold anything but line ends. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), `|${head.map(() => ' --- |').join('')}`, ...rows.map(line)].join('\n');
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ').trim() || '-';
}

export function code(text: string): string {
  return text === '' ? '' : `\`${text}\``;
}
