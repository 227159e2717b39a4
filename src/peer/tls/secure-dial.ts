import type { TLSSocket } from 'node:tls';
import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import type { BulkAddress } from '../bulk.ts';
import { PeerError } from '../errors.ts';
import { findSocketPeer } from './certificate.ts';

/** Whom a dialled socket must prove to reach, and for what. */
export interface DialTarget {
  readonly peer: PeerId;
  readonly address: BulkAddress;
  /** The ALPN name. */
  readonly protocol: string;
  readonly timeoutMs: number;
}

/**
 * Waits until a socket that is connecting has proved who is there, before anything is sent; destroys it otherwise. The socket has a listener for
 * its errors already.
 * @throws PEER_UNREACHABLE, PEER_UNTRUSTED, PEER_STALLED
 */
export async function provePeer(
  socket: TLSSocket,
  { peer, address, protocol, timeoutMs }: DialTarget,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const details = { peer, address: `${address.host}:${address.port}` };
  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => {});
  let error: Error | undefined;
  const onError = (cause: Error) => {
    error = cause;
  };
  const onClose = () =>
    ended.reject(new PeerError('PEER_UNREACHABLE', `cannot connect to ${peer}`, { cause: error, details }));
  const onAbort = () => ended.reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  const cancelTimer = clock.schedule(timeoutMs, () =>
    ended.reject(
      new PeerError('PEER_STALLED', `${peer} does not finish the handshake`, {
        details: { ...details, stage: 'dial' },
      }),
    ),
  );
  socket.once('error', onError);
  socket.once('close', onClose);
  const secured = new Promise<void>((resolve) => socket.once('secureConnect', resolve));
  try {
    await Promise.race([secured, ended.promise]);
    const actual = findSocketPeer(socket, clock);
    if (actual !== peer || socket.alpnProtocol !== protocol) {
      throw new PeerError('PEER_UNTRUSTED', `${details.address} is not ${peer}`, { details: { ...details, actual } });
    }
  } catch (reason) {
    socket.destroy();
    throw reason;
  } finally {
    cancelTimer();
    signal.removeEventListener('abort', onAbort);
    socket.off('error', onError);
    socket.off('close', onClose);
  }
}
