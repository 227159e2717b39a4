import { isMap, isPair, isScalar, LineCounter, parseDocument } from 'yaml';

/** A place in the configuration file, counted from one. */
interface FilePosition {
  readonly line: number;
  readonly column: number;
}

/** A configuration file as data, with the way back from a key to its line. */
export interface ParsedFile {
  readonly data: unknown;
  readonly problems: readonly { readonly position: FilePosition; readonly text: string }[];
  /** Finds where a key stands; falls back to the nearest key above it. */
  positionOf(path: readonly PropertyKey[]): FilePosition;
}

/** Reads YAML 1.2. Never throws: what is wrong with the text is in `problems`. */
export function parseConfigText(text: string): ParsedFile {
  const lines = new LineCounter();
  // A billion-laughs file is refused by the library's own alias limit; an anchor or two stays possible.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const at = (offset: number): FilePosition => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const problems = document.errors.map((error) => ({ position: at(error.pos[0]), text: error.message }));
  let data: unknown;
  if (problems.length === 0) {
    try {
      data = document.toJS({ maxAliasCount: 100 });
    } catch (error) {
      problems.push({ position: { line: 1, column: 1 }, text: error instanceof Error ? error.message : String(error) });
    }
  }
  return {
    data,
    problems,
    positionOf(path) {
      let node: unknown = document.contents;
      let offset = 0;
      for (const segment of path) {
        if (isMap(node)) {
          const pair: unknown = node.items.find(
            (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(segment),
          );
          if (!isPair(pair)) break;
          if (isScalar(pair.key) && pair.key.range) offset = pair.key.range[0];
          node = pair.value;
        } else if (typeof segment === 'number' && node !== null && typeof node === 'object' && 'items' in node) {
          node = (node.items as unknown[])[segment];
          if (node !== null && typeof node === 'object' && 'range' in node && Array.isArray(node.range)) {
            offset = Number(node.range[0]);
          }
        } else break;
      }
      return at(offset);
    },
  };
}
