import { describe, expect, it, test } from 'vitest';
import { explainTransfers, findLatestPull } from '../../../src/admin/explain.ts';
import { explainImage } from '../../../src/admin/explain-image.ts';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import type { Repository } from '../../../src/oci/repository.ts';
import type { Transfer, TransferPeer } from '../../../src/swarm/swarm.ts';

const MiB = 2 ** 20;
const digest = (name: string) => digestOf(Buffer.from(name));
const peer = (name: string, figures: Partial<TransferPeer> = {}): TransferPeer => ({
  peer: `12D3KooW-${name}` as PeerId,
  bytes: 0,
  bytesPerSecond: 0,
  stalls: 0,
  waitedMs: 0,
  ...figures,
});

function transfer(figures: Partial<Transfer> = {}): Transfer {
  return {
    digest: digest('a'),
    sizeBytes: 100 * MiB,
    repository: { namespace: 'origin.lan', name: 'app' } as Repository,
    state: 'complete',
    startedAtMs: 1_000,
    endedAtMs: 11_000,
    piecesHeld: 105,
    pieceCount: 105,
    bytes: { origin: 20 * MiB, peer: 80 * MiB, local: 0 },
    peers: [peer('abcdefgh', { bytes: 80 * MiB })],
    originBytesPerSecond: 0,
    stalls: 0,
    hedges: 0,
    rejectedPieces: 0,
    mismatches: 0,
    resumptions: 0,
    waitedMs: { directory: 500, origin: 9_500 },
    phasesMs: { providers: 400, firstPiece: 600, lastPiece: 9_900, verified: 9_950, committed: 10_000 },
    ...figures,
  };
}

describe('why a transfer took as long as it did', () => {
  const table: readonly { why: string; figures: Partial<Transfer>; bound: string; says: readonly string[] }[] = [
    {
      why: 'nothing had to be fetched',
      figures: { bytes: { origin: 0, peer: 0, local: 100 * MiB }, peers: [], waitedMs: { commit: 5 } },
      bound: 'held',
      says: ['Nothing had to be fetched: this node held it all.'],
    },
    {
      why: 'the origin was slow',
      figures: {},
      bound: 'origin',
      says: [
        "The origin's rate was the bound: 95.0% of the time went into bytes that no node held yet. It gave this node 2.00 MiB/s and the fleet about 10.0 MiB/s.",
        '20.0 MiB came from the origin (20.0%), 80.0 MiB from 1 peer.',
      ],
    },
    {
      why: 'the origin was silent',
      figures: { waitedMs: { silentOrigin: 8_000, peers: 2_000 }, missing: 'origin origin.lan: 503' },
      bound: 'silentOrigin',
      says: [
        'An origin that sent nothing was the bound: 8.00 s, 80.0% of the time (origin origin.lan: 503).',
        '20.0 MiB came from the origin (20.0%), 80.0 MiB from 1 peer.',
        'Beside it: peers 2.00 s.',
      ],
    },
    {
      why: 'peers sent slowly',
      figures: {
        waitedMs: { peers: 9_000, origin: 1_000 },
        peers: [peer('abcdefgh', { bytes: 50 * MiB }), peer('ijklmnop', { bytes: 30 * MiB })],
      },
      bound: 'peers',
      says: [
        "The links of the peers, or this node's own, were the bound: 90.0% of the time went into bytes that peers held. 2 peers gave 8.00 MiB/s together.",
        '20.0 MiB came from the origin (20.0%), 80.0 MiB from 2 peers.',
        'Beside it: origin 1.00 s.',
      ],
    },
    {
      why: 'a peer stood still',
      figures: {
        waitedMs: { silentPeer: 6_000, peers: 4_000 },
        peers: [
          peer('abcdefgh', { bytes: 80 * MiB, stalls: 1, waitedMs: 500 }),
          peer('ijklmnop', { stalls: 2, waitedMs: 5_500 }),
        ],
        stalls: 3,
        hedges: 1,
      },
      bound: 'silentPeer',
      says: [
        'Peer …ijklmnop stood still and was the bound: nothing else moved for 6.00 s, 60.0% of the time.',
        '20.0 MiB came from the origin (20.0%), 80.0 MiB from 1 peer.',
        'Beside it: peers 4.00 s.',
        'Requests stood still 3 times, most often …ijklmnop (2).',
        '1 late request asked of a second peer.',
      ],
    },
    {
      why: 'the directory was slow',
      figures: { endedAtMs: 3_000, waitedMs: { directory: 1_800, origin: 200 } },
      bound: 'directory',
      says: [
        'The wait for the directory and for the first words of other nodes was the bound: 1.80 s, 90.0% of the time.',
      ],
    },
    {
      why: 'the hash came after',
      figures: { waitedMs: { verification: 6_000, peers: 4_000 } },
      bound: 'verification',
      says: ['The hash of the whole was the bound: 6.00 s, 60.0% of the time, after the last piece was there.'],
    },
    {
      why: 'the disk was slow',
      figures: { waitedMs: { commit: 9_000, peers: 1_000 } },
      bound: 'commit',
      says: ['The disk was the bound: 9.00 s, 90.0% of the time, to make the verified bytes durable.'],
    },
    {
      why: 'other blobs went first',
      figures: { waitedMs: { queue: 9_000, peers: 1_000 } },
      bound: 'queue',
      says: ['Other blobs of this node went first, or its peers were busy: 9.00 s, 90.0% of the time.'],
    },
    {
      why: 'the node may not take more',
      figures: { waitedMs: { ownRate: 9_000, peers: 1_000 } },
      bound: 'ownRate',
      says: ["This node's own limit was the bound (swarm.downloadBytesPerSecond): 9.00 s, 90.0% of the time."],
    },
    {
      why: 'nobody had it',
      figures: {
        state: 'failed',
        bytes: { origin: 0, peer: 0, local: 0 },
        peers: [],
        waitedMs: { nobody: 10_000 },
        missing: '105 of 105 pieces',
        error: 'SWARM_UNOBTAINABLE: no peer holds them',
      },
      bound: 'nobody',
      says: ['It failed after 10.0 s: SWARM_UNOBTAINABLE: no peer holds them.'],
    },
    {
      why: 'nobody had the rest',
      figures: {
        state: 'failed',
        waitedMs: { nobody: 9_000, peers: 1_000 },
        missing: '20 of 105 pieces',
        error: 'SWARM_UNOBTAINABLE: no peer holds them',
      },
      bound: 'nobody',
      says: [
        'It failed after 10.0 s: SWARM_UNOBTAINABLE: no peer holds them.',
        'Nobody who has it could be asked: 9.00 s, 90.0% of the time (20 of 105 pieces).',
      ],
    },
    {
      why: 'somebody lied, and it was found out',
      figures: { rejectedPieces: 2, mismatches: 1 },
      bound: 'origin',
      says: [
        '2 pieces did not fit the signed hash and came again.',
        'The digest was wrong 1 time, and pieces were fetched again.',
      ],
    },
  ];
  test.each(table)('because $why', ({ figures, bound, says }) => {
    const explanation = explainTransfers([transfer(figures)], 20_000);
    expect(explanation.bound).toBe(bound);
    for (const sentence of says) expect(explanation.sentences).toContain(sentence);
    expect(explanation.sentences[0]).toBe(bound === 'origin' ? explanation.sentences[0] : says[0]);
  });

  it('tells of one that still runs how far it is', () => {
    const { endedAtMs: _, ...running } = transfer({ state: 'fetching', waitsFor: { for: 'peers' } });
    const { sentences, durationMs } = explainTransfers([running], 6_000);
    expect(sentences).toContain('It still runs, for 5.00 s, and waits for peers now.');
    expect(durationMs).toBe(5_000);
  });

  it('of no transfer at all is that everything was held', () => {
    expect(explainTransfers([], 1)).toMatchObject({ bound: 'held', durationMs: 0, waits: [] });
  });
});

