import type { DirectChannels } from '../direct-channels.ts';
import type { PeerNetwork } from '../peer-network.ts';

const protocol = 'direct';

/** Direct channels in memory: channels of the network they belong to, which has no faster ones. */
export function createMemoryDirectChannels(network: PeerNetwork): DirectChannels {
  let stop: (() => void) | undefined;
  return {
    open: (peer, _address, signal) => network.openChannel(peer, protocol, signal),
    handle(accept) {
      stop?.();
      const ended = network.handle(protocol, accept);
      stop = () => {
        ended();
        stop = undefined;
      };
      return () => stop?.();
    },
  };
}
