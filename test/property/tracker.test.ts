import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PeerId } from '../../src/content/peer-id.ts';
import { type DigestKey, digestKadKey, digestKey, peerKadKey } from '../../src/discovery/digest-key.ts';
import type { Holding } from '../../src/discovery/directory.ts';
import { RendezvousRing } from '../../src/discovery/rendezvous.ts';
import { SetSummary } from '../../src/discovery/set-summary.ts';
import { Tracker } from '../../src/discovery/tracker.ts';
import { seededRandom } from '../../src/lib/clock.ts';
import { testDigest, testPeer } from '../support/discovery.ts';

const peers = Array.from({ length: 8 }, (_, at) => testPeer(at));
const keys = Array.from({ length: 12 }, (_, at) => digestKey(testDigest(at)));
const options = { leaseMs: 1000, graceMs: 100, maxRecords: 60, maxRecordsPerPeer: 9 };

type Step =
  | { kind: 'announce'; peer: PeerId; key: DigestKey; holding: Holding }
  | { kind: 'withdraw'; peer: PeerId; key: DigestKey }
  | { kind: 'leave' | 'attach' | 'detach'; peer: PeerId }
  | { kind: 'wait'; ms: number };

const peer = fc.constantFrom(...peers);
const key = fc.constantFrom(...keys);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('announce' as const),
      peer,
      key,
      holding: fc.constantFrom<Holding>('fetching', 'complete'),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('withdraw' as const), peer, key }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('leave' as const, 'attach' as const, 'detach' as const), peer }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(300) }) },
);

describe('tracker', () => {
  it('agrees with a plain model under any schedule', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const tracker = new Tracker(seededRandom(1), options);
        const model = new Model();
        for (const each of steps) {
          model.apply(each);
          if (each.kind === 'announce') {
            const answer = tracker.announce(each.peer, [each], model.nowMs, (arrived, provider, { told, untold }) => {
              expect([arrived, provider.peer]).toEqual([each.key, each.peer]);
              expect(new Set([...told, ...untold])).toEqual(model.fetchers(each.key, each.peer));
              // So few are all named in the answer; who has all of it is answered nothing.
              expect(each.holding === 'fetching' ? untold : told).toEqual([]);
            });
            const others = model.providers(each.key).filter(([other]) => other !== each.peer);
            expect((answer.found[0]?.providers ?? []).map(({ peer: of, holding }) => [of, holding])).toEqual(
              each.holding === 'fetching' ? others : [],
            );
            expect(answer.isFull).toBe(model.wasFull);
          }
          if (each.kind === 'withdraw') tracker.withdraw(each.peer, [each.key]);
          if (each.kind === 'leave') tracker.leave(each.peer);
          if (each.kind === 'attach') tracker.attach(each.peer);
          if (each.kind === 'detach') tracker.detach(each.peer, model.nowMs);
          tracker.expire(model.nowMs);
          expect(tracker.records).toBe(model.size);
          for (const of of peers)
            for (const each of keys) expect(tracker.isFetching(of, each)).toBe(model.fetchers(each).has(of));
          const asker = testPeer('asker');
          for (const [index, each] of keys.entries()) {
            const found = tracker.find(asker, [each])[0]?.providers ?? [];
            expect(
              found.map(({ peer: of, holding }) => [of, holding]),
              `key ${index}`,
            ).toEqual(model.providers(each));
            expect(found.map((p) => p.rank)).toEqual(found.map((p) => p.rank).toSorted((a, b) => a - b));
          }
          for (const of of peers) expect(tracker.sync(of, model.summary(of), model.renewedAtMs(of))).toBe(true);
        }
      }),
      { numRuns: 150 },
    );
  });
});

describe('rendezvous', () => {
  it('picks what sorting by XOR distance picks', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(500), { maxLength: 60 }),
        fc.nat(1000),
        fc.integer({ min: 1, max: 6 }),
        (ids, of, count) => {
          const members = ids.map((id) => testPeer(id));
          const ring = new RendezvousRing();
          ring.replace(members);
          const target = digestKadKey(digestKey(testDigest(of)));
          expect(ring.closest(target, count)).toEqual(
            members.toSorted((a, b) => (distance(a, target) < distance(b, target) ? -1 : 1)).slice(0, count),
          );
        },
      ),
    );
  });
});

function distance(member: PeerId, target: Uint8Array): bigint {
  const number = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
  return number(peerKadKey(member)) ^ number(target);
}

/** The tracker as one would write it without a thought for memory. */
class Model {
  nowMs = 0;
  wasFull = false;
  readonly #records: { peer: PeerId; key: DigestKey; holding: Holding }[] = [];
  readonly #leases = new Map<PeerId, { expires: number; grace: number }>();

  get size(): number {
    return this.#records.length;
  }

  apply(step: Step): void {
    if (step.kind === 'wait') this.nowMs += step.ms;
    if (step.kind === 'announce') {
      const lease = this.#leases.get(step.peer) ?? { expires: 0, grace: Number.POSITIVE_INFINITY };
      lease.expires = this.nowMs + options.leaseMs;
      this.#leases.set(step.peer, lease);
      const known = this.#records.find((each) => each.peer === step.peer && each.key === step.key);
      const own = this.#records.filter((each) => each.peer === step.peer).length;
      this.wasFull = known === undefined && (this.size >= options.maxRecords || own >= options.maxRecordsPerPeer);
      if (known !== undefined) known.holding = step.holding;
      else if (!this.wasFull) this.#records.push({ peer: step.peer, key: step.key, holding: step.holding });
    }
    if (step.kind === 'withdraw') this.#drop((each) => each.peer === step.peer && each.key === step.key);
    if (step.kind === 'leave') this.#end(step.peer);
    const lease = 'peer' in step ? this.#leases.get(step.peer) : undefined;
    if (step.kind === 'attach' && lease !== undefined) lease.grace = Number.POSITIVE_INFINITY;
    if (step.kind === 'detach' && lease !== undefined) lease.grace = this.nowMs + options.graceMs;
    for (const [of, { expires, grace }] of this.#leases) if (Math.min(expires, grace) <= this.nowMs) this.#end(of);
  }

  providers(key: DigestKey): [PeerId, Holding][] {
    return this.#records.filter((each) => each.key === key).map((each) => [each.peer, each.holding]);
  }

  fetchers(key: DigestKey, except?: PeerId): Set<PeerId> {
    const all = this.#records.filter((each) => each.key === key && each.holding === 'fetching' && each.peer !== except);
    return new Set(all.map((each) => each.peer));
  }

  /** When the lease was renewed last, so that comparing does not renew it. */
  renewedAtMs(peer: PeerId): number {
    return (this.#leases.get(peer)?.expires ?? 0) - options.leaseMs;
  }

  summary(peer: PeerId) {
    const summary = new SetSummary();
    for (const each of this.#records) if (each.peer === peer) summary.add(each.key, each.holding);
    return summary.value();
  }

  #end(peer: PeerId): void {
    this.#drop((each) => each.peer === peer);
    this.#leases.delete(peer);
  }

  #drop(isOver: (record: { peer: PeerId; key: DigestKey }) => boolean): void {
    for (let at = this.#records.length - 1; at >= 0; at -= 1) {
      const record = this.#records[at];
      if (record !== undefined && isOver(record)) this.#records.splice(at, 1);
    }
  }
}
