import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { backMemory } from '../../../bench/lab/backed-memory.ts';

const MiB = 1024 * 1024;

describe('backing memory', () => {
  it.each(['/dev/shm', tmpdir()].filter((place) => existsSync(place)))('leaves nothing behind in %s', async (place) => {
    const directory = mkdtempSync(join(place, 'shoal-test-'));
    try {
      await using _memory = await backMemory(directory, 3 * MiB);
      expect(readdirSync(directory)).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
