import { type Clock, delay, type Random } from '../lib/clock.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobDownload } from './blob-download.ts';
import type { BlobRequest } from './swarm.ts';

/**
 * Tries downloads again that failed with pieces in hand, so that a blob completes by itself when the origin or a peer comes back.
 * Of one blob: resting -> tried -> resting, with pauses that grow from one second to fifteen, until it completes, its time is up,
 * or a client fetches it, which starts over. Bounded; the blob that failed first makes room.
 */
export interface ResumptionDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly tasks: TaskGroup;
  /** Starts the download again; its end is reported like any other's. */
  readonly retry: (requests: readonly BlobRequest[]) => void;
}

interface Attempt {
  readonly giveUpAtMs: number;
  pauseMs: number;
  stop: AbortController;
}

// A few images' worth; more than that failing at once is an outage, and clients ask again anyway.
const maxResting = 256;
const firstPauseMs = 1_000;
// An origin that is back is noticed within this time, and a dead one costs four refused connections a minute.
const longestPauseMs = 15_000;

export class Resumption {
  readonly #deps: ResumptionDeps;
  readonly #resumeForMs: number;
  readonly #attempts = new Map<Digest, Attempt>();

  constructor(deps: ResumptionDeps, options: { resumeForMs: number }) {
    this.#deps = deps;
    this.#resumeForMs = options.resumeForMs;
  }

  /** Blobs to be tried again. */
  get size(): number {
    return this.#attempts.size;
  }

  /** A download ended: it is tried again if pieces are in hand and sources were what it lacked. */
  ended({ digest, sizeBytes, repositories, error, heldPieces }: BlobDownload): void {
    const isShortOfSources = error?.details['missingPieces'] !== undefined && heldPieces.size > 0;
    if (!isShortOfSources) this.forget(digest);
    else
      this.failed(
        digest,
        repositories.map((repository) => ({ digest, sizeBytes, repository })),
      );
  }

  /** A download failed for want of sources; `requests` name its blob, one for each repository that may have it. */
  failed(digest: Digest, requests: readonly BlobRequest[]): void {
    const { clock, random, tasks } = this.#deps;
    const nowMs = clock.nowMs();
    const attempt = this.#attempts.get(digest) ?? this.#begin(digest, nowMs);
    // Half to one and a half of it, so that nodes that failed together do not come back together.
    const pauseMs = Math.min(attempt.pauseMs * (0.5 + random.next()), longestPauseMs);
    attempt.pauseMs = Math.min(attempt.pauseMs * 2, longestPauseMs);
    if (nowMs + pauseMs > attempt.giveUpAtMs) {
      this.forget(digest);
      return;
    }
    tasks.run(async (stopping) => {
      await delay(clock, pauseMs, AbortSignal.any([stopping, attempt.stop.signal]));
      this.#deps.retry(requests);
    });
  }

  /** The blob is complete, or a client asked for it: nothing is tried in the background any more. */
  forget(digest: Digest): void {
    this.#attempts.get(digest)?.stop.abort();
    this.#attempts.delete(digest);
  }

  #begin(digest: Digest, nowMs: number): Attempt {
    for (const oldest of this.#attempts.keys()) {
      if (this.#attempts.size < maxResting) break;
      this.forget(oldest);
    }
    const attempt = { giveUpAtMs: nowMs + this.#resumeForMs, pauseMs: firstPauseMs, stop: new AbortController() };
    this.#attempts.set(digest, attempt);
    return attempt;
  }
}
