import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A directory of its own that is gone at the end of the scope. */
export function createTempDir(name: string): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), `shoal-${name}-`));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
