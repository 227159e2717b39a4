import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Bitfield } from '../../src/content/bitfield.ts';
import { createInlinePrefixVerifiers } from '../../src/content/inline-prefix-verifiers.ts';
import { extentOf, extentPieceRange, pieceAt, pieceRange, planPieces } from '../../src/content/piece-plan.ts';
import { digestOf } from '../../src/oci/digest.ts';

const TiB = 2 ** 40;

describe('Bitfield', () => {
  it('is a Set of indexes', () => {
    const step = fc.tuple(fc.constantFrom('add' as const, 'delete' as const), fc.nat(70));
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 71 }), fc.array(step, { maxLength: 200 }), (size, steps) => {
        const bitfield = new Bitfield(size);
        const model = new Set<number>();
        for (const [verb, index] of steps.filter(([, at]) => at < size)) {
          const changes = verb === 'add' ? !model.has(index) : model.has(index);
          expect(bitfield[verb](index)).toBe(changes);
          model[verb](index);
        }
        expect([...bitfield]).toEqual([...model].sort((a, b) => a - b));
        expect([bitfield.count, bitfield.isFull]).toEqual([model.size, model.size === size]);
        let run = 0;
        while (model.has(run)) run += 1;
        expect(bitfield.runFrom(0)).toBe(run);
        const copy = Bitfield.decode(size, bitfield.encode());
        expect([...(copy ?? [])]).toEqual([...bitfield]);
        expect(copy?.count).toBe(bitfield.count);
      }),
    );
  });

  it('takes only bytes that it would write itself', () => {
    fc.assert(
      fc.property(fc.nat(40), fc.uint8Array({ maxLength: 6 }), (size, bytes) => {
        const bitfield = Bitfield.decode(size, bytes);
        if (bitfield !== undefined) expect(bitfield.encode()).toEqual(bytes);
      }),
    );
  });
});

describe('piece plan', () => {
  const sizes = fc.oneof(
    fc.nat(3_000_000),
    fc.nat(2 ** 31 - 1),
    fc.maxSafeNat().map((size) => size % (4 * TiB)),
  );

  it('covers every byte by one piece and every piece by one extent', () => {
    fc.assert(
      fc.property(sizes, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (sizeBytes, at) => {
        const plan = planPieces(sizeBytes);
        expect(plan.pieceCount === 0).toBe(sizeBytes === 0);
        if (sizeBytes === 0) return;
        const offset = Math.floor(at * sizeBytes);
        const piece = pieceAt(plan, offset);
        const range = pieceRange(plan, piece);
        expect(range.start <= offset && offset < range.end && range.end <= sizeBytes).toBe(true);
        expect(pieceRange(plan, 0).start).toBe(0);
        expect(pieceRange(plan, plan.pieceCount - 1).end).toBe(sizeBytes);
        if (piece > 0) expect(pieceRange(plan, piece - 1).end).toBe(range.start);

        const extent = extentOf(plan, piece);
        const pieces = extentPieceRange(plan, extent);
        expect(pieces.start <= piece && piece < pieces.end && pieces.end <= plan.pieceCount).toBe(true);
        expect(extentPieceRange(plan, plan.extentCount - 1).end).toBe(plan.pieceCount);
        if (extent > 0) expect(extentPieceRange(plan, extent - 1).end).toBe(pieces.start);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('inline prefix verifiers', () => {
  it('compute the digest whatever the steps of advance and the lengths of reads', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 400 }),
        fc.array(fc.tuple(fc.nat(400), fc.boolean()), { maxLength: 12 }),
        fc.integer({ min: 1, max: 90 }),
        async (bytes, steps, readBytes) => {
          const verifiers = createInlinePrefixVerifiers({ maxOpen: 1 });
          const read = async (target: Uint8Array, position: number) => {
            const some = bytes.subarray(position, position + Math.min(target.length, readBytes));
            target.set(some);
            return some.length;
          };
          const verifier = verifiers.open(digestOf(bytes), { read });
          for (const [end, waits] of steps) {
            verifier.advance(Math.min(end, bytes.length));
            if (waits) await new Promise((resolve) => setImmediate(resolve));
          }
          expect(await verifier.finish(bytes.length, new AbortController().signal)).toBe(digestOf(bytes));
          await verifiers.close();
        },
      ),
    );
  });
});
