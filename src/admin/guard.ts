import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { AdminError } from './errors.ts';

/**
 * Keeps web pages out: a browser on this machine can be made to send requests here under a name that an attacker's DNS points
 * at the loopback, but the Host header keeps that name, and requests across origins carry Origin.
 */
export function checkHost(request: IncomingMessage, hosts: readonly string[]): void {
  const host = hostName(request.headers.host ?? '');
  if (host === undefined || !(isLoopback(host) || isOwnAddress(request, host) || hosts.includes(host))) {
    throw new AdminError('ADMIN_FOREIGN_HOST', 'the Host header does not name this node');
  }
  const { origin } = request.headers;
  if (origin === undefined) return;
  if (!URL.canParse(origin) || new URL(origin).host !== request.headers.host) {
    throw new AdminError('ADMIN_FOREIGN_HOST', 'requests from pages of other sites are refused');
  }
}

/** Lets changes through: with the token, or, when none is set, from this machine. */
export function checkCaller(request: IncomingMessage, token: string | undefined): void {
  if (token === undefined) {
    if (isLoopback(request.socket.remoteAddress ?? '')) return;
    throw new AdminError('ADMIN_FORBIDDEN', 'without an admin token only this machine may ask for that');
  }
  const sent = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
  // Hashing first makes the lengths equal, so that the comparison tells nothing by its time.
  if (timingSafeEqual(sha256(sent), sha256(token))) return;
  throw new AdminError('ADMIN_FORBIDDEN', 'the admin token is missing or wrong');
}

function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true;
  const plain = host.startsWith('::ffff:') ? host.slice('::ffff:'.length) : host;
  return isIP(plain) === 4 && plain.startsWith('127.');
}

function isOwnAddress(request: IncomingMessage, host: string): boolean {
  return isIP(host) !== 0 && request.socket.localAddress?.replace(/^::ffff:/, '') === host;
}

function hostName(header: string): string | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::\d{1,5})?$/i.exec(header);
  return (match?.[1] ?? match?.[2])?.toLowerCase();
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
