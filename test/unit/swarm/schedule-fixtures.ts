import { Bitfield } from '../../../src/content/bitfield.ts';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { seededRandom } from '../../../src/lib/clock.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import { applyMemberState } from '../../../src/swarm/schedule/member-events.ts';
import type { ScheduleOptions } from '../../../src/swarm/schedule/options.ts';
import type { Action } from '../../../src/swarm/schedule/scheduler.ts';
import { Scheduler } from '../../../src/swarm/schedule/scheduler.ts';
import {
  createDownloadState,
  createPeerState,
  type DownloadState,
  type PeerState,
} from '../../../src/swarm/schedule/state.ts';
import { FakeClock } from '../../support/fake-clock.ts';

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const self = 'self' as PeerId;
export const [alice, bob, carol] = ['alice', 'bob', 'carol'] as PeerId[] as [PeerId, PeerId, PeerId];
export const digest = `sha256:${'ab'.repeat(32)}` as Digest;

export const options: ScheduleOptions = {
  maxRequests: 8,
  maxRequestsPerPeer: 2,
  maxSuppliers: 4,
  maxInFlightBytes: 16 * MiB,
  readerWindowPieces: 2,
  originWindowExtents: 8,
  originWindowStartExtents: 8,
  takeoverMs: 400,
  originStallMs: 2_000,
  peerStallMs: 2_000,
  hedgeFactor: 3,
};

/** A blob of 512 KiB pieces and no finer head: 1 MiB at most. Larger ones begin with five head pieces. */
export function downloadOf(
  sizeBytes: number,
  changes: { held?: number[]; canAskOrigin?: boolean; digest?: Digest; originNotBeforeMs?: number } = {},
): DownloadState {
  return createDownloadState({
    digest: changes.digest ?? digest,
    sizeBytes,
    order: 1,
    originNotBeforeMs: changes.originNotBeforeMs ?? 0,
    canAskOrigin: changes.canAskOrigin ?? true,
    held: changes.held ?? [],
  });
}

/** Makes a peer a member that holds these pieces; 'all' = a seed. */
export function join(
  download: DownloadState,
  peer: PeerId,
  pieces: number[] | 'all',
  changes: { canAskOrigin?: boolean; isFetching?: boolean } = {},
  nowMs = 0,
): number[] {
  const have = new Bitfield(download.plan.pieceCount);
  for (const piece of pieces === 'all' ? [] : pieces) have.add(piece);
  return applyMemberState(
    download,
    peer,
    {
      pieces: pieces === 'all' ? undefined : have,
      isFetching: changes.isFetching ?? pieces !== 'all',
      canAskOrigin: changes.canAskOrigin ?? pieces !== 'all',
    },
    nowMs,
  );
}

export function peerStates(...peers: (PeerId | Partial<PeerState>)[]): Map<PeerId, PeerState> {
  return new Map(
    peers.map((entry) => {
      const given = typeof entry === 'string' ? { peer: entry } : entry;
      const state: PeerState = { ...createPeerState(alice, false), ...given };
      return [state.peer, state];
    }),
  );
}

export function createTestScheduler(changes: Partial<ScheduleOptions> = {}) {
  const clock = new FakeClock();
  const scheduler = new Scheduler({ self, clock, random: seededRandom(7) }, { ...options, ...changes });
  return { clock, scheduler };
}

export function extentRequests(actions: readonly Action[]) {
  return actions.flatMap((action) => (action.kind === 'fetchExtent' ? [action.request] : []));
}

export function pieceRequests(actions: readonly Action[]) {
  return actions.flatMap((action) => (action.kind === 'fetchPieces' ? [action.request] : []));
}

export function cancels(actions: readonly Action[]) {
  return actions.flatMap((action) => (action.kind === 'cancel' ? [action.requestId] : []));
}
