import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isCode } from '../../src/lib/errors.ts';
import { KeyedMutex } from '../../src/lib/keyed-mutex.ts';
import { Semaphore } from '../../src/lib/semaphore.ts';
import { SingleFlight } from '../../src/lib/single-flight.ts';
import { WireReader, WireWriter } from '../../src/lib/wire.ts';

const max = Number.MAX_SAFE_INTEGER;
const breathe = () => new Promise((resolve) => setImmediate(resolve));

describe('wire', () => {
  const field = fc.oneof(
    fc.record({ kind: fc.constant('number' as const), value: fc.maxSafeNat() }),
    fc.record({ kind: fc.constant('bytes' as const), value: fc.uint8Array({ maxLength: 600 }) }),
    fc.record({ kind: fc.constant('text' as const), value: fc.string({ unit: 'grapheme' }) }),
  );

  it('reads what was written', () => {
    fc.assert(
      fc.property(fc.array(field), (fields) => {
        const writer = new WireWriter();
        for (const { kind, value } of fields) {
          if (kind === 'number') writer.number(value);
          else if (kind === 'bytes') writer.bytes(value);
          else writer.text(value);
        }
        const reader = new WireReader(writer.finish());
        for (const { kind, value } of fields) {
          const read = kind === 'bytes' ? Uint8Array.from(reader.bytes(max)) : reader[kind](max);
          expect(read).toEqual(value);
        }
        reader.end();
      }),
    );
  });

  it('never throws anything but its code on random bytes, and never reads past them', () => {
    const verbs = fc.array(fc.constantFrom('number' as const, 'bytes' as const, 'text' as const, 'fixed' as const));
    fc.assert(
      fc.property(fc.uint8Array(), verbs, fc.nat(300), (bytes, calls, bound) => {
        const reader = new WireReader(bytes);
        try {
          for (const call of calls) {
            const value = reader[call](bound);
            if (typeof value === 'number') expect(value).toBeLessThanOrEqual(bound);
            else expect(value.length).toBeLessThanOrEqual(Math.min(bound, bytes.length));
          }
          reader.end();
        } catch (error) {
          if (!isCode(error, 'WIRE_INVALID')) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('waiting in line', () => {
  it('a semaphore never has more holders than its limit and loses no turn, whoever gives up', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.record({ holds: fc.nat(3), leavesAfter: fc.option(fc.nat(6), { nil: undefined }) }), {
          maxLength: 20,
        }),
        async (limit, visitors) => {
          const semaphore = new Semaphore(limit);
          let inside = 0;
          const visits = visitors.map(async ({ holds, leavesAfter }) => {
            const aborter = new AbortController();
            const leaving = (async () => {
              for (let turn = 0; turn < (leavesAfter ?? 0); turn += 1) await breathe();
              if (leavesAfter !== undefined) aborter.abort();
            })();
            try {
              const release = await semaphore.acquire(aborter.signal);
              inside += 1;
              expect(inside).toBeLessThanOrEqual(limit);
              for (let turn = 0; turn < holds; turn += 1) await breathe();
              inside -= 1;
              release();
            } catch (error) {
              expect(error).toBe(aborter.signal.reason);
            }
            await leaving;
          });
          await Promise.all(visits);
          expect([semaphore.held, semaphore.waiting]).toEqual([0, 0]);
        },
      ),
    );
  });

  it('a keyed mutex has one holder per key and never deadlocks', async () => {
    const keys = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(fc.array(keys, { maxLength: 12 }), async (visitors) => {
        const mutex = new KeyedMutex();
        const held = new Set<string>();
        const visits = visitors.map((wanted) =>
          mutex.runAll(wanted, async () => {
            const distinct = new Set(wanted);
            for (const key of distinct) {
              expect(held.has(key)).toBe(false);
              held.add(key);
            }
            await breathe();
            for (const key of distinct) held.delete(key);
          }),
        );
        await Promise.all(visits);
        expect(mutex.size).toBe(0);
      }),
    );
  });

  it('a single flight never runs two calls of a key at once for waiters who stay', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.nat(4)), { maxLength: 20 }),
        async (visitors) => {
          const flights = new SingleFlight<string, string>();
          const flying = new Set<string>();
          const visits = visitors.map(async ([key, arrivesAfter]) => {
            for (let turn = 0; turn < arrivesAfter; turn += 1) await breathe();
            return await flights.run(key, new AbortController().signal, async () => {
              expect(flying.has(key)).toBe(false);
              flying.add(key);
              await breathe();
              await breathe();
              flying.delete(key);
              return key;
            });
          });
          expect(await Promise.all(visits)).toEqual(visitors.map(([key]) => key));
          expect(flights.size).toBe(0);
        },
      ),
    );
  });
});
