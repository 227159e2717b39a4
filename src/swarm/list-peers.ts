import type { PeerId } from '../content/peer-id.ts';
import type { PeerNetwork } from '../peer/peer-network.ts';
import type { BanList } from './bans.ts';
import type { BlobDownload } from './blob-download.ts';
import type { Ledger } from './ledger.ts';
import type { MemberLinks } from './member-links.ts';
import type { Scheduler } from './schedule/scheduler.ts';
import type { SwarmPeer } from './swarm.ts';

/** Gathers what is known of every peer met: accounts, rates, zone and bans. */
export function listPeers(
  network: PeerNetwork,
  ledger: Ledger,
  scheduler: Scheduler,
  banList: BanList,
  links: MemberLinks,
  downloads: Iterable<BlobDownload>,
): SwarmPeer[] {
  // What they bring now: an estimate for the next request would stand there long after the last byte.
  const rates = new Map<PeerId, number>();
  for (const download of downloads)
    for (const { peer, bytesPerSecond } of download.account.peers())
      rates.set(peer, (rates.get(peer) ?? 0) + bytesPerSecond);
  const bans = banList.list();
  const met = new Set<PeerId>([...ledger.accounts.keys(), ...scheduler.peers.keys(), ...bans.keys()]);
  return [...met].map((peer) => {
    const account = ledger.accounts.get(peer);
    const ban = bans.get(peer);
    const zone = links.findZone(peer);
    return {
      peer,
      isConnected: network.findPeer(peer) !== undefined,
      ...(zone === undefined || zone === '' ? {} : { zone }),
      receivedBytes: account?.received ?? 0,
      sentBytes: account?.sent ?? 0,
      rateBytesPerSecond: rates.get(peer) ?? 0,
      rejectedPieces: account?.rejected ?? 0,
      ...(ban === undefined ? {} : { ban }),
    };
  });
}
