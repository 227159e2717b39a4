/** One import or re-export of a file, static or dynamic. */
export interface FileImport {
  readonly specifier: string;
  readonly isType: boolean;
}

const pattern =
  /^(?:import|export)\s+(?<type>type\s)?(?:[^'";]*?\sfrom\s+)?'(?<fixed>[^']+)'|\bimport\(\s*'(?<dynamic>[^']+)'\s*\)/gm;

/** Reads the imports out of a source file in this repository's format (Biome: single quotes, imports at line starts). */
export function readImports(text: string): readonly FileImport[] {
  return [...text.matchAll(pattern)].map(({ groups }) => ({
    specifier: groups?.['fixed'] ?? groups?.['dynamic'] ?? '',
    isType: groups?.['type'] !== undefined,
  }));
}

/** Returns the package of a bare specifier: `@scope/name/sub` -> `@scope/name`. */
export function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}
