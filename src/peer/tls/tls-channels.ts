import { connect, type SecureContext, type TLSSocket } from 'node:tls';
import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import { joinSignals } from '../../lib/join-signals.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { BulkAddress } from '../bulk.ts';
import type { DirectChannels } from '../direct-channels.ts';
import type { PeerIdentity } from '../identity.ts';
import { createPeerMetrics, type PeerMetrics } from '../peer-metrics.ts';
import type { Channel } from '../peer-network.ts';
import { channelProtocol, createClientContext } from './certificate.ts';
import { provePeer } from './secure-dial.ts';
import { TlsChannel, type TlsChannelOptions } from './tls-channel.ts';

export interface TlsChannelsDeps {
  readonly identity: PeerIdentity;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Whether a peer has a session and is not banned. */
  isMember(peer: PeerId): boolean;
}

export interface TlsChannelsOptions extends TlsChannelOptions {
  readonly dialTimeoutMs: number;
}

/** Makes the channels on the bulk plane; the bulk server hands over what peers open. Disposing cuts all. */
export function createTlsChannels(deps: TlsChannelsDeps, options: TlsChannelsOptions): TlsChannels {
  return new TlsChannels(deps, options);
}

export class TlsChannels implements DirectChannels, AsyncDisposable {
  readonly #deps: TlsChannelsDeps;
  readonly #options: TlsChannelsOptions;
  readonly #metrics: PeerMetrics;
  readonly #sockets = new Set<TLSSocket>();
  readonly #stopping = new AbortController();
  #context: Promise<SecureContext> | undefined;
  #take: ((channel: Channel) => void) | undefined;

  constructor(deps: TlsChannelsDeps, options: TlsChannelsOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#metrics = createPeerMetrics(deps.metrics);
  }

  async open(peer: PeerId, address: BulkAddress, signal: AbortSignal): Promise<Channel> {
    const { identity, clock } = this.#deps;
    this.#context ??= createClientContext(identity, clock);
    const secureContext = await this.#context;
    using joined = joinSignals(signal, this.#stopping.signal);
    joined.signal.throwIfAborted();
    const socket = connect({
      ...address,
      secureContext,
      ALPNProtocols: [channelProtocol],
      // There is no CA: the certificate is checked for the peer ID in it.
      rejectUnauthorized: false,
    });
    socket.on('error', () => {});
    const { dialTimeoutMs: timeoutMs } = this.#options;
    await provePeer(socket, { peer, address, protocol: channelProtocol, timeoutMs }, clock, joined.signal);
    return this.#channel(peer, socket);
  }

  handle(accept: (channel: Channel) => void): () => void {
    this.#take = accept;
    return () => {
      if (this.#take === accept) this.#take = undefined;
    };
  }

  /** Takes a connection whose peer is proved. */
  accept(socket: TLSSocket, peer: PeerId): void {
    if (this.#take !== undefined && !this.#stopping.signal.aborted && this.#deps.isMember(peer)) {
      this.#take(this.#channel(peer, socket));
      return;
    }
    socket.on('error', () => {});
    socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new DOMException('the node is stopping', 'AbortError'));
    for (const socket of this.#sockets) socket.destroy();
  }

  #channel(peer: PeerId, socket: TLSSocket): Channel {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    return new TlsChannel({ peer, socket, metrics: this.#metrics, clock: this.#deps.clock }, this.#options);
  }
}
