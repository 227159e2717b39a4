import { afterEach, describe, expect, it, vi } from 'vitest';
import { digestKadKey, digestKey } from '../../../src/discovery/digest-key.ts';
import type { Provider } from '../../../src/discovery/directory.ts';
import { RendezvousRing } from '../../../src/discovery/rendezvous.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import { DirectoryFleet, type FleetNode } from '../../support/directory-fleet.ts';
import { testDigest } from '../../support/discovery.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { patience } from '../../support/patience.ts';

const { signal } = new AbortController();
const digest = testDigest('one');
let fleet: DirectoryFleet;

afterEach(() => fleet[Symbol.asyncDispose]());

async function join(count: number): Promise<FleetNode[]> {
  const nodes: FleetNode[] = [];
  for (let at = 0; at < count; at += 1) nodes.push(await fleet.join(at));
  return nodes;
}

async function providersAt(node: FleetNode, of: Digest = digest): Promise<readonly Provider[]> {
  return (await node.directory.find([of], signal)).get(of) ?? [];
}

/** The nodes in the order of their closeness to the digest: the first three track it. */
function byCloseness(nodes: readonly FleetNode[], of: Digest = digest): FleetNode[] {
  const ring = new RendezvousRing();
  ring.replace(nodes.map((node) => node.peer));
  const order = ring.closest(digestKadKey(digestKey(of)), nodes.length);
  return order.map((peer) => nodes.find((node) => node.peer === peer)!);
}

