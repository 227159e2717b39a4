import { listenAddressText } from '../config/values.ts';
import type { Logger } from '../lib/logger.ts';
import { createUndiciClient } from '../origin/http/undici-client.ts';

// The node is there and idle: an answer takes some milliseconds.
const timeoutMs = 5_000;
const timeouts = { connectMs: timeoutMs, headersMs: timeoutMs, stallMs: timeoutMs, deadlineMs: timeoutMs };

/**
 * Asks this node's registry what a client asks first, once: that it does not answer is news for the operator before it is for clients. And what a
 * first request costs a process, some 30 ms of CPU at both ends (the parser of HTTP answers is compiled for it), is not spent in the first pull,
 * which on a busy machine waits a few times as long for it.
 */
export async function askOwnRegistry(
  { logger }: { readonly logger: Logger },
  address: { readonly host: string; readonly port: number },
  signal: AbortSignal,
): Promise<void> {
  const url = new URL(`http://${listenAddressText({ ...address, host: reachableHost(address.host) })}/v2/`);
  const client = createUndiciClient({
    originUrl: url,
    isVerifyingTls: true,
    connections: 1,
    timeouts,
    proxy: {},
    trustedHosts: [],
    isOriginTrusted: true,
  });
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const { status, body } = await client.send({ url, method: 'GET', headers: {}, isForeign: false, signal: limit });
    while ((await body.read()) !== undefined);
    if (status !== 200) logger.warn({ url: url.href, status }, 'this node refuses its own request to its registry');
  } catch (error) {
    if (signal.aborted) return;
    logger.warn({ url: url.href, error }, 'this node cannot reach its own registry: neither can clients on it');
  } finally {
    await client.close();
  }
}

/** Where a socket that listens everywhere is found. */
function reachableHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}
