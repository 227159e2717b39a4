import { createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { LRUCache } from 'lru-cache';
import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import type { PeerIdentity } from '../identity.ts';
import { type Credentials, createPeerCertificate, findCertificatePeer } from './peer-certificate.ts';

/** Names the protocol in the TLS handshake; a client without ALPN (curl --no-alpn) is served too. */
export const bulkProtocol = 'shoal-bulk/1';
/** Names a channel of messages on the same port. */
export const channelProtocol = 'shoal-channel/1';

// AES-128-GCM costs half of AES-256 or ChaCha20 with AES-NI (libp2p.md 2.1); ChaCha20 serves machines without it.
const ciphers = 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256';

/** What both ends of the bulk plane insist on. Peers are known by the libp2p extension of their certificate, not by a CA. */
export const tlsOptions = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3', ciphers } as const;

/** One certificate per process and node: a verified one need not be verified again. */
const verified = new LRUCache<string, PeerId>({ max: 1024 });

/** One certificate for both ends of a node: others verify it once. */
const made = new WeakMap<PeerIdentity, Promise<Credentials>>();

/** Makes, once, a certificate that proves the node's identity, with a key of its own. */
export function createCredentials(identity: PeerIdentity, clock: Clock): Promise<Credentials> {
  const credentials = made.get(identity) ?? createPeerCertificate(identity, clock.wallMs());
  made.set(identity, credentials);
  return credentials;
}

export async function createClientContext(identity: PeerIdentity, clock: Clock): Promise<SecureContext> {
  return createSecureContext({ ...(await createCredentials(identity, clock)), ...tlsOptions });
}

/** Returns who is on the other end of a secured socket; undefined when it does not prove it. */
export function findSocketPeer(socket: TLSSocket, clock: Clock): PeerId | undefined {
  // A resumed session shows no certificate of its own handshake.
  if (socket.isSessionReused()) return undefined;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  const known = verified.get(certificate.fingerprint256);
  if (known !== undefined) return known;
  const peer = findCertificatePeer(certificate, clock.wallMs());
  if (peer !== undefined) verified.set(certificate.fingerprint256, peer);
  return peer;
}
