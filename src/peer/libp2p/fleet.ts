import { createHash } from 'node:crypto';

/** Computes the Noise prologue of a fleet: whoever has another secret, or none, fails the handshake. */
export function fleetPrologue(secret: Uint8Array): Uint8Array {
  return createHash('sha256').update('shoal/fleet/1\0').update(secret).digest();
}

export interface ListenDecision {
  readonly host: string;
  /** Whether the wish for a reachable address was denied; the caller says so to the operator. */
  readonly isConfined: boolean;
}

/** Decides where a peer port binds: without a fleet secret only on loopback, so that nobody joins a fleet by accident. */
export function decideListenHost(wishedHost: string, hasFleetSecret: boolean): ListenDecision {
  if (hasFleetSecret || isLoopbackHost(wishedHost)) return { host: wishedHost, isConfined: false };
  return { host: wishedHost.includes(':') ? '::1' : '127.0.0.1', isConfined: true };
}

export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}
