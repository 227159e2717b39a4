/** What the bench and its agents (one process per network namespace) say to each other: one JSON object a line. */
import type { PullOrder, PullOutcome } from './docker-pull.ts';

/** An image whose manifest and blobs lie in files. */
export interface ImageFiles {
  readonly repository: string;
  readonly tag: string;
  readonly mediaType: string;
  readonly manifestDigest: string;
  readonly blobDigests: readonly string[];
  /** Holds one file per digest, named by its hex. */
  readonly directory: string;
}

export interface PushOrder extends ImageFiles {
  readonly host: string;
  readonly port: number;
}

export interface LoadOrder {
  readonly host: string;
  readonly port: number;
  readonly method: 'GET' | 'HEAD';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Clients asking at once, each on its own connection. */
  readonly clients: number;
  readonly requestsPerClient: number;
  /** Requests are sent at this pace over all clients; as fast as they are answered when absent. */
  readonly requestsPerSecond?: number;
  /** Digest that every body must have; checked after the clock has stopped. */
  readonly expectedDigest?: string;
  readonly sizeBytes: number;
}

export interface LoadOutcome {
  readonly seconds: number;
  readonly requests: number;
  readonly bytes: number;
  readonly failures: readonly string[];
  readonly wrongBytes: number;
  readonly latencySeconds: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly ttfbSecondsMax: number;
}

export interface GetOutcome {
  readonly status: number;
  readonly body: string;
}

export interface AgentOrders {
  readonly push: { readonly order: PushOrder; readonly answer: Record<string, never> };
  readonly get: { readonly order: { host: string; port: number; path: string }; readonly answer: GetOutcome };
  readonly arm: { readonly order: { order: PullOrder; poolBytes: number }; readonly answer: Record<string, never> };
  /** `atNs` is on the machine's monotonic clock, which all processes share. */
  readonly pull: { readonly order: { atNs: string }; readonly answer: PullOutcome };
  readonly verify: { readonly order: Record<string, never>; readonly answer: { wrongBytes: number } };
  readonly load: { readonly order: LoadOrder; readonly answer: LoadOutcome };
}

export type AgentOperation = keyof AgentOrders;

export interface AgentRequest {
  readonly id: number;
  readonly operation: AgentOperation;
  readonly order: unknown;
}

export type AgentMessage =
  | { readonly id: number; readonly answer: unknown }
  | { readonly id: number; readonly error: string };
