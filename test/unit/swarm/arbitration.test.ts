import { beforeAll, describe, expect, it } from 'vitest';
import { seededRandom } from '../../../src/lib/clock.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { TaskGroup } from '../../../src/lib/task-group.ts';
import { type Digest, digestOf } from '../../../src/oci/digest.ts';
import type { Repository } from '../../../src/oci/repository.ts';
import { OriginError } from '../../../src/origin/errors.ts';
import { createMemoryOrigin, type MemoryOriginOptions } from '../../../src/origin/memory/memory-origin.ts';
import { generateIdentity, type PeerIdentity } from '../../../src/peer/identity.ts';
import { createMemoryStore } from '../../../src/store/memory/memory-store.ts';
import { arbitrate, provenLies } from '../../../src/swarm/arbitration.ts';
import { Healing } from '../../../src/swarm/healing.ts';
import type { BlobRequest } from '../../../src/swarm/swarm.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { makeBlob } from '../../support/memory-piece-source.ts';
import { demoRepository, MiB, until } from '../../support/swarm-blobs.ts';
import { openTestDownload } from '../../support/swarm-parts.ts';

let self: PeerIdentity;
let honest: PeerIdentity;
let liar: PeerIdentity;
beforeAll(async () => {
  [self, honest, liar] = await Promise.all([generateIdentity(), generateIdentity(), generateIdentity()]);
});
const { signal } = new AbortController();

describe('the arbitration of a wrong digest', () => {
  async function setUp(signers: { signer: PeerIdentity; isWrong?: boolean }[], options: MemoryOriginOptions = {}) {
    const kit = await openTestDownload(self, 2 * MiB);
    const origin = createMemoryOrigin(options);
    origin.putBlob(demoRepository, kit.bytes);
    for (let index = 0; index < kit.download.plan.pieceCount; index += 1) {
      const { signer, isWrong } = signers[index % signers.length]!;
      await kit.storePiece(index, signer, isWrong === true);
    }
    const deps = { origin, identity: self, random: seededRandom(1), logger: silentLogger };
    const judge = async () => arbitrate(deps, kit.download, await kit.download.verify(signal), signal);
    return { ...kit, origin, judge };
  }
  const all = [0, 1, 2, 3, 4, 5, 6];

  it('catches the one whose sample differs from the origin’s, and leaves the pieces of the others', async () => {
    const { judge, download, origin } = await setUp([
      { signer: self },
      { signer: liar, isWrong: true },
      { signer: honest },
    ]);
    expect(await judge()).toEqual({ drop: [1, 4], distrust: [liar.peerId], relyOnSelf: false });
    expect([...download.suspects.keys()]).toEqual([1, 2, 4, 5]);
    // One small piece of each signer.
    expect(origin.sentBytes).toBeLessThan(300 * 1024);
  });

  it.each<[string, MemoryOriginOptions]>([
    [
      'cannot be asked',
      {
        beforeCall: () => {
          throw new OriginError('ORIGIN_UNAVAILABLE', 'away');
        },
      },
    ],
    ['has no ranges', { servesRanges: false }],
  ])('believes nobody but this node when the origin %s', async (_, options) => {
    const signers = [{ signer: self }, { signer: liar, isWrong: true }, { signer: honest }];
    const { judge, origin } = await setUp(signers, options);
    expect(await judge()).toEqual({ drop: [1, 2, 4, 5], distrust: [], relyOnSelf: true });
    expect(origin.sentBytes).toBe(0);
  });

  it('believes nobody but this node when no repository is known', async () => {
    const { judge, download } = await setUp([{ signer: liar, isWrong: true }]);
    download.repositories.length = 0;
    expect(await judge()).toEqual({ drop: all, distrust: [], relyOnSelf: true });
  });

  it('catches who lied in one large piece alone, and keeps all that others signed', async () => {
    const { judge, download, storePiece, origin } = await setUp([{ signer: honest }]);
    await download.dropPieces([0, 5, 6]);
    await storePiece(0, liar);
    await storePiece(5, liar);
    await storePiece(6, liar, true);
    expect(await judge()).toEqual({ drop: [0, 5, 6], distrust: [liar.peerId], relyOnSelf: false });
    // No more than would have been read anew.
    expect(origin.sentBytes).toBeLessThanOrEqual(2 * MiB);
  });

  it('reads all anew when what others signed is right and own readings are not', async () => {
    const { judge } = await setUp([{ signer: self, isWrong: true }, { signer: honest }]);
    expect(await judge()).toEqual({ drop: all, distrust: [], relyOnSelf: true });
  });

  it('reads its own readings anew, and gives the origin up after a few times', async () => {
    const { judge } = await setUp([{ signer: self, isWrong: true }]);
    expect(await judge()).toEqual({ drop: all, distrust: [], relyOnSelf: true });
    await judge();
    await expect(judge()).rejects.toMatchObject({ code: 'SWARM_DIGEST_MISMATCH' });
  });

  it('gives up at once on a blob of no bytes', async () => {
    const { download } = await openTestDownload(self, 0);
    const deps = { origin: createMemoryOrigin(), identity: self, random: seededRandom(1), logger: silentLogger };
    const actual = digestOf(Buffer.from('x'));
    await expect(arbitrate(deps, download, actual, signal)).rejects.toMatchObject({ code: 'SWARM_DIGEST_MISMATCH' });
  });

  it('has proof only of hashes that differ from those of the right blob', async () => {
    const { judge, download, storePiece, digest } = await setUp([{ signer: liar, isWrong: true }, { signer: honest }]);
    await judge();
    await download.dropPieces(all);
    for (const index of all) await storePiece(index);
    expect(await download.verify(signal)).toBe(digest);
    const lies = provenLies(download);
    expect(new Set(lies.map(({ signer }) => signer))).toEqual(new Set([liar.peerId]));
    expect(lies[0]!.evidence).toMatch(/^sha256:\w{64} piece 0: signed \w{64} \(signature \w{128}\), is \w{64}$/);
  });
});

