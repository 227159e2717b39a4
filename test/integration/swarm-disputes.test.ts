import { describe, expect, it } from 'vitest';
import { createMemoryOrigin } from '../../src/origin/memory/memory-origin.ts';
import { lying } from '../support/lying-sources.ts';
import { MiB, putBlob, until } from '../support/swarm-blobs.ts';
import { calmSwarmOptions, startSwarmFleet } from '../support/swarm-fleet.ts';

describe('a swarm in which a digest comes out wrong', () => {
  it('mends one wrong answer of the origin without banning who read it, and with few bytes more', async () => {
    let isRuined = false;
    const origin = createMemoryOrigin({
      alterBody: async function* ({ range }, chunks) {
        const isHit = !isRuined && (range?.end ?? 0) - (range?.start ?? 0) > 500_000;
        isRuined ||= isHit;
        let at = 0;
        for await (const chunk of chunks) {
          const ruined = Buffer.from(chunk);
          if (isHit && at <= 100_000 && at + chunk.length > 100_000) ruined[100_000 - at]! ^= 1;
          at += chunk.length;
          yield ruined;
        }
      },
    });
    const { request } = putBlob([origin], 24 * MiB);
    await using fleet = await startSwarmFleet(5, origin, { swarm: calmSwarmOptions });
    const downloads = fleet.nodes.map((node) => node.swarm.fetch([request])[0]!);
    await Promise.all(downloads.map((download) => download.done));
    expect(isRuined).toBe(true);
    expect(fleet.nodes.flatMap(({ swarm }) => swarm.peers().filter(({ ban }) => ban !== undefined))).toEqual([]);
    expect(downloads.some((download) => download.transfer().mismatches > 0)).toBe(true);
    // Every piece may have to be read a second time until the wrong one is found, but not by everybody.
    expect(origin.sentBytes).toBeLessThan(2.5 * 24 * MiB);
  });

  it('bans signers of false bytes, and nobody reads the whole blob alone', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 24 * MiB);
    await using fleet = await startSwarmFleet(6, origin, {
      swarm: calmSwarmOptions,
      source: (index, honest, identity) => (index < 2 ? lying(honest, identity) : honest),
    });
    const downloads = fleet.nodes.map((node) => node.swarm.fetch([request])[0]!);
    const victims = fleet.nodes.slice(2);
    await Promise.all(downloads.slice(2).map((download) => download.done));
    const liars = new Set(fleet.nodes.slice(0, 2).map(({ identity }) => identity.peerId));
    const banned = () =>
      victims.flatMap(({ swarm }) => swarm.peers().flatMap(({ peer, ban }) => (ban === undefined ? [] : [peer])));
    await until(() => banned().length > 0, 'somebody is banned');
    expect(banned().filter((peer) => !liars.has(peer))).toEqual([]);
    for (const download of downloads.slice(2)) expect(download.transfer().bytes.origin).toBeLessThan(20 * MiB);
  });
});
