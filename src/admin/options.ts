import type { Platform } from '../oci/descriptor.ts';
import type { Namespace } from '../oci/namespace.ts';

export interface AdminOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** Wanted for requests that change something; absent = those are taken from this machine only. */
  readonly token?: string;
  /** Host names under which this API may be asked, beside those of the loopback. */
  readonly hosts: readonly string[];
  /** Of references that name none. */
  readonly defaultOrigin: Namespace;
  /** Of pulls that name none; absent = the node's. */
  readonly platform?: Platform;
  readonly maxConnections: number;
  readonly maxPulls: number;
  readonly requestTimeoutMs: number;
  /** Time that running requests get at the stop. */
  readonly drainTimeoutMs: number;
}
