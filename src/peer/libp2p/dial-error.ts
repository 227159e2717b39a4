import { PeerError } from '../errors.ts';

/** What our own connection gater refuses, which is whom we banned. */
const deniedNames = new Set(['DialDeniedError', 'ConnectionInterceptedError']);
/** Names of libp2p errors that mean the other side is not who it should be. */
const untrustedNames = new Set(['UnexpectedPeerError']);
// libp2p wraps what Noise threw into an EncryptionFailedError that keeps only the text (libp2p upgrader.js).
const noiseRefusal = /handshake stage \d validation fail|does not match expected|Invalid payload signature/;
const selfDial = /dial self/;

/** Translates what libp2p's dial threw. */
export function toDialError(error: unknown, address: string): PeerError {
  const causes = flatten(error);
  if (causes.some((cause) => deniedNames.has(cause.name))) {
    return new PeerError('PEER_UNTRUSTED', `${address} is banned by this node`, {
      cause: error,
      details: { address, reason: 'banned' },
    });
  }
  const isUntrusted = causes.some((cause) => untrustedNames.has(cause.name) || noiseRefusal.test(cause.message));
  if (isUntrusted) {
    return new PeerError('PEER_UNTRUSTED', `${address} has another fleet secret or identity`, {
      cause: error,
      details: { address, reason: 'handshake' },
    });
  }
  const isSelf = causes.some((cause) => selfDial.test(cause.message));
  return new PeerError('PEER_UNREACHABLE', `cannot reach ${address}`, {
    cause: error,
    details: { address, reason: isSelf ? 'self' : 'dial' },
  });
}

function flatten(error: unknown, depth = 0): Error[] {
  if (!(error instanceof Error) || depth > 4) return [];
  const inner = error instanceof AggregateError ? error.errors : [];
  return [error, ...inner.flatMap((item) => flatten(item, depth + 1)), ...flatten(error.cause, depth + 1)];
}
