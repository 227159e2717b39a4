import { mdns } from '@libp2p/mdns';
import { findPeerId, type PeerId } from '../../content/peer-id.ts';
import { Emitter } from '../../lib/emitter.ts';

type MdnsFactory = ReturnType<typeof mdns>;

/** Tells of peers it comes across; it does not dial. */
export interface PeerSource {
  onPeer(listener: (peer: PeerId, addresses: readonly string[]) => void): () => void;
}

/** mDNS as a service of the libp2p node that the peer folder owns: pass `factory` among its services. */
export interface MdnsService extends PeerSource {
  readonly factory: MdnsFactory;
}

export interface MdnsServiceOptions {
  readonly queryIntervalMs: number;
}

/** Own, so that other libp2p software on the local network is not met at all. */
const serviceTag = '_shoal._udp.local';

export function createMdnsService(options: MdnsServiceOptions): MdnsService {
  const found = new Emitter<{ readonly peer: PeerId; readonly addresses: readonly string[] }>();
  const create = mdns({ serviceTag, interval: options.queryIntervalMs });
  return {
    factory(components) {
      const service = create(components);
      service.addEventListener('peer', ({ detail }) => {
        const peer = findPeerId(detail.id.toString());
        if (peer === undefined) return;
        found.emit({ peer, addresses: detail.multiaddrs.map((address) => `${address.toString()}/p2p/${peer}`) });
      });
      return service;
    },
    onPeer: (listener) => found.on(({ peer, addresses }) => listener(peer, addresses)),
  };
}
