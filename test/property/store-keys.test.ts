import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KeyValue } from '../../src/store/key-value.ts';
import { openLevelKeyValue } from '../../src/store/level/level-key-value.ts';
import { createMemoryKeyValue } from '../../src/store/memory/memory-key-value.ts';
import { escapePart, keyParts, keys, prefixRange } from '../../src/store/metadata/keys.ts';
import { decodeSignedPieces, encodeSignedPieces } from '../../src/store/metadata/signed-pieces.ts';
import { collect, createIdentity } from '../support/store-fixtures.ts';

describe('keys', () => {
  it('keep any text apart and give it back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (one, other) => {
        const key = keys.tag({ namespace: one, name: other }, one);
        expect(key).toMatch(/^[\x21-\x7e]*$/);
        expect(keyParts(key)).toEqual(['t', one, other, one]);
        expect(escapePart(one) === escapePart(other)).toBe(one === other);
      }),
    );
  });

  it('leave valid names as they are', () => {
    expect(keys.tag({ namespace: 'localhost:5000', name: 'a/b-c_d.e' }, 'V1.2-x_y')).toBe(
      't!localhost:5000!a/b-c_d.e!V1.2-x_y',
    );
  });
});

describe('signed pieces', () => {
  it('come back as they were', () => {
    const signers = [createIdentity().peerId, createIdentity().peerId];
    const piece = fc.record({
      index: fc.nat(),
      hash: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      signer: fc.constantFrom(...signers),
      signature: fc.uint8Array({ minLength: 64, maxLength: 64 }),
    });
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        expect(decodeSignedPieces('p', encodeSignedPieces(pieces))).toEqual(pieces);
      }),
    );
  });

  it('refuse anything else with a code', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(() => decodeSignedPieces('p', text)).toThrow(expect.objectContaining({ code: 'STORE_CORRUPT' }));
      }),
    );
  });
});

describe('LevelDB and its memory twin', () => {
  const key = fc.string({ unit: fc.constantFrom('a', 'b', '!', '~', '.'), maxLength: 4 }).map((text) => `k${text}`);
  const change = fc.oneof(
    fc.record({ type: fc.constant('put' as const), key, value: fc.string() }),
    fc.record({ type: fc.constant('del' as const), key }),
  );

  it('hold the same after the same batches', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'shoal-level-'));
    const options = { createIfMissing: true, onDamage: () => {}, makeRoom: async () => true };
    let count = 0;
    try {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(change, { maxLength: 6 }), { maxLength: 8 }),
          fc.record({
            prefix: key,
            after: fc.option(key, { nil: undefined }),
            limit: fc.option(fc.nat(5), { nil: undefined }),
          }),
          async (batches, { prefix, after, limit }) => {
            count += 1;
            const level = await openLevelKeyValue({ directory: join(directory, String(count)), ...options });
            const memory = createMemoryKeyValue();
            const both: KeyValue[] = [level, memory];
            for (const keyValue of both) {
              await Promise.all(batches.map((batch) => keyValue.batch(batch, { isDurable: batch.length > 3 })));
            }
            const range = { ...prefixRange(prefix, after), ...(limit !== undefined && { limit }) };
            const [held, twin] = await Promise.all(both.map((keyValue) => collect(keyValue.walk(range))));
            expect(held).toEqual(twin);
            for (const [name, value] of twin ?? []) expect(await level.find(name)).toBe(value);
            await level.close();
          },
        ),
        { numRuns: 40 },
      );
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  it('walk further than one step, and see an end', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'shoal-level-'));
    const level = await openLevelKeyValue({
      directory,
      createIfMissing: true,
      onDamage: () => {},
      makeRoom: async () => true,
    });
    const names = Array.from({ length: 1536 }, (_, index) => `k${String(index).padStart(5, '0')}`);
    await level.batch(
      names.map((name) => ({ type: 'put', key: name, value: 'v' })),
      { isDurable: false },
    );
    expect((await collect(level.walk(prefixRange('k')))).map(([name]) => name)).toEqual(names);
    expect(await collect(level.walk({ ...prefixRange('k'), limit: 1025 }))).toHaveLength(1025);
    await level.close();
    await rm(directory, { recursive: true, force: true });
  });
});
