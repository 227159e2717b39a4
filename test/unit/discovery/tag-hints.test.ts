import { afterEach, describe, expect, it } from 'vitest';
import type { PeerId } from '../../../src/content/peer-id.ts';
import type { TagHints, TagSource } from '../../../src/discovery/tag-hints.ts';
import { createTagHints, type TagHintsOptions } from '../../../src/discovery/tags/channel-tag-hints.ts';
import {
  decodeTagRequest,
  encodeTagAnswer,
  type TagAnswer,
  type TagRequest,
  tagProtocol,
} from '../../../src/discovery/tags/tag-messages.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { generateIdentity } from '../../../src/peer/identity.ts';
import { createMemoryNetworkHub, type MemoryPeerNetwork } from '../../../src/peer/memory/memory-network.ts';

const repository = { namespace: 'docker.io', name: 'library/demo' };
const bytes = Buffer.from('{"schemaVersion":2}');
const digest = digestOf(bytes);
const mediaType = 'application/vnd.oci.image.manifest.v1+json';
const { signal } = new AbortController();
const options: TagHintsOptions = {
  maxAsked: 4,
  timeoutMs: 300,
  graceMs: 20,
  hedgeMs: 50,
  manifestTimeoutMs: 300,
  maxChannels: 2,
  maxRequestsPerPeer: 2,
};
const tag = { digest, mediaType, sizeBytes: bytes.length, confirmedAtMs: 1000 };
const honest: TagSource = {
  findTag: async (_, name) => (name === 'latest' ? tag : undefined),
  findManifest: async (wanted) => (wanted === digest ? { mediaType, bytes } : undefined),
  findSize: async (wanted) => (wanted === digest ? bytes.length : undefined),
};

