import type { Digest } from '../../oci/digest.ts';
import { SwarmError } from '../errors.ts';
import type { BlobRequest, Download, Swarm, Transfer } from '../swarm.ts';
import { MemoryDownload, type MemorySwarmDeps } from './memory-download.ts';

/** As many ended transfers as an operator's page shows. */
const endedTransfersKept = 64;

/**
 * The swarm of one node: one download per digest, whole blobs from a peer's store or the origin, nothing exchanged piecewise.
 * It keeps the contract (single flight, withheld tail, downloads that outlive their readers) and needs no network.
 */
export function createMemorySwarm(deps: MemorySwarmDeps): Swarm & AsyncDisposable {
  const active = new Map<Digest, MemoryDownload>();
  const ended: Transfer[] = [];
  const running = new Set<Promise<void>>();
  const stopping = new AbortController();

  const start = (request: BlobRequest): MemoryDownload => {
    const download = new MemoryDownload(deps, request, stopping.signal);
    active.set(request.digest, download);
    const settled = download.settled.then(() => {
      active.delete(request.digest);
      ended.push(download.transfer());
      if (ended.length > endedTransfersKept) ended.shift();
      running.delete(settled);
    });
    running.add(settled);
    return download;
  };

  return {
    fetch(requests): readonly Download[] {
      return requests.map((request) => {
        const joined = active.get(request.digest);
        joined?.addRepository(request.repository);
        return joined ?? start(request);
      });
    },
    findDownload: (digest) => active.get(digest),
    transfers: () => [...active.values()].map((download) => download.transfer()).concat(ended),
    peers: () => [],
    async [Symbol.asyncDispose]() {
      stopping.abort(new SwarmError('SWARM_STOPPED', 'the node is stopping'));
      await Promise.allSettled([...running]);
    },
  };
}
