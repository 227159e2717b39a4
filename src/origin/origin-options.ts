/** Everything the origins need to know. Defaults live in the configuration schema; an entry's absent field falls back to `defaultSettings`. */
export interface OriginsOptions {
  /** By namespace (`docker.io`, `registry.lan:5000`). */
  readonly origins: ReadonlyMap<string, OriginEntry>;
  readonly defaultSettings: OriginSettings;
  /**
   * Which namespaces beside the configured ones may be asked. A list holds names where `*` stands for any run of characters;
   * `any` (or a lone `*` in the list) means any host on a public address: private addresses must be named.
   */
  readonly allow: 'configured' | 'any' | readonly string[];
  /** A docker `config.json` with credentials; absent = none. Read again when a credential is looked up anew. */
  readonly dockerConfigFile?: string;
  /** Absent = HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the environment. */
  readonly proxy?: ProxyOptions;
  /** Sent with every request. */
  readonly userAgent: string;
}

/** An empty string or an absent field = no proxy for that scheme. */
export interface ProxyOptions {
  readonly httpProxy?: string;
  readonly httpsProxy?: string;
  readonly noProxy?: string;
}

export interface OriginEntry extends Partial<OriginSettings> {
  /** Absent = https and the namespace; `docker.io` = https://registry-1.docker.io; a loopback namespace = http. */
  readonly url?: string;
  readonly credentials?: ConfiguredCredentials;
  /** PEM file, trusted beside the system's authorities. */
  readonly caFile?: string;
  /** Certificates are not verified, and credentials may go over plain HTTP to hosts that are not loopback. */
  readonly insecure?: boolean;
  /** Hosts beside the origin's own domain that may ask for its credentials (token realms) or be redirected to at private addresses. */
  readonly trustedHosts?: readonly string[];
}

export type ConfiguredCredentials =
  | { readonly username: string; readonly password: string }
  /** The file is read again for each new token, so that a rotated secret is picked up. */
  | { readonly username: string; readonly passwordFile: string }
  /** Sent as it is, as a bearer token. */
  | { readonly token: string };

export interface OriginSettings {
  /** Blob bodies at once; as many small requests (manifests, tags, sizes) may run beside them. */
  readonly parallelRequests: number;
  /** Undefined or 0 = unlimited; counts bytes of blob bodies. */
  readonly rateBytesPerSecond?: number;
  readonly timeouts: OriginTimeouts;
  /** Attempts after the first that failed for a reason that passes. */
  readonly retries: number;
  /** Failures in a row that open the breaker. */
  readonly breakerFailures: number;
  /** The breaker's first pause; it doubles up to eight times this with each failed probe. */
  readonly breakerPauseMs: number;
}

export interface OriginTimeouts {
  /** TCP and TLS. */
  readonly connectMs: number;
  /** From the request to the head of the answer. */
  readonly headersMs: number;
  /** Without a byte in the middle of a body. */
  readonly stallMs: number;
  /** From the call to its answer (for a blob: to the first head), tokens, redirects, retries and waits included. */
  readonly deadlineMs: number;
}