describe('tag hints over channels', () => {
  const hub = createMemoryNetworkHub();
  const stack: AsyncDisposable[] = [];
  afterEach(async () => {
    for (const part of stack.splice(0).reverse()) await part[Symbol.asyncDispose]();
  });
  const join = async (own = options): Promise<{ peer: PeerId; network: MemoryPeerNetwork; hints: TagHints }> => {
    const { peerId: peer } = await generateIdentity();
    const network = hub.join(peer);
    const hints = createTagHints({ network, clock: systemClock, logger: silentLogger }, own);
    stack.push(network, hints);
    return { peer, network, hints };
  };
  const joinTo = async (asker: { network: MemoryPeerNetwork }, source: TagSource): Promise<PeerId> => {
    const { peer, network, hints } = await join();
    hints.serve(source);
    await asker.network.dial(network.addresses()[0]!, signal);
    return peer;
  };
  /** A peer that answers as the test wants; undefined = never. */
  const joinLiar = async (
    asker: { network: MemoryPeerNetwork },
    answer: (message: TagRequest) => TagAnswer | Uint8Array | undefined,
  ): Promise<PeerId> => {
    const { peerId } = await generateIdentity();
    const network = hub.join(peerId);
    stack.push(network);
    network.handle(tagProtocol, (channel) => {
      void (async () => {
        for await (const frame of channel.messages()) {
          const { id, message } = decodeTagRequest(frame);
          const told = answer(message);
          if (told === undefined) continue;
          channel.send(told instanceof Uint8Array ? told : encodeTagAnswer({ id, message: told }));
        }
      })();
    });
    await asker.network.dial(network.addresses()[0]!, signal);
    return peerId;
  };

  it('asks connected peers about a tag, and tells nothing of tags it does not know', async () => {
    const asker = await join();
    const peer = await joinTo(asker, honest);
    expect(await asker.hints.find(repository, 'latest', [], signal)).toEqual([{ ...tag, peer }]);
    expect(await asker.hints.find(repository, 'other', [], signal)).toEqual([]);
  });

  it('does not wait for silent peers once another has answered', async () => {
    const asker = await join({ ...options, timeoutMs: 3_600_000 });
    await joinLiar(asker, () => undefined);
    await joinTo(asker, honest);
    expect(await asker.hints.find(repository, 'latest', [], signal)).toHaveLength(1);
  });

  it('gives up on peers that are silent, hang up, talk nonsense or answer another question', async () => {
    const asker = await join();
    const broken = [
      await joinLiar(asker, () => undefined),
      await joinLiar(asker, () => Uint8Array.of(255, 255, 255)),
      await joinLiar(asker, () => ({ kind: 'size', sizeBytes: 1 })),
    ];
    expect(await asker.hints.find(repository, 'latest', broken, signal)).toEqual([]);
    expect(await asker.hints.fetchManifest(digest, { providers: broken, waitMs: 0 }, signal)).toBeUndefined();
    const { peerId: nobody } = await generateIdentity();
    expect(await asker.hints.find(repository, 'latest', [nobody], signal)).toEqual([]);
  });

  it('takes a manifest from the next peer when one lies, stalls or is gone', async () => {
    const asker = await join();
    const lie = Buffer.from('{"schemaVersion":3}');
    const liars = [
      await joinLiar(asker, () => ({ kind: 'manifest', mediaType, sizeBytes: lie.length, slice: lie })),
      await joinLiar(asker, () => undefined),
      await joinLiar(asker, () => ({ kind: 'manifest', mediaType, sizeBytes: 4_000_000, slice: Buffer.alloc(0) })),
    ];
    const peer = await joinTo(asker, honest);
    const found = await asker.hints.fetchManifest(digest, { providers: [...liars, peer], waitMs: 0 }, signal);
    expect(found).toMatchObject({ peer, mediaType });
    expect(Buffer.compare(found?.bytes ?? Buffer.alloc(0), bytes)).toBe(0);
  });

  it('asks those last that gave no answer the last time', async () => {
    const asker = await join({ ...options, hedgeMs: 3_600_000, manifestTimeoutMs: 600 });
    let questions = 0;
    const mute = await joinLiar(asker, () => {
      questions += 1;
      return undefined;
    });
    expect(await asker.hints.fetchManifest(digest, { providers: [mute], waitMs: 0 }, signal)).toBeUndefined();
    expect(asker.hints.wasSilent(mute)).toBe(true);
    const peer = await joinTo(asker, honest);
    const found = await asker.hints.fetchManifest(digest, { providers: [mute, peer], waitMs: 0 }, signal);
    expect(found?.peer).toBe(peer);
    expect(asker.hints.wasSilent(peer)).toBe(false);
    expect(questions).toBe(1);
  });

  it('reads a manifest in slices, and gives up on one whose size changes midway', async () => {
    const large = Buffer.alloc(300_000, 'x');
    const asker = await join();
    const peer = await joinTo(asker, { ...honest, findManifest: async () => ({ mediaType, bytes: large }) });
    const found = await asker.hints.fetchManifest(digestOf(large), { providers: [peer], waitMs: 0 }, signal);
    expect(found?.bytes).toHaveLength(large.length);
    let sizeBytes = 200_000;
    const moving = await joinLiar(asker, () => {
      sizeBytes += 1;
      return { kind: 'manifest', mediaType, sizeBytes, slice: Buffer.alloc(1000) };
    });
    expect(
      await asker.hints.fetchManifest(digestOf(large), { providers: [moving], waitMs: 0 }, signal),
    ).toBeUndefined();
  });

  it('believes the size that most peers tell', async () => {
    const asker = await join();
    const gate = Promise.withResolvers<void>();
    const slow: TagSource = {
      ...honest,
      async findSize() {
        await gate.promise;
        return 5;
      },
    };
    for (let count = 0; count < 2; count += 1) await joinTo(asker, slow);
    await joinLiar(asker, () => {
      gate.resolve();
      return { kind: 'size', sizeBytes: 6 };
    });
    expect(await asker.hints.findSize(digest, [], signal)).toBe(5);
  });

  it('answers a flood with "absent" instead of working on all of it', async () => {
    const asker = await join();
    const begun: string[] = [];
    const gate = Promise.withResolvers<void>();
    const peer = await joinTo(asker, {
      ...honest,
      async findTag(_, name) {
        begun.push(name);
        await gate.promise;
        return tag;
      },
    });
    const asking = Array.from({ length: 10 }, (_, index) => asker.hints.find(repository, `t${index}`, [peer], signal));
    const early = await Promise.all(asking.slice(2));
    expect(early.every((hints) => hints.length === 0)).toBe(true);
    expect(begun).toHaveLength(options.maxRequestsPerPeer);
    gate.resolve();
    for (const hints of await Promise.all(asking.slice(0, 2))) expect(hints).toHaveLength(1);
  });

  it('keeps as many channels as it may and opens closed ones again', async () => {
    const asker = await join();
    const peers = [await joinTo(asker, honest), await joinTo(asker, honest), await joinTo(asker, honest)];
    for (let round = 0; round < 3; round += 1) {
      for (const peer of peers) {
        const query = { providers: [peer], waitMs: 0 };
        expect((await asker.hints.fetchManifest(digest, query, signal))?.peer).toBe(peer);
      }
    }
    hub.cutLink(asker.network.self, peers[0]!);
    hub.healLink(asker.network.self, peers[0]!);
    const again = await asker.hints.fetchManifest(digest, { providers: [peers[0]!], waitMs: 0 }, signal);
    expect(again?.peer).toBe(peers[0]);
  });

  it('passes the caller’s abort on', async () => {
    const asker = await join();
    const silent = await joinLiar(asker, () => undefined);
    const leaving = new AbortController();
    const asking = asker.hints.find(repository, 'latest', [silent], leaving.signal);
    leaving.abort(new DOMException('gone', 'AbortError'));
    await expect(asking).rejects.toThrow('gone');
  });
});
