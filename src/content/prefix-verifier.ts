import type { Digest } from '../oci/digest.ts';

/**
 * Hashes a blob in order while it grows out of order: whoever holds the pieces says how far the gapless prefix reaches, the
 * verifier reads and hashes it off the event loop, and `finish` tells the digest of all of it.
 * One instance serves one blob once. `close` frees it at any time.
 */
export interface PrefixVerifier {
  /** Bytes hashed so far. */
  readonly hashedBytes: number;
  /** Says that bytes up to `endBytes` (exclusive) can be read; never goes back. Does not wait. */
  advance(endBytes: number): void;
  /** Hashes up to `sizeBytes` and returns the digest in the algorithm asked for at creation. */
  finish(sizeBytes: number, signal: AbortSignal): Promise<Digest>;
  close(): void;
}

/** Where the bytes are: a file the worker opens by itself, or (the memory twin) a read function called on the event loop. */
export interface PrefixSource {
  readonly path?: string | undefined;
  read(target: Uint8Array, position: number): Promise<number>;
}

/** Makes verifiers; owns the worker threads behind them. */
export interface PrefixVerifiers {
  /** Starts now what the first blob would have to wait for; need not be called. */
  prepare(): void;
  open(expected: Digest, source: PrefixSource): PrefixVerifier;
  /** CPU seconds spent on hashing so far, for the benchmark's split by phase. */
  readonly cpuSeconds: number;
  close(): Promise<void>;
}
