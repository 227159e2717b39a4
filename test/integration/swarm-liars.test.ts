import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { createMemoryOrigin } from '../../src/origin/memory/memory-origin.ts';
import type { PieceRun } from '../../src/peer/bulk.ts';
import { PeerError } from '../../src/peer/errors.ts';
import { generateIdentity } from '../../src/peer/identity.ts';
import { swarmProtocol } from '../../src/swarm/messages.ts';
import { flipping, joinBoaster, lying, withRead } from '../support/lying-sources.ts';
import { MiB, putBlob, readStored } from '../support/swarm-blobs.ts';
import { startSwarmFleet } from '../support/swarm-fleet.ts';
import { createSwitchedOrigin } from '../support/switched-origin.ts';

describe('a swarm with members that do not keep their word', () => {
  it('finishes at the origin when a peer opens every run and sends nothing', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 12 * MiB);
    await using fleet = await startSwarmFleet(4, origin, {
      source: (index, honest) => (index === 0 ? withRead(honest, () => new Promise<number>(() => {})) : honest),
    });
    await fleet.nodes[0]!.swarm.fetch([request])[0]!.done;
    const rest = fleet.nodes.slice(1).map((node) => node.swarm.fetch([request])[0]!);
    await Promise.all(rest.map((download) => download.done));
    for (const download of rest) expect(download.transfer().bytes.peer).toBeLessThanOrEqual(12 * MiB);
  });

  it('asks a peer that opens runs and sends nothing no more, and goes on serving it', async () => {
    let isOriginSilent = false;
    const origin = createMemoryOrigin({
      beforeCall: async (_, abort) => {
        while (isOriginSilent && ban() === undefined) await setTimeout(10, undefined, { signal: abort });
      },
    });
    const first = putBlob([origin], 12 * MiB, 1);
    const second = putBlob([origin], 4 * MiB, 2);
    const third = putBlob([origin], 12 * MiB, 3);
    await using fleet = await startSwarmFleet(2, origin, {
      swarm: { patienceMs: 30_000 },
      source: (index, honest) => (index === 0 ? withRead(honest, () => new Promise<number>(() => {})) : honest),
    });
    const [staller, victim] = fleet.nodes;
    const ban = () => victim!.swarm.peers().find(({ peer }) => peer === staller!.identity.peerId)?.ban;
    await staller!.swarm.fetch([third.request])[0]!.done;
    // Or it would have been read there before the staller was asked twice.
    isOriginSilent = true;
    await victim!.swarm.fetch([third.request])[0]!.done;
    isOriginSilent = false;
    expect(ban()).toMatchObject({ reason: 'stalls', evidence: expect.stringContaining('brought no byte') });
    await staller!.swarm.fetch([first.request])[0]!.done;
    const [shunning] = victim!.swarm.fetch([first.request]);
    await shunning!.done;
    expect(shunning!.transfer().stalls).toBe(0);
    await victim!.swarm.fetch([second.request])[0]!.done;
    const [served] = staller!.swarm.fetch([second.request]);
    await served!.done;
    expect(served!.transfer().bytes.origin).toBe(0);
  });

  it('finishes at the origin when the only peer that holds it is always busy, or never has what it said', async () => {
    const refusals = [
      new PeerError('PEER_BUSY', 'all slots are taken', { details: { retryAfterMs: 10 } }),
      new PeerError('PEER_ABSENT', 'not here'),
    ];
    for (const refusal of refusals) {
      const origin = createMemoryOrigin();
      const { request } = putBlob([origin], 12 * MiB);
      await using fleet = await startSwarmFleet(4, origin, {
        source: (index, honest) => (index === 0 ? { openPieces: () => Promise.reject(refusal) } : honest),
      });
      await fleet.nodes[0]!.swarm.fetch([request])[0]!.done;
      const rest = fleet.nodes.slice(1).map((node) => node.swarm.fetch([request])[0]!);
      await Promise.all(rest.map((download) => download.done));
      const readAtOrigin = rest.reduce((sum, download) => sum + download.transfer().bytes.origin, 0);
      expect(readAtOrigin).toBeLessThan(1.5 * request.sizeBytes);
    }
  });

  it('says what is missing when the origin is dead and the only peer that holds it refuses', async () => {
    const { origin, state } = createSwitchedOrigin();
    const { request } = putBlob([origin], 3 * MiB);
    const refusal = new PeerError('PEER_BUSY', 'all slots are taken', { details: { retryAfterMs: 10 } });
    await using fleet = await startSwarmFleet(2, origin, {
      source: (index, honest) => (index === 0 ? { openPieces: () => Promise.reject(refusal) } : honest),
    });
    await fleet.nodes[0]!.swarm.fetch([request])[0]!.done;
    state.isUp = false;
    const [download] = fleet.nodes[1]!.swarm.fetch([request]);
    await expect(download!.done).rejects.toMatchObject({ code: 'SWARM_UNOBTAINABLE' });
  });

  it('finishes a lone honest node when the only other one claims to hold all and drips a byte at a time', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 4 * MiB);
    await using fleet = await startSwarmFleet(2, origin, {
      source: (index, honest) => (index === 0 ? withRead(honest, drip) : honest),
    });
    await fleet.nodes[0]!.swarm.fetch([request])[0]!.done;
    const [download] = fleet.nodes[1]!.swarm.fetch([request]);
    await download!.done;
    expect(digestOf(await readStored(fleet.nodes[1]!.store.blobs, request.digest))).toBe(request.digest);
  });

  it('never completes wrong bytes when a liar signs them and the origin is dead, and says so', async () => {
    const { origin, state } = createSwitchedOrigin();
    const { request } = putBlob([origin], 3 * MiB);
    await using fleet = await startSwarmFleet(3, origin, {
      source: (index, honest, identity) => (index === 0 ? lying(honest, identity) : honest),
    });
    await fleet.nodes[0]!.swarm.fetch([request])[0]!.done;
    state.isUp = false;
    const victims = fleet.nodes.slice(1);
    const downloads = victims.map((node) => node.swarm.fetch([request])[0]!);
    const ends = await Promise.allSettled(downloads.map((download) => download.done));
    for (const end of ends)
      expect(end).toMatchObject({ status: 'rejected', reason: { code: expect.stringMatching(/^SWARM_/) } });
    for (const node of victims) expect(await node.store.blobs.findBlob(request.digest)).toBeUndefined();
  });

  it('believes an honest seed though pieces it passes on were signed by a node that lied elsewhere', async () => {
    const origin = createMemoryOrigin();
    const dead = createMemoryOrigin();
    const first = putBlob([origin], 3 * MiB, 1);
    const second = putBlob([origin], 3 * MiB, 2);
    let isLying = false;
    await using fleet = await startSwarmFleet(3, origin, {
      origin: (index) => (index === 2 ? dead : origin),
      source: (index, honest) => (index === 0 ? flipping(honest, () => isLying) : honest),
    });
    const [liar, seed, victim] = fleet.nodes;
    // The seed holds the first blob with the liar's signatures.
    await liar!.swarm.fetch([first.request])[0]!.done;
    await seed!.swarm.fetch([first.request])[0]!.done;
    await liar!.swarm.fetch([second.request])[0]!.done;
    isLying = true;
    const [wrong] = victim!.swarm.fetch([second.request]);
    await wrong!.done.catch(() => {});
    // Asked for nothing more, and served on: it does not take the origin's link from the others.
    const seen = victim!.swarm.peers().find(({ peer }) => peer === liar!.identity.peerId);
    expect([seen?.ban?.reason, seen?.isConnected]).toEqual(['wrong bytes', true]);
    const third = putBlob([], 3 * MiB, 3);
    await victim!.store.blobs.writeBlob(third.request.digest, third.bytes);
    await victim!.directory.announce(
      [{ digest: third.request.digest, holding: 'complete' }],
      AbortSignal.timeout(60_000),
    );
    await liar!.swarm.fetch([third.request])[0]!.done;
    await liar!.swarm[Symbol.asyncDispose]();
    await victim!.swarm.fetch([first.request])[0]!.done;
  });

  it('takes over from a member that claims every extent and goes silent', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 6 * MiB);
    await using fleet = await startSwarmFleet(2, origin);
    await using boaster = await joinBoaster(fleet, request);
    const downloads = fleet.nodes.map((node) => node.swarm.fetch([request])[0]!);
    await Promise.all(downloads.map((download) => download.done));
    expect(boaster.greetings).toBeGreaterThan(0);
  });

  it('refuses frames that are no messages without losing the others', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 2 * MiB);
    await using fleet = await startSwarmFleet(2, origin);
    const noise = fleet.hub.join((await generateIdentity()).peerId);
    noise.handle(swarmProtocol, () => {});
    for (const node of fleet.nodes) {
      await noise.dial(node.network.addresses()[0]!, AbortSignal.timeout(15_000));
      const channel = await noise.openChannel(node.identity.peerId, swarmProtocol, AbortSignal.timeout(15_000));
      channel.send(Buffer.from('ffffffffffff', 'hex'));
    }
    const downloads = fleet.nodes.map((node) => node.swarm.fetch([request])[0]!);
    await Promise.all(downloads.map((download) => download.done));
    await noise[Symbol.asyncDispose]();
  });
});

/** A byte at a time, each just in time not to look like a stall. */
async function drip(run: PieceRun, target: Uint8Array, position: number): Promise<number> {
  await setTimeout(20);
  return run.read(target.subarray(0, 1), position);
}
