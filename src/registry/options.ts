import type { Namespace } from '../oci/namespace.ts';

export interface RegistryOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** The origin of names that come without a host (dockerd's `registry-mirrors`). */
  readonly defaultOrigin: Namespace;
  /** Tells whether clients may name this origin; what it refuses is answered 404 at once. */
  readonly allowsNamespace: (namespace: string) => boolean;
  readonly maxConnections: number;
  /** Bytes of the head of a request. */
  readonly maxHeaderBytes: number;
  /** Time to send the head, and the whole request. */
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** Time a kept-alive connection may be silent between requests. */
  readonly idleTimeoutMs: number;
  /** Time a client may take no byte of an answer. */
  readonly stallTimeoutMs: number;
  /** The head of an answer goes out after this long even if the first byte of a cold blob is not there yet. */
  readonly earlyHeadersMs: number;
  /** Ranges in one request; more are 400. */
  readonly maxRanges: number;
  readonly buffers: { readonly largeBytes: number; readonly smallBytes: number; readonly maxLarge: number };
  /** Time that running requests get at the stop. */
  readonly drainTimeoutMs: number;
}