describe('kad directory', () => {
  it('is reached through any one of a digest’s trackers', async () => {
    fleet = new DirectoryFleet();
    const order = byCloseness(await join(7));
    const [first, second] = order;
    const [holder, asker] = order.slice(4) as [FleetNode, FleetNode];
    await holder.directory.announce([{ digest, holding: 'complete' }], signal);
    await first?.crash();
    await second?.crash();
    expect(await providersAt(asker)).toMatchObject([{ peer: holder.peer }]);
  });

  it('tells new trackers when nodes join, and the old forget', async () => {
    fleet = new DirectoryFleet();
    const [holder] = (await join(1)) as [FleetNode];
    const digests = Array.from({ length: 200 }, (_, at) => testDigest(at));
    await holder.directory.announce(
      digests.map((each) => ({ digest: each, holding: 'complete' })),
      signal,
    );
    for (let at = 1; at < 6; at += 1) await fleet.join(at);
    const asker = fleet.nodes[5] as FleetNode;
    await vi.waitFor(async () => {
      const found = await asker.directory.find(digests, signal);
      expect(digests.filter((each) => found.get(each)?.[0]?.peer !== holder.peer)).toEqual([]);
    }, patience);
  });

  it('tells a tracker again that has restarted with nothing', async () => {
    fleet = new DirectoryFleet();
    const nodes = await join(4);
    const digests = Array.from({ length: 50 }, (_, at) => testDigest(at));
    const [holder] = nodes as [FleetNode];
    await holder.directory.announce(
      digests.map((each) => ({ digest: each, holding: 'complete' })),
      signal,
    );
    // All others restart: what is left of the records is only what the holder announces again.
    for (const at of [1, 2, 3]) {
      await nodes[at]?.crash();
      await fleet.join(at);
    }
    const asker = fleet.nodes.at(-1) as FleetNode;
    await vi.waitFor(async () => {
      const found = await asker.directory.find(digests, signal);
      expect(digests.filter((each) => found.get(each)?.[0]?.peer !== holder.peer)).toEqual([]);
    }, patience);
  });

  it('repairs what a cut link has kept from a tracker', async () => {
    fleet = new DirectoryFleet({ replicas: 1 });
    const order = byCloseness(await join(3));
    const [tracker, holder, asker] = order as [FleetNode, FleetNode, FleetNode];
    await holder.directory.announce([{ digest, holding: 'fetching' }], signal);
    fleet.hub.cutLink(tracker.peer, holder.peer);
    await holder.directory.announce([{ digest, holding: 'complete' }], signal);
    fleet.hub.healLink(tracker.peer, holder.peer);
    await holder.network.dial(tracker.network.addresses()[0]!, signal);
    await vi.waitFor(async () => expect(await providersAt(asker)).toMatchObject([{ holding: 'complete' }]), patience);
  });

  it('ends the records of a dead node after the grace', async () => {
    fleet = new DirectoryFleet({ graceMs: 50, expireIntervalMs: 10 });
    const [holder, , asker] = (await join(4)) as [FleetNode, FleetNode, FleetNode];
    await holder.directory.announce([{ digest, holding: 'complete' }], signal);
    expect(await providersAt(asker)).toHaveLength(1);
    fleet.hub.dropPeer(holder.peer);
    await vi.waitFor(async () => expect(await providersAt(asker)).toEqual([]), patience);
  });

  it('is not held up by a tracker that hangs', async () => {
    fleet = new DirectoryFleet({ hedgeMs: 30, answerTimeoutMs: 20_000, requestTimeoutMs: 60_000, replicas: 2 });
    const order = byCloseness(await join(4));
    const [first, second, holder, asker] = order as [FleetNode, FleetNode, FleetNode, FleetNode];
    await holder.directory.announce([{ digest, holding: 'complete' }], signal);
    await providersAt(asker);
    fleet.hub.pauseLink(asker.peer, first.peer);
    const startedAtMs = performance.now();
    expect(await providersAt(asker)).toMatchObject([{ peer: holder.peer }]);
    expect(performance.now() - startedAtMs).toBeLessThan(5000);
    // With the second silent too, the timeout is what ends the wait; the abort stands for it here.
    fleet.hub.pauseLink(asker.peer, second.peer);
    const giveUp = new AbortController();
    const waiting = asker.directory.find([digest], giveUp.signal);
    giveUp.abort(new Error('no patience'));
    await expect(waiting).rejects.toThrow('no patience');
    fleet.hub.resumeLink(asker.peer, first.peer);
    fleet.hub.resumeLink(asker.peer, second.peer);
  });

  it('tells who fetches of the providers in the first answer while others are waited for', async () => {
    fleet = new DirectoryFleet({ hedgeMs: 60_000, answerTimeoutMs: 60_000, requestTimeoutMs: 60_000, replicas: 2 });
    const order = byCloseness(await join(4));
    const [first, , holder, fetcher] = order as [FleetNode, FleetNode, FleetNode, FleetNode];
    await holder.directory.announce([{ digest, holding: 'complete' }], signal);
    await providersAt(fetcher);
    fleet.hub.pauseLink(fetcher.peer, first.peer);
    const heard = Promise.withResolvers<Provider>();
    fetcher.directory.onProvider((_digest, provider) => heard.resolve(provider));
    let hasReturned = false;
    const announced = fetcher.directory.announce([{ digest, holding: 'fetching' }], signal).finally(() => {
      hasReturned = true;
    });
    expect(await heard.promise).toMatchObject({ peer: holder.peer });
    expect(hasReturned).toBe(false);
    fleet.hub.resumeLink(fetcher.peer, first.peer);
    expect((await announced).get(digest)).toMatchObject([{ peer: holder.peer }]);
  });

  it('passes on what a slow tracker answers after the call has returned', async () => {
    fleet = new DirectoryFleet({ hedgeMs: 1, answerTimeoutMs: 50, replicas: 1 });
    const order = byCloseness(await join(3));
    const [tracker, holder, fetcher] = order as [FleetNode, FleetNode, FleetNode];
    await holder.directory.announce([{ digest, holding: 'complete' }], signal);
    await providersAt(fetcher, testDigest('opens the channel'));
    fleet.hub.pauseLink(fetcher.peer, tracker.peer);
    const heard: Provider[] = [];
    fetcher.directory.onProvider((_digest, provider) => heard.push(provider));
    expect((await fetcher.directory.announce([{ digest, holding: 'fetching' }], signal)).get(digest)).toEqual([]);
    fleet.hub.resumeLink(fetcher.peer, tracker.peer);
    await vi.waitFor(() => expect(heard).toMatchObject([{ peer: holder.peer, holding: 'complete' }]), patience);
  });

  it('makes a tracker forget the records of an earlier life of this node', async () => {
    fleet = new DirectoryFleet({ replicas: 1 });
    const order = byCloseness(await join(3));
    const [, holder, asker] = order as [FleetNode, FleetNode, FleetNode];
    await holder.directory.announce([{ digest, holding: 'complete' }], signal);
    expect(await providersAt(asker)).toHaveLength(1);
    fleet.hub.dropPeer(holder.peer);
    const again = await fleet.join(holder.name);
    // The first contact of the new life compares summaries: it holds nothing.
    await again.directory.find([digest], signal);
    await vi.waitFor(async () => expect(await providersAt(asker)).toEqual([]), patience);
  });

  it('opens its channels before there is something to ask, and has them then', async () => {
    const clock = new FakeClock();
    fleet = new DirectoryFleet({}, clock);
    const nodes = await join(4);
    const [first] = nodes as [FleetNode];
    const opened = vi.spyOn(first.network, 'openChannel');
    await clock.advanceAsync(1_999);
    expect(opened).not.toHaveBeenCalled();
    // One that is gone by then is not tried.
    await nodes[3]?.crash();
    await clock.advanceAsync(1);
    expect(opened.mock.calls.map(([peer]) => peer)).toEqual([nodes[1]?.peer, nodes[2]?.peer]);
    await first.directory.announce([{ digest, holding: 'complete' }], signal);
    expect(await providersAt(nodes[1] as FleetNode)).toMatchObject([{ peer: first.peer }]);
    expect(opened).toHaveBeenCalledTimes(2);
  });

  it('opens no more than 64 of them beforehand', async () => {
    const clock = new FakeClock();
    fleet = new DirectoryFleet({}, clock);
    const [first] = (await join(1)) as [FleetNode];
    const opened = vi.spyOn(first.network, 'openChannel');
    for (let at = 1; at <= 66; at += 1) await fleet.join(at);
    await clock.advanceAsync(10_000);
    expect(opened).toHaveBeenCalledTimes(64);
  });

  it('refuses calls after it has stopped', async () => {
    fleet = new DirectoryFleet();
    const [node] = (await join(1)) as [FleetNode];
    await node.directory[Symbol.asyncDispose]();
    await expect(node.directory.find([digest], signal)).rejects.toMatchObject({ code: 'DISCOVERY_STOPPED' });
  });

  it('refuses what is over a tracker’s bound and keeps serving', async () => {
    fleet = new DirectoryFleet({ maxRecordsPerPeer: 10, replicas: 1 });
    const [a, b] = (await join(2)) as [FleetNode, FleetNode];
    const digests = Array.from({ length: 100 }, (_, at) => testDigest(at));
    await a.directory.announce(
      digests.map((each) => ({ digest: each, holding: 'complete' })),
      signal,
    );
    const found = await b.directory.find(digests, signal);
    expect(digests.filter((each) => found.get(each)?.length === 1).length).toBe(20);
  });
});
