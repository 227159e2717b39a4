import { readFileSync } from 'node:fs';

/** Reads the version of this package; the file stands two folders up in the sources and in `dist/` alike. */
export function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