describe('why a pull of several blobs took as long as it did', () => {
  it('counts the directory once and leaves out that its blobs waited for each other', () => {
    const first = transfer({ waitedMs: { directory: 1_000, origin: 8_000 } });
    const second = transfer({ digest: digest('b'), waitedMs: { directory: 1_000, queue: 7_000, peers: 1_000 } });
    const { bound, waits, durationMs } = explainTransfers([first, second], 20_000);
    expect(bound).toBe('origin');
    expect(durationMs).toBe(10_000);
    expect(waits).toEqual([
      { for: 'origin', ms: 8_000, share: 0.8 },
      { for: 'directory', ms: 1_000, share: 0.1 },
      { for: 'peers', ms: 1_000, share: 0.1 },
    ]);
  });

  it('says first how many failed', () => {
    const failed = transfer({ digest: digest('b'), state: 'failed', error: 'no' });
    const { sentences } = explainTransfers([transfer(), failed], 20_000);
    expect(sentences[0]).toBe('It failed after 10.0 s: 1 of 2 blobs: no.');
    expect(sentences[1]).toContain('was the bound');
  });

  it('takes the transfers of the latest pull only', () => {
    const old = transfer({ startedAtMs: 0, endedAtMs: 1_000 });
    const first = transfer({ startedAtMs: 60_000, endedAtMs: 62_000 });
    const second = transfer({ startedAtMs: 63_000, endedAtMs: 70_000 });
    expect(findLatestPull([old, second, first], 80_000)).toEqual([second, first]);
    expect(findLatestPull([], 1)).toEqual([]);
  });
});

describe('the explanation of an image', () => {
  const order = { repository: transfer().repository, reference: { tag: 'latest' } };
  const blobs = ['a', 'b', 'c'].map((name) => ({ digest: digest(name), sizeBytes: 1 }));

  it('joins what runs now with what an earlier life left, and says what was here before', async () => {
    const now = transfer({ startedAtMs: 50_000, endedAtMs: 51_000 });
    const outdated = transfer({ startedAtMs: 1, endedAtMs: 2 });
    const foundComplete = transfer({
      startedAtMs: 60_000,
      endedAtMs: 60_001,
      bytes: { origin: 0, peer: 0, local: 100 * MiB },
    });
    const earlier = transfer({ digest: digest('b'), startedAtMs: 49_000, endedAtMs: 50_500 });
    const answer = await explainImage(
      {
        transfers: () => [foundComplete, now, outdated],
        findEarlierTransfer: (wanted) => (wanted === earlier.digest ? earlier : undefined),
        findImageBlobs: async () => ({ digest: digest('root'), blobs }),
      },
      order,
      70_000,
    );
    expect(answer.digest).toBe(digest('root'));
    expect(answer.blobs.map((blob) => blob.transfer)).toEqual([now, earlier]);
    expect(answer.heldBefore).toEqual([{ digest: digest('c'), sizeBytes: 1 }]);
    expect(answer.explanation.durationMs).toBe(2_000);
  });

  it('is refused for an image this node has not seen', async () => {
    const asked = explainImage(
      { transfers: () => [], findEarlierTransfer: () => undefined, findImageBlobs: async () => undefined },
      order,
      1,
    );
    await expect(asked).rejects.toMatchObject({ code: 'ADMIN_NOT_FOUND' });
  });
});
