import { defineConfig } from 'vitest/config';

const project = (name: string, timeoutMs: number, extra: Record<string, unknown> = {}) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
    ...extra,
  },
});

/** One project per folder of `test/`; `npm test` runs those that need no Debian package. */
export default defineConfig({
  test: {
    projects: [
      { test: { name: 'architecture', include: ['test/*.test.ts'], testTimeout: 30_000 } },
      project('unit', 60_000),
      project('contract', 60_000),
      project('property', 120_000),
      project('integration', 120_000, { fileParallelism: false }),
      project('fault', 600_000, { fileParallelism: false }),
      // What is installed, not what is developed.
      project('clients', 600_000, { fileParallelism: false, env: { TESTED_PROGRAM: 'dist/main.js' } }),
    ],
  },
});
