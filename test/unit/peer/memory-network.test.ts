import { describe, expect, it } from 'vitest';
import { generateIdentity } from '../../../src/peer/identity.ts';
import { createMemoryNetworkHub } from '../../../src/peer/memory/memory-network.ts';
import type { Channel } from '../../../src/peer/peer-network.ts';

const { signal } = new AbortController();

async function twoNodes() {
  const hub = createMemoryNetworkHub();
  const left = hub.join((await generateIdentity()).peerId);
  const right = hub.join((await generateIdentity()).peerId);
  return { hub, left, right };
}

describe('memory network hub', () => {
  it('carries messages in order and copies them', async () => {
    const { left, right } = await twoNodes();
    const accepted = Promise.withResolvers<Channel>();
    right.handle('echo', accepted.resolve);
    const channel = await left.openChannel(right.self, 'echo', signal);
    const message = Uint8Array.of(1);
    channel.send(message);
    message[0] = 9;
    channel.send(Uint8Array.of(2));
    channel.close();
    const received: number[] = [];
    for await (const bytes of (await accepted.promise).messages()) received.push(bytes[0] ?? -1);
    expect(received).toEqual([1, 2]);
  });

  it('holds messages of a paused link and delivers them on resume', async () => {
    const { hub, left, right } = await twoNodes();
    const accepted = Promise.withResolvers<Channel>();
    right.handle('echo', accepted.resolve);
    const channel = await left.openChannel(right.self, 'echo', signal);
    const inbox = (await accepted.promise).messages()[Symbol.asyncIterator]();
    hub.pauseLink(left.self, right.self);
    channel.send(Uint8Array.of(7));
    const next = inbox.next();
    const early = await Promise.race([next.then(() => 'delivered'), new Promise((resolve) => setImmediate(resolve))]);
    expect(early).toBeUndefined();
    hub.resumeLink(left.self, right.self);
    expect((await next).value).toEqual(Uint8Array.of(7));
  });

  it('closes channels and tells both sides when a link is cut, and refuses to dial until it heals', async () => {
    const { hub, left, right } = await twoNodes();
    const changes: string[] = [];
    left.onPeerChange((change) => changes.push(change.kind));
    right.handle('echo', () => {});
    const channel = await left.openChannel(right.self, 'echo', signal);
    hub.cutLink(left.self, right.self);
    expect(channel.isOpen).toBe(false);
    expect(changes).toEqual(['connected', 'disconnected']);
    await expect(left.dial(right.addresses()[0] ?? '', signal)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
    hub.healLink(left.self, right.self);
    await expect(left.dial(right.addresses()[0] ?? '', signal)).resolves.toBe(right.self);
  });

  it('takes a dropped node out and lets it join again', async () => {
    const { hub, left, right } = await twoNodes();
    await left.dial(right.addresses()[0] ?? '', signal);
    hub.dropPeer(right.self);
    expect(left.peers()).toEqual([]);
    const again = hub.join(right.self);
    await expect(again.dial(left.addresses()[0] ?? '', signal)).resolves.toBe(left.self);
  });
});