describe('the healing of a rotten blob', () => {
  async function setUp(findRepository?: (digest: Digest) => Promise<Repository | undefined>) {
    const store = createMemoryStore({ clock: new FakeClock() });
    const tasks = new TaskGroup(() => {});
    const fetched: BlobRequest[] = [];
    const withdrawn: Digest[] = [];
    const { key, bytes } = makeBlob(self, 1000, 1);
    await store.blobs.writeBlob(key.digest, bytes);
    const directory = {
      announce: async () => new Map(),
      find: async () => new Map(),
      withdraw: async (digests: readonly Digest[]) => void withdrawn.push(...digests),
      onProvider: () => () => {},
      publishRoot: () => {},
    };
    const healing = new Healing({
      blobs: store.blobs,
      directory,
      tasks,
      logger: silentLogger,
      fetch: (request) => fetched.push(request),
      findRepository,
    });
    return { store, tasks, healing, fetched, withdrawn, ...key };
  }

  it('quarantines, withdraws and fetches once, however often it is told', async () => {
    const { healing, digest, tasks, fetched, withdrawn, store } = await setUp();
    healing.fetched(digest, demoRepository);
    for (let time = 0; time < 3; time += 1) healing.rotten(digest, 'piece 0');
    await until(() => tasks.size === 0, 'it is done');
    expect([fetched, withdrawn]).toEqual([[{ digest, sizeBytes: 1000, repository: demoRepository }], [digest]]);
    expect(await store.blobs.findBlob(digest)).toBeUndefined();
    healing.rotten(digest, 'piece 0');
    await until(() => tasks.size === 0, 'it is done');
    expect(fetched).toHaveLength(1);
  });

  it('asks where the blob came from when it was not fetched in this life', async () => {
    const { healing, digest, tasks, fetched } = await setUp(async () => demoRepository);
    healing.rotten(digest, 'piece 0');
    await until(() => tasks.size === 0, 'it is done');
    expect(fetched).toHaveLength(1);
  });

  it('only takes the blob out of use when nobody knows where it came from', async () => {
    const { healing, digest, tasks, fetched, withdrawn } = await setUp();
    healing.rotten(digest, 'piece 0');
    await until(() => tasks.size === 0, 'it is done');
    expect([fetched, withdrawn]).toEqual([[], [digest]]);
  });
});
