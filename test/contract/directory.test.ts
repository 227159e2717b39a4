import { afterEach, describe, expect, it, vi } from 'vitest';
import type { PeerId } from '../../src/content/peer-id.ts';
import type { Directory, Provider } from '../../src/discovery/directory.ts';
import { createMemoryDirectoryHub } from '../../src/discovery/memory/memory-directory.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { DirectoryFleet } from '../support/directory-fleet.ts';
import { testDigest, testPeer } from '../support/discovery.ts';
import { patience } from '../support/patience.ts';

interface Seat {
  readonly peer: PeerId;
  readonly directory: Directory & AsyncDisposable;
}

const implementations: Record<string, () => { join(name: string): Promise<Seat>; end(): Promise<void> }> = {
  memory: () => {
    const hub = createMemoryDirectoryHub();
    const seats: Seat[] = [];
    return {
      async join(name) {
        const seat = { peer: testPeer(name), directory: hub.join(testPeer(name)) };
        seats.push(seat);
        return seat;
      },
      async end() {
        for (const seat of seats) await seat.directory[Symbol.asyncDispose]();
      },
    };
  },
  'kad over the memory network': () => {
    const fleet = new DirectoryFleet();
    return { join: (name) => fleet.join(name), end: () => fleet[Symbol.asyncDispose]() };
  },
};

const { signal } = new AbortController();
const digest = testDigest('one');

describe.each(Object.entries(implementations))('directory: %s', (_name, create) => {
  let fleet: ReturnType<typeof create> | undefined;
  const join = (name: string) => {
    fleet ??= create();
    return fleet.join(name);
  };
  const providersAt = async (seat: Seat, of: Digest = digest) =>
    (await seat.directory.find([of], signal)).get(of) ?? [];

  afterEach(async () => {
    await fleet?.end();
    fleet = undefined;
  });

  it('answers a lone node with nobody', async () => {
    const seat = await join('a');
    expect(await seat.directory.announce([{ digest, holding: 'fetching' }], signal)).toEqual(new Map([[digest, []]]));
    expect(await seat.directory.find([digest], signal)).toEqual(new Map([[digest, []]]));
  });

  it('finds what another node has announced, with its holding', async () => {
    const [a, b] = [await join('a'), await join('b')];
    await a.directory.announce([{ digest, holding: 'complete' }], signal);
    expect(await providersAt(b)).toMatchObject([{ peer: a.peer, holding: 'complete' }]);
    expect(await providersAt(a)).toEqual([]);
  });

  it('answers an announcement with those who came before, in the order of their rank', async () => {
    const seats = [await join('a'), await join('b'), await join('c')];
    const answers: (readonly Provider[])[] = [];
    for (const seat of seats) {
      answers.push((await seat.directory.announce([{ digest, holding: 'fetching' }], signal)).get(digest) ?? []);
    }
    const [a, b] = seats.map((seat) => seat.peer);
    expect(answers.map((answer) => answer.map((provider) => provider.peer))).toEqual([[], [a], [a, b]]);
    expect(answers[2]?.[0]?.rank).toBeLessThan(answers[2]?.[1]?.rank ?? 0);
  });

  it('answers who has all of it with nobody', async () => {
    const [a, b] = [await join('a'), await join('b')];
    const other = testDigest('other');
    for (const each of [digest, other]) await a.directory.announce([{ digest: each, holding: 'fetching' }], signal);
    const entries = [
      { digest, holding: 'complete' },
      { digest: other, holding: 'fetching' },
    ] as const;
    const answer = await b.directory.announce(entries, signal);
    expect([answer.get(digest), answer.get(other)?.map(({ peer }) => peer)]).toEqual([[], [a.peer]]);
  });

  it('shows every asker the same order', async () => {
    const seats = [await join('a'), await join('b'), await join('c'), await join('d')];
    for (const seat of seats) await seat.directory.announce([{ digest, holding: 'fetching' }], signal);
    const expected = seats.map((seat) => seat.peer);
    for (const seat of seats) {
      const order = (await providersAt(seat)).map((provider) => provider.peer);
      expect(order).toEqual(expected.filter((peer) => peer !== seat.peer));
    }
  });

  it('keeps the rank when fetching becomes complete', async () => {
    const [a, b, c] = [await join('a'), await join('b'), await join('c')];
    await a.directory.announce([{ digest, holding: 'fetching' }], signal);
    await b.directory.announce([{ digest, holding: 'fetching' }], signal);
    const before = await providersAt(c);
    await a.directory.announce([{ digest, holding: 'complete' }], signal);
    expect(await providersAt(c)).toEqual(before.map((p) => (p.peer === a.peer ? { ...p, holding: 'complete' } : p)));
  });

  it('forgets what is withdrawn', async () => {
    const [a, b] = [await join('a'), await join('b')];
    const other = testDigest('other');
    await a.directory.announce(
      [digest, other].map((each) => ({ digest: each, holding: 'complete' })),
      signal,
    );
    await a.directory.withdraw([digest], signal);
    await vi.waitFor(async () => expect(await providersAt(b)).toEqual([]), patience);
    expect(await providersAt(b, other)).toHaveLength(1);
  });

  it('tells a fetching node of those who come later, once, and not when it has all', async () => {
    const [a, b, c] = [await join('a'), await join('b'), await join('c')];
    const heard: [string, PeerId][] = [];
    a.directory.onProvider((_digest, provider) => heard.push(['a', provider.peer]));
    c.directory.onProvider((_digest, provider) => heard.push(['c', provider.peer]));
    await a.directory.announce([{ digest, holding: 'fetching' }], signal);
    await c.directory.announce([{ digest, holding: 'complete' }], signal);
    await b.directory.announce([{ digest, holding: 'fetching' }], signal);
    await vi.waitFor(() => expect(heard).toHaveLength(2), patience);
    expect(new Set(heard.map((each) => each.join()))).toEqual(new Set([`a,${b.peer}`, `a,${c.peer}`]));
  });

  it('handles more digests than a message carries', async () => {
    const [a, b] = [await join('a'), await join('b')];
    const digests = Array.from({ length: 2500 }, (_, at) => testDigest(at));
    await a.directory.announce(
      digests.map((each) => ({ digest: each, holding: 'complete' })),
      signal,
    );
    const found = await b.directory.find(digests, signal);
    expect(digests.filter((each) => found.get(each)?.length !== 1)).toEqual([]);
  });

  it('loses the records of a node that stops', async () => {
    const [a, b] = [await join('a'), await join('b')];
    await a.directory.announce([{ digest, holding: 'complete' }], signal);
    expect(await providersAt(b)).toHaveLength(1);
    await a.directory[Symbol.asyncDispose]();
    await vi.waitFor(async () => expect(await providersAt(b)).toEqual([]), patience);
  });

  it('rejects by the reason of an aborted signal', async () => {
    const seat = await join('a');
    const aborted = AbortSignal.abort(new Error('enough'));
    await expect(seat.directory.find([digest], aborted)).rejects.toThrow('enough');
    await expect(seat.directory.announce([{ digest, holding: 'complete' }], aborted)).rejects.toThrow('enough');
  });
});
